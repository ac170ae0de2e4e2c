"""The power goes at any point of a repair: each message is there with its unique-id, and another repair does the rest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import pytest

from mailserver.store.maildir.faults import examine
from tests.store.maildir.faults.broken import Maildrop
from tests.store.maildir.power import DIRECTORY, Answered, Killed, Recorder, State, Step, Sync, wrongs
from tests.store.maildir.test_power import Fault, killed, no_fault

FILES = {
    "new/1700000001.M1P1.h": b"first\n",
    "cur/1700000001.M1P1.h:2,F": b"a twin\n",
    "new/1700000002.M1P1.h,S=1,W=1": b"wrong sizes\n",
    "new/1700000003.M1P1.h": b"twice\n",
    "cur/1700000003.M1P1.h:2,S": b"twice\n",
}
COPY = "new/1700000003.M1P1.h"


class Power:
    """A maildrop that is as it was, with the same files, before every recording."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.vault = Maildrop(directory / "vault")
        for number, (name, data) in enumerate(FILES.items()):
            os.utime(
                self.vault.put(name, data), (9 - number, 9 - number)
            )  # by its age alone the twin would be the first
        twin = self.vault.path / "cur/1700000001.M1P1.h:2,F"
        twin.rename(directory / "twin")
        self.vault.log_in()
        (directory / "twin").rename(twin)
        self.vault.log_in()
        self.vault.rewrite(lambda _, rows: rows.octets.__setitem__(0, 7))
        self.before = self.vault.shown()
        self.serial = count()
        self.verdicts: dict[tuple[State, bool], str] = {}

    def fill(self, files: dict[str, str]) -> Maildrop:
        """Files of these names, each of which is one of the vault's."""
        maildrop = Maildrop(self.directory / "trials" / str(next(self.serial)) / "Maildir")
        for name, original in files.items():
            (maildrop.path / name).parent.mkdir(parents=True, exist_ok=True)
            (maildrop.path / name).hardlink_to(self.vault.path / original)
        return maildrop

    def play(self, fault: Fault = no_fault) -> Recorder:
        maildrop = self.fill({name: name for name in FILES})
        index = "mailserver-index"
        (maildrop.path / index).write_bytes((self.vault.path / index).read_bytes())
        recorder = Recorder(maildrop.path)
        recorder.fault = fault
        try:
            with recorder.recording():
                assert maildrop.repair().left == []
                recorder.answered("alice", b"")
        except (Killed, OSError):
            pass
        return recorder

    def wrongs(self, recorder: Recorder, steps: Sequence[Step]) -> list[str]:
        """What goes wrong wherever the power goes."""

        def told(begun: Sequence[Step]) -> bool:
            return any(isinstance(step, Answered) for step in begun)

        return wrongs(recorder, steps, told, self.verdict, self.verdicts)

    def verdict(self, recorder: Recorder, state: State, told: bool) -> str:
        original = {file: name for name, file in recorder.base[0].items()}
        maildrop = self.fill({name: original[it] for name, it in state if isinstance(it, int) and it != DIRECTORY})
        try:
            for name, it in state:
                if isinstance(it, bytes):
                    maildrop.put(name, it)
            shown = maildrop.shown()
            done = maildrop.repair()
            if shown != self.before or maildrop.shown() != self.before:
                return f"{shown} is shown, and then {maildrop.shown()}, in place of {self.before}"
            wrong = [each.kind for each in done.mended if told and each.kind != "index"]
            return f"{wrong} again, {done.left} is left" if wrong or done.left else ""
        finally:
            shutil.rmtree(maildrop.path.parent)


@pytest.fixture
def power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Power:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(examine, "_PAUSE", 0)
    return Power(tmp_path)


def test_no_message_is_lost_or_known_by_another_id_and_what_was_told_is_done(power: Power) -> None:
    recorder = power.play()
    assert isinstance(recorder.steps[-1], Answered)
    assert power.wrongs(recorder, recorder.steps) == []


def test_so_it_is_after_a_kill(power: Power) -> None:
    for number in count(1, 9):
        recorder = power.play(killed(number))
        assert power.wrongs(recorder, recorder.steps) == [], number
        if number > recorder.calls:
            break
    assert number > 30


def test_the_directories_are_synced_before_it_is_told(power: Power) -> None:
    recorder = power.play()
    for directory in ("new", "cur"):
        steps = [step for step in recorder.steps if step != Sync(directory)]
        assert power.wrongs(recorder, steps), directory
