"""Trouble is told once, and so is its end."""

from __future__ import annotations

from twisted.internet.task import Clock

from mailserver.auth.outage import QUIET_SECONDS, Outage


def test_it_is_told_once_and_its_end_once() -> None:
    clock = Clock()
    outage = Outage(clock.seconds)
    assert not outage.ends()
    assert [outage.begins() for _ in range(2)] == [True, False]
    clock.advance(2 * QUIET_SECONDS)
    assert not outage.begins()
    assert [outage.ends() for _ in range(2)] == [True, False]


def test_one_soon_after_another_is_told_neither_at_its_beginning_nor_at_its_end() -> None:
    clock = Clock()
    outage = Outage(clock.seconds)
    assert outage.begins()
    assert outage.ends()
    clock.advance(QUIET_SECONDS - 1)
    assert not outage.begins()
    assert not outage.ends()
    clock.advance(1)
    assert outage.begins()
