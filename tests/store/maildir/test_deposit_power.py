"""The power goes at any point of a deposit: what was answered is there, once and whole, and what was not is not there in part."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path

import pytest

from mailserver.errors import MaildropUnavailable, StoreFull
from tests.store.maildir.homes import (
    HAVING,
    MESSAGE,
    OLD,
    USERS,
    counted,
    deposit,
    fill,
    login,
    spooled,
    usage,
    visible,
)
from tests.store.maildir.power import DIRECTORY, Answered, Killed, Recorder, State, Step, Sync, states

FULL = {errno.ENOSPC, errno.EDQUOT}

Fault = Callable[[int, str, str], BaseException | None]


def no_fault(_number: int, _call: str, _name: str) -> None:
    return None


def killed(at: int) -> Fault:
    return lambda number, _call, _name: Killed() if number == at else None


def failing(at: int, error: int) -> Fault:
    """Once; but for a file in tmp/ that the disk does not let go, which is left to the sweep."""
    failure = OSError(error, os.strerror(error))
    return lambda number, call, name: failure if number == at and not (call == "unlink" and "/tmp/" in name) else None


class Power:
    """Homes that are as they were before every recording."""

    def __init__(self, directory: Path) -> None:
        self.homes = directory / "homes"
        self.trials = directory / "trials"
        self.serial = count()
        self.outcomes: dict[str, Exception | None] = {}
        self.verdicts: dict[tuple[Step, ...], list[str]] = {}

    def play(self, fault: Fault = no_fault) -> Recorder:
        """A deposit for all users, which may meet a fault."""
        fill(self.homes)
        recorder = Recorder(self.homes)
        recorder.fault = fault
        self.outcomes = {}
        with recorder.recording(), suppress(Killed):
            self.outcomes = deposit(self.homes)
        for user, error in self.outcomes.items():
            if error is None:
                recorder.answered(user, MESSAGE)
        return recorder

    def wrongs(self, recorder: Recorder, steps: Sequence[Step]) -> list[str]:
        """What goes wrong wherever the power goes."""
        found = []
        for end in range(len(steps) + 1):
            begun = tuple(steps[:end])
            if begun not in self.verdicts:
                told = frozenset(step.user for step in begun if isinstance(step, Answered))
                left = chain(*(states(recorder, begun, weak=weak) for weak in (False, True)))
                wrong = {verdict(recorder, state, told) for state in left} - {""}
                self.verdicts[begun] = [f"after {begun[-3:]}: {each}" for each in sorted(wrong)]
            found += self.verdicts[begun]
        return found

    def log_in(self, recorder: Recorder, steps: Sequence[Step]) -> int:
        """Each user sees just what lies there, wherever the power goes; so many states."""
        seen = {state for end in range(len(steps) + 1) for state in states(recorder, steps[:end], weak=False)}
        for state in seen:
            homes = self.trials / str(next(self.serial))
            for user in USERS:
                (homes / user).mkdir(parents=True)
            for name, it in state:
                path = homes / name
                (path if it == DIRECTORY else path.parent).mkdir(parents=True, exist_ok=True)
                if it != DIRECTORY:
                    path.write_bytes(contents(recorder, it))
            for user in USERS:
                assert login(homes, user) == listed(recorder, state, user)
        return len(seen)


def verdict(recorder: Recorder, state: State, told: frozenset[str]) -> str:
    """What is wrong with this state; nothing, as it should be."""
    for user in USERS:
        found = listed(recorder, state, user)
        before = [OLD] if user in HAVING else []
        after = [*before, MESSAGE]
        if found != after and (found != before or user in told):
            return f"{user} has {found}, where {sorted(told)} were answered"
    return ""


def listed(recorder: Recorder, state: State, user: str) -> list[bytes]:
    """The contents of what may be seen of the user's messages."""
    shown = (f"{user}/Maildir/new/", f"{user}/Maildir/cur/")
    return [contents(recorder, it) for name, it in state if it != DIRECTORY and name.startswith(shown)]


def contents(recorder: Recorder, it: bytes | int) -> bytes:
    return recorder.contents[it] if isinstance(it, int) else it


@contextmanager
def without(name: str, error: int) -> Iterator[None]:
    """A system without this call."""
    real = getattr(os, name)

    def refused(*_arguments: object, **_options: object) -> None:
        raise OSError(error, os.strerror(error))

    setattr(os, name, refused)
    try:
        yield
    finally:
        setattr(os, name, real)


@pytest.fixture
def power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Power:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # it is told of, and the power stays here
    return Power(tmp_path)


def test_what_was_answered_is_there_wherever_the_power_goes(power: Power) -> None:
    recorder = power.play()
    assert power.outcomes == dict.fromkeys(USERS)
    assert power.wrongs(recorder, recorder.steps) == []
    assert power.log_in(recorder, recorder.steps) > 20


def test_so_it_is_where_links_do_not_serve(power: Power) -> None:
    with without("link", errno.EPERM):
        recorder = power.play()
    assert power.outcomes == dict.fromkeys(USERS)
    assert power.wrongs(recorder, recorder.steps) == []


def test_so_it_is_after_a_kill_at_any_call(power: Power) -> None:
    for number in count(1):
        recorder = power.play(killed(number))
        assert power.wrongs(recorder, recorder.steps) == [], number
        if number > recorder.calls:
            break
    assert number > 30


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE], ids=errno.errorcode.get)
def test_an_error_of_any_call_concerns_only_those_who_are_told_and_leaves_nothing(power: Power, error: int) -> None:
    refused = set()
    for number in count(1):
        recorder = power.play(failing(number, error))
        assert error != errno.EIO or power.wrongs(recorder, recorder.steps) == [], number
        for user, outcome in power.outcomes.items():
            assert (MESSAGE in visible(power.homes, user)) == (outcome is None), (number, user)
            assert outcome is None or isinstance(outcome, StoreFull if error in FULL else MaildropUnavailable), outcome
        refused |= {user for user, outcome in power.outcomes.items() if outcome is not None}
        assert spooled(power.homes) == [], number
        assert [usage(power.homes, user) for user in USERS] == [counted(power.homes, user) for user in USERS], number
        if number > recorder.calls:
            break
    assert refused == set(USERS)


def test_no_sync_of_a_deposit_can_be_left_out(power: Power) -> None:
    recorder = power.play()
    there = {"alice", "alice/Maildir", "bob", "bob/Maildir"}  # for all the process knows, another has just made them
    for at, step in enumerate(recorder.steps):
        if isinstance(step, Sync):
            rest = [*recorder.steps[:at], *recorder.steps[at + 1 :]]
            assert bool(power.wrongs(recorder, rest)) == (step.what not in there), step
