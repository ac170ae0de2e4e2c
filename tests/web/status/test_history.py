"""The last day: what is old or was not counted is not shown, whatever the clock does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailserver.web.status.history import COUNTED, LARGEST, MINUTES, STEP, History, Minutes, merged


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=40), st.integers(0, 80))
def test_a_minute_has_what_was_added_to_it_until_another_takes_its_place(said: list[tuple[int, int]], now: int) -> None:
    kept = Minutes(10)
    model: dict[int, tuple[int, float]] = {}
    for minute, amount in said:
        kept.add(minute, amount)
        held, value = model.get(minute % 10, (minute, 0.0))
        model[minute % 10] = (minute, (value if held == minute else 0) + amount)
    by_minute = dict(model.values())
    assert kept.last(now) == [by_minute.get(each) for each in range(now - 9, now + 1)]


def test_nothing_is_zero_where_somebody_counts_and_unknown_where_nobody_does() -> None:
    history = History()
    history.attend(1000)
    steps = history.steps(1000)
    assert steps.keys() == {*COUNTED, *LARGEST}
    assert all(len(values) == MINUTES // STEP for values in steps.values())
    assert all([each for each in values if each is not None] == [0] for values in steps.values())
    assert steps["logins"][-1] == 0


def test_a_step_adds_what_is_counted_and_keeps_the_largest_of_the_rest() -> None:
    history = History()
    for minute, waited in ((1000, 2), (1001, 9), (1004, 1)):
        history.count(minute, "logins", 2)
        history.count(minute, "waited", waited)
    steps = history.steps(1001)  # the whole step: another process may be a minute ahead
    assert (steps["logins"][-1], steps["waited"][-1]) == (6, 9)


def test_processes_are_added_but_for_the_longest_wait_and_a_hole_of_one_is_no_fault() -> None:
    one, other = History(), History()
    for history, memory in ((one, 10), (other, 20)):
        history.count(1005, "memory", memory)
        history.count(1005, "waited", memory)
        history.count(1005, "logins", memory)
    one.count(1000, "logins", 5)
    whole = merged([one.steps(1005), other.steps(1005)])
    assert (whole["memory"][-1], whole["waited"][-1], whole["logins"][-1]) == (30, 20, 30)
    assert (whole["logins"][-2], whole["memory"][-2]) == (5, None)


def test_the_memory_of_a_day_has_a_fixed_size() -> None:
    kept = Minutes()
    for minute in range(3 * MINUTES):
        kept.add(minute, 1)
    assert kept.last(3 * MINUTES - 1) == [1.0] * MINUTES
