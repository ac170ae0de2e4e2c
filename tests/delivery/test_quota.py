"""The arithmetic of quotas."""

from __future__ import annotations

import pytest

from mailserver.delivery.quota import percent
from mailserver.incoming import Usage, effective
from mailserver.interfaces import Quota


@pytest.mark.parametrize(
    ("quota", "usage", "octets", "over"),
    [
        (Quota(100, 0), Usage(5, 60), 40, False),
        (Quota(100, 0), Usage(5, 60), 41, True),
        (Quota(0, 5), Usage(4, 10**12), 10**12, False),
        (Quota(0, 5), Usage(5, 0), 1, True),
        (Quota(100, 5), Usage(5, 0), 1, True),
        (Quota(100, 5), Usage(0, 100), 1, True),
        (Quota(), Usage(10**9, 10**15), 1, False),
    ],
)
def test_a_quota_is_exceeded_by_what_is_above_it(quota: Quota, usage: Usage, octets: int, *, over: bool) -> None:
    assert usage.exceeds(quota, octets, 1) is over


@pytest.mark.parametrize(
    ("quota", "usage", "share"),
    [
        (Quota(100, 0), Usage(5, 89), 89),
        (Quota(1000, 0), Usage(5, 899), 89),
        (Quota(1000, 10), Usage(9, 899), 90),
        (Quota(100, 10), Usage(1, 250), 250),
        (Quota(0, 3), Usage(1, 10**9), 33),
    ],
)
def test_a_share_is_that_of_what_is_fuller_rounded_down(quota: Quota, usage: Usage, share: int) -> None:
    assert percent(quota, usage) == share


def test_a_quota_of_nothing_is_none() -> None:
    assert effective(Quota()) is None
    assert effective(Quota(0, 1)) == Quota(0, 1)
