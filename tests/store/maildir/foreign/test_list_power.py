"""The power goes, or the process is killed, while we write into another server's list: nothing that was listed gets lost or another unique-id."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from mailserver.store.maildir.foreign import read_former, read_giving
from mailserver.store.maildir.former import Entry
from tests.store.maildir.power import Answered, Killed, Recorder, State, Step, Sync, wrongs
from tests.store.maildir.test_power import Fault, killed, no_fault, octets

NEW = (b"7.c", b"8.d:2,S")
DOVECOT, COURIER = "dovecot-uidlist", "courierpop3dsizelist"

STARTS = {
    "dovecot": ("dovecot", DOVECOT, "3 V7 N9 G0a\n2 W5 :a\n5 Px :b\n"),
    "dovecot, none": ("dovecot", DOVECOT, ""),
    "dovecot, version 1": ("dovecot", DOVECOT, "1 7 9\n2 a\n5 b\n"),
    "dovecot, torn": ("dovecot", DOVECOT, "3 V7 N9 G0a\n2 W5 :a\n5 Px :b\n6 :to"),
    "courier": ("courier", COURIER, "/3 8 16\n5.a:2,S 120 7:15:0\n6.b 1 6:16:0\n"),
    "courier, none": ("courier", COURIER, ""),
}
OURS = [Entry(b"7.c", b"UID90-16"), Entry(b"8.d", b"UID91-16")]

Work = Callable[[str, Path], list[Entry]]


def extend(kind: str, root: Path) -> list[Entry]:
    former = read_former(kind)
    assert former is not None
    return list(former.extend(octets(root), NEW))


def give_back(kind: str, root: Path) -> list[Entry]:
    assert read_giving(kind).give_back(octets(root), OURS, dry_run=False).lost == 0
    return OURS


def listed(kind: str, root: Path) -> list[Entry]:
    former = read_former(kind)
    assert former is not None
    return list(former.entries(octets(root)) or ())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a step as before; but nothing here loses power


class Power:
    """A maildrop whose list is as it was before every recording."""

    def __init__(self, directory: Path, start: str, work: Work) -> None:
        self.kind, self.name, self.text = STARTS[start]
        self.root, self.trial, self.work = directory / "Maildir", directory / "trial", work
        self.fill(self.root)
        self.before = listed(self.kind, self.root)
        self.told: list[Entry] = []
        self.verdicts: dict[tuple[State, bool], str] = {}

    def fill(self, root: Path) -> None:
        shutil.rmtree(root, ignore_errors=True)
        for directory in ("new", "cur", "tmp"):
            (root / directory).mkdir(parents=True)
        (root / "new/7.c").write_text("x\n")
        (root / "cur/8.d:2,S").write_text("x\n")
        if self.text:
            (root / self.name).write_text(self.text)

    def play(self, fault: Fault = no_fault) -> Recorder:
        self.fill(self.root)
        recorder = Recorder(self.root)
        recorder.fault = fault
        with recorder.recording(), suppress(Killed, OSError):
            self.told = self.work(self.kind, self.root)
            recorder.answered("alice", b"")
        return recorder

    def wrongs(self, recorder: Recorder, steps: Sequence[Step]) -> list[str]:
        """What goes wrong wherever the power goes."""
        return wrongs(recorder, steps, answered, self.verdict, self.verdicts)

    def verdict(self, recorder: Recorder, state: State, told: bool) -> str:
        """What is wrong with this state; nothing, as it should be."""
        files = {name: recorder.contents[it] if isinstance(it, int) else it for name, it in state}
        data = files.get(self.name, b"")
        appended = dict(state).get(self.name) and recorder.base[0].get(self.name) == recorder.names.get(self.name)
        if appended and not data.startswith(self.text.encode()):
            return ""  # to append changes nothing of what was on the disk
        self.fill(self.trial)
        (self.trial / self.name).unlink(missing_ok=True)
        if self.name in files:
            (self.trial / self.name).write_bytes(data)
        try:
            found = listed(self.kind, self.trial)
        except ValueError as error:
            return str(error)
        if told and not set(self.told) <= set(found):
            return f"{found} is all that is listed, though {self.told} was answered"
        if [entry for entry in found if entry in self.before] != self.before:
            return f"{found} is all that is listed"
        again = self.work(self.kind, self.trial)
        if told and again != self.told:
            return f"once more there are {again}"
        return "" if set(again) | set(self.before) == set(listed(self.kind, self.trial)) else "the next try loses some"


def answered(steps: Sequence[Step]) -> bool:
    return any(isinstance(step, Answered) for step in steps)


@pytest.mark.parametrize("work", [extend, give_back])
@pytest.mark.parametrize("start", STARTS)
def test_a_list_survives_when_the_power_goes_or_the_process_is_killed(tmp_path: Path, start: str, work: Work) -> None:
    power = Power(tmp_path, start, work)
    recorder = power.play()
    assert [step for step in recorder.steps if isinstance(step, Answered)]
    assert power.wrongs(recorder, recorder.steps) == []
    for at in count(1):
        recorder = power.play(killed(at))
        assert power.wrongs(recorder, recorder.steps) == []
        if recorder.calls < at:
            return


@pytest.mark.parametrize("start", STARTS)
def test_each_sync_is_needed(tmp_path: Path, start: str) -> None:
    power = Power(tmp_path, start, extend)
    recorder = power.play()
    syncs = [at for at, step in enumerate(recorder.steps) if isinstance(step, Sync)]
    assert syncs
    for at in syncs:
        assert power.wrongs(recorder, [step for each, step in enumerate(recorder.steps) if each != at])


@pytest.mark.parametrize("start", STARTS)
def test_a_failure_leaves_the_list_as_it_was_or_lists_the_new_ones(tmp_path: Path, start: str) -> None:
    power = Power(tmp_path, start, extend)
    for at in count(1):
        recorder = power.play(lambda number, _call, _name, at=at: OSError(errno.EIO, "") if number == at else None)
        assert [entry for entry in listed(power.kind, power.root) if entry in power.before] == power.before
        if recorder.calls < at:
            return


def test_zeros_behind_a_list_are_no_lines(tmp_path: Path) -> None:
    power = Power(tmp_path, "dovecot", extend)
    path = power.root / DOVECOT
    path.write_bytes(path.read_bytes() + bytes(40))
    assert listed("dovecot", power.root) == power.before
    added = extend("dovecot", power.root)
    assert listed("dovecot", power.root) == [*power.before, *added]
    assert b"\0" not in path.read_bytes()
