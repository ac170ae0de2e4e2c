from typing import Any

from mailserver.net.tally import LEAST_SECONDS, Tally


def test_a_flood_is_told_of_once_in_a_while_and_nobody_goes_uncounted() -> None:
    told: list[dict[str, Any]] = []
    tally = Tally(lambda **facts: told.append(facts))
    for n in range(1000):
        tally.count(n / 1000 * LEAST_SECONDS * 3, peer=n)
    tally.catch_up(3 * LEAST_SECONDS)
    tally.catch_up(9 * LEAST_SECONDS)
    assert [each["peer"] for each in told] == [0, 334, 668, 999]
    assert sum(1 + each["others"] for each in told) == 1000
    assert told[0]["remarks"] == ""
    assert told[1]["remarks"] == ", and 333 others since the last such line"
