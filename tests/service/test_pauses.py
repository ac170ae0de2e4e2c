"""The interpreter's pauses are short while a process serves, and as they were afterwards."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from mailserver.interfaces import IPart
from mailserver.service.pauses import TURN_SECONDS, ShortPauses


@pytest.fixture
def pauses() -> Iterator[ShortPauses]:
    """A part that is stopped in any case."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(0.005)
    part = ShortPauses()
    yield part
    part.stop()
    sys.setswitchinterval(usual)


def collected() -> int:
    """The objects that a full collection looks at."""
    return len(gc.get_objects())


def test_while_it_serves_no_thread_keeps_the_lock_for_long_and_no_collection_sees_what_was_there(
    pauses: ShortPauses,
) -> None:
    assert IPart(pauses) is pauses
    before = collected()
    pauses.start(None)
    assert sys.getswitchinterval() == pytest.approx(TURN_SECONDS)
    assert collected() < before / 10
    pauses.reload()
    assert collected() < before / 10


def test_afterwards_all_is_as_it_was(pauses: ShortPauses) -> None:
    before = collected()
    pauses.stop()
    assert sys.getswitchinterval() == pytest.approx(0.005)
    pauses.start(None)
    pauses.stop()
    pauses.stop()
    assert sys.getswitchinterval() == pytest.approx(0.005)
    assert gc.get_freeze_count() == 0
    assert collected() > before / 2


def test_turns_that_are_shorter_already_stay_so(pauses: ShortPauses) -> None:
    sys.setswitchinterval(TURN_SECONDS / 5)
    pauses.start(None)
    assert sys.getswitchinterval() == pytest.approx(TURN_SECONDS / 5, rel=0.1)


def test_garbage_of_the_start_goes_before_it_is_kept(pauses: ShortPauses) -> None:
    gc.disable()
    try:
        circle: list[object] = []
        circle.append(circle)
        del circle
        pauses.start(None)
        pauses.stop()
        assert gc.collect() == 0
    finally:
        gc.enable()
