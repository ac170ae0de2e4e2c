"""The power goes at any point of an undelete: no message is lost, what was answered is back, and another undelete finishes it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from mailserver.store.maildir import keeping
from tests.store.maildir.crash import ALL, NAMES, TARGETS, login
from tests.store.maildir.power import DIRECTORY, Answered, Killed, Name, Recorder, State, Step, Sync, wrongs
from tests.store.maildir.test_power import Fault, killed, no_fault, octets

PLACE = "mailserver-kept/1800000000000000000-7"
ERROR = OSError(errno.EIO, os.strerror(errno.EIO))
KEPT = [f"{PLACE}/{name.partition('/')[2]}" for name in TARGETS]
EARLIER = "mailserver-kept/1700000000000000000-7/1600000009.M1P1.h"
"""Of another session, which stays where it is."""

THERE = [name for name in NAMES if name not in TARGETS]


class Power:
    """A maildrop that is as it was before every recording, after a session that deleted."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "Maildir"
        self.trial = directory / "trial"
        self.verdicts: dict[tuple[State, tuple[bool, str]], str] = {}

    def play(self, fault: Fault = no_fault) -> Recorder:
        fill(self.root, {name: name.rpartition("/")[2].encode() for name in (*THERE, EARLIER, *KEPT)})
        recorder = Recorder(self.root)
        recorder.fault = fault
        with recorder.recording(), suppress(Killed, OSError):
            assert keeping.undelete(octets(self.root)) == len(KEPT)
            recorder.answered("alice", b"")
        return recorder

    def wrongs(self, recorder: Recorder, steps: Sequence[Step]) -> list[str]:
        """What goes wrong wherever the power goes."""
        return wrongs(recorder, steps, answer_and_folder, self.verdict, self.verdicts)

    def verdict(self, recorder: Recorder, state: State, relied: tuple[bool, str]) -> str:
        """What is wrong with this state; nothing, as it should be. Once the `folder` is gone, another undelete is of the session before."""
        told, folder = relied
        fill(self.trial, {})
        for name, it in state:
            path = self.trial / name
            if isinstance(it, int) and it >= 0:
                path.parent.mkdir(parents=True, exist_ok=True)
                first = next(other for other, same in state if same == it)
                path.hardlink_to(self.trial / first) if first != name else path.write_bytes(recorder.contents[it])
        if folder and not (self.trial / PLACE).exists():
            (self.trial / folder).mkdir(parents=True, exist_ok=True)
        if (told or not folder) and set(login(octets(self.trial))) != ALL:
            return f"{login(octets(self.trial))} is all there is, though it was answered"
        if folder:
            keeping.undelete(octets(self.trial))
        found = login(octets(self.trial))
        return "" if sorted(found) == sorted(ALL) else f"{found} is all that comes back"


def answer_and_folder(steps: Sequence[Step]) -> tuple[bool, str]:
    """Whether the undelete was answered, and the name of the folder of what is kept; "": it is gone."""
    folders = [step for step in steps if isinstance(step, Name) and step.file == DIRECTORY]
    return any(isinstance(step, Answered) for step in steps), folders[-1].new if folders else PLACE


def failing(at: int) -> Fault:
    return lambda number, _call, _name: ERROR if number == at else None


def fill(root: Path, files: dict[str, bytes]) -> None:
    shutil.rmtree(root, ignore_errors=True)
    for directory in ("new", "cur", "tmp"):
        (root / directory).mkdir(parents=True)
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


@pytest.fixture
def power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Power:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    return Power(tmp_path)


def test_an_undelete_loses_nothing_and_what_was_answered_is_back(power: Power) -> None:
    recorder = power.play()
    assert power.wrongs(recorder, recorder.steps) == []


def test_so_it_is_after_a_kill_and_after_an_error(power: Power) -> None:
    for fault in (killed, failing):
        for number in count(1):
            recorder = power.play(fault(number))
            assert power.wrongs(recorder, recorder.steps) == [], number
            if number > recorder.calls:
                break
        assert number > 10


@pytest.mark.parametrize("directory", ["new", "cur"])
def test_what_is_back_is_synced_before_it_is_no_longer_kept(power: Power, directory: str) -> None:
    recorder = power.play()
    at = recorder.steps.index(Sync(directory))
    assert power.wrongs(recorder, [*recorder.steps[:at], *recorder.steps[at + 1 :]])
