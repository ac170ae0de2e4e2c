"""The process is killed, or the power goes, at any point of the login that reads a former server's list, and of later ones."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from mailserver.errors import StoreError
from mailserver.store.maildir import filenames, opening
from mailserver.store.maildir.naming import Naming
from tests.store.maildir.crash import clock
from tests.store.maildir.listed import Listed
from tests.store.maildir.power import DIRECTORY, Killed, Recorder, State, Step, Sync, Told, wrongs
from tests.store.maildir.test_power import Fault, killed, no_fault

LIST = {"3.c": "uid-7", "1.a": "uid-9", "0.gone": "2.b", "4.d": "uid-7"}
X = filenames.field_for(b"X").decode()
FIRST = ("new/1.a", "cur/2.b:2,S", "new/3.c,S=1:2,", "new/4.d")
LATER = (f"new/5.e{X}", f"new/6.f{X}")
IDS = {
    "3.c": b"uid-7", "1.a": b"uid-9", "2.b": filenames.unique_id_of_base(b"2.b"), "4.d": b"4.d", "5.e": b"X", "6.f": b"6.f"
}  # fmt: skip
"""For good; 4.d's own, since 3.c comes first."""


def failing(at: int) -> Fault:
    return lambda number, _call, _name: OSError(errno.EIO, os.strerror(errno.EIO)) if number == at else None


class Power:
    """A maildrop that moved in; the list is gone once a session has seen what it says."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "Maildir"
        self.vault = directory / "vault"
        for number, name in enumerate((*FIRST, *LATER)):
            (self.vault / name).parent.mkdir(parents=True, exist_ok=True)
            (self.vault / name).write_bytes(b"x")
            os.utime(self.vault / name, (number, number))
        self.serial = count()
        self.calls = 0
        self.verdicts: dict[tuple[State, bool], str] = {}

    def play(self, fault: Fault = no_fault, *, later: bool) -> Recorder:
        """The first login, or the one after two imports that claim one id; and the next one."""
        self.fill(self.root, (*FIRST, *LATER) if later else FIRST)
        if later:
            for name in LATER:
                (self.root / name).rename(self.root / "tmp" / name[4:])
            assert login(self.root, listed=True) == {name: IDS[name] for name in ("3.c", "1.a", "2.b", "4.d")}
            for name in LATER:
                (self.root / "tmp" / name[4:]).rename(self.root / name)
        recorder = Recorder(self.root)
        for each in (fault, no_fault):
            recorder.calls, recorder.fault = 0, each
            try:
                with recorder.recording():
                    login(self.root, listed=not later)
            except (StoreError, Killed):
                pass
            else:
                recorder.told(deleted=True)
            if each is fault:
                self.calls = recorder.calls
        return recorder

    def fill(self, root: Path, names: Sequence[str]) -> None:
        shutil.rmtree(root, ignore_errors=True)
        for directory in ("new", "cur", "tmp"):
            (root / directory).mkdir(parents=True)
        for name in names:
            (root / name).hardlink_to(self.vault / name)

    def wrongs(self, recorder: Recorder, steps: Sequence[Step], *, later: bool) -> list[str]:
        """What goes wrong wherever the power goes; `later` the list is gone from the beginning."""

        def told(begun: Sequence[Step]) -> bool:
            return later or any(isinstance(step, Told) for step in begun)

        return wrongs(recorder, steps, told, self.verdict, self.verdicts)

    def verdict(self, recorder: Recorder, state: State, told: bool) -> str:
        """What is wrong with this state; once told, the list is not there any more."""
        original = {file: name for name, file in recorder.base[0].items()}
        root = self.directory / "trials" / str(next(self.serial))
        self.fill(root, [original[it] for _, it in state if isinstance(it, int) and it != DIRECTORY])
        for name, it in state:
            if isinstance(it, bytes):
                (root / name).write_bytes(it)
        try:
            found = login(root, listed=not told)
            (root / "mailserver-index").unlink()
            again = login(root, listed=False)
        except StoreError as error:
            return f"no login: {error}"
        shutil.rmtree(root)
        expected = {name: uidl for name, uidl in IDS.items() if name in found}
        if found != expected or list(found)[:2] != ["3.c", "1.a"]:
            return f"{found} where a session was told: {told}"
        return "" if again == found else f"{again} without the index"


def login(root: Path, *, listed: bool) -> dict[str, bytes]:
    path = os.fsencode(root) + b"/"
    namings = partial(Naming, former=Listed(LIST) if listed else None, extends=False)
    opened = opening.thoroughly(path, path, "power", None, clock, None, namings)
    os.close(opened.lock)
    parts = [filenames.unique_part(name[4:]).decode() for name in opened.found.names]
    return dict(zip(parts, opened.found.uidls, strict=True))


@pytest.fixture
def power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Power:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # it is told of, and the power stays here
    return Power(tmp_path)


@pytest.mark.parametrize("later", [False, True])
def test_whoever_was_told_an_id_finds_it_again_without_list_and_index(power: Power, later: bool) -> None:
    recorder = power.play(later=later)
    assert Told(deleted=True) in recorder.steps
    assert power.wrongs(recorder, recorder.steps, later=later) == []


@pytest.mark.parametrize("later", [False, True])
def test_so_it_is_after_a_kill_and_in_the_login_that_follows(power: Power, later: bool) -> None:
    for number in count(1):
        recorder = power.play(killed(number), later=later)
        assert power.wrongs(recorder, recorder.steps, later=later) == [], number
        if number > power.calls:
            break
    assert number > 10


@pytest.mark.parametrize("later", [False, True])
def test_after_an_error_the_next_login_finds_the_same_as_long_as_the_list_is_there(power: Power, later: bool) -> None:
    for number in count(1):
        recorder = power.play(failing(number), later=later)
        recorder.steps = [step for step in recorder.steps if not isinstance(step, Told)]
        state = tuple(sorted((name, recorder.contents.get(it, it)) for name, it in recorder.names.items()))
        assert power.verdict(recorder, state, told=True) == "", number
        if number > power.calls:
            break


@pytest.mark.parametrize("later", [False, True])
def test_no_sync_of_the_map_can_be_left_out(power: Power, later: bool) -> None:
    recorder = power.play(later=later)
    both = [at for at, step in enumerate(recorder.steps) if isinstance(step, Sync)]
    assert len(both) == 2
    for at in both[:1] if later else both:  # that of the root: the old map, and the names, would tell the same
        steps = [*recorder.steps[:at], *recorder.steps[at + 1 :]]
        assert power.wrongs(recorder, steps, later=later), recorder.steps[at]
