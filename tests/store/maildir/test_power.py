"""The power goes at any point of a commit, of the login that finishes it, and of what an error takes back."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path

import pytest

from mailserver.errors import MaildropUnavailable, OutcomeUnknown
from mailserver.store.maildir import journal, opening, promise
from mailserver.store.maildir.index import Index
from tests.store.maildir.crash import ALL, KEPT, NAMES, clock, task
from tests.store.maildir.power import DIRECTORY, Killed, Recorder, State, Step, Sync, Told, wrongs

ROOMY, FULL, FULL_WITHOUT_INDEX = "a disk with room", "a full disk", "a full disk without an index"
TRASHING, KEEPING = "a disk with room and a trash", "a disk with room that keeps what is deleted"
DISKS = (ROOMY, FULL, FULL_WITHOUT_INDEX, TRASHING, KEEPING)
PLACES = {TRASHING: b".Trash/cur/", KEEPING: b"mailserver-kept/1800000000000000000-7/"}

PROMISES = ("mailserver-journal", "mailserver-index")

Fault = Callable[[int, str, str], BaseException | None]
"""What happens to the call of this number and name, on this file or directory."""


def no_fault(_number: int, _call: str, _name: str) -> None:
    return None


def killed(at: int) -> Fault:
    return lambda number, _call, _name: Killed() if number == at else None


def failing(at: int) -> Fault:
    """But for a message that the disk does not let go, or keep: it alone is left, and told."""
    error = OSError(errno.EIO, os.strerror(errno.EIO))
    return lambda number, call, name: (
        error if number == at and not (call in {"unlink", "link"} and "/" in name) else None
    )


class Power:
    """A maildrop that is as it was before every recording, down to its inodes."""

    def __init__(self, directory: Path, disk: str) -> None:
        self.disk = disk
        self.root = directory / "Maildir"
        self.vault = directory / "vault"
        self.trials = directory / "trials"
        self.trials.mkdir()
        for name in NAMES:
            (self.vault / name).parent.mkdir(parents=True, exist_ok=True)
            (self.vault / name).write_bytes(name.encode())
        self.since = self.calls = self.login_calls = 0
        self.answer: bool | None = None
        self.serial = count()
        self.verdicts: dict[tuple[State, bool | None], str] = {}

    def play(self, in_commit: Fault = no_fault, in_login: Fault = no_fault, *, logins: int = 1) -> Recorder:
        """A session that deletes, and the logins after it; the session and the first login may meet a fault."""
        self.fill(self.root, {name: name for name in NAMES})
        opened = opening.thoroughly(octets(self.root), octets(self.root), "power", None, clock)
        if self.disk == FULL_WITHOUT_INDEX:
            (self.root / "mailserver-index").unlink()
        recorder = Recorder(self.root)
        self.answer = None
        try:
            self.commit(recorder, opened.found, in_commit)
        finally:
            os.close(opened.lock)
        self.calls = recorder.calls
        for number in range(logins):
            self.log_in(recorder, no_fault if number else in_login)
        return recorder

    def commit(self, recorder: Recorder, listed: Index, fault: Fault) -> None:
        targets = task(listed)
        self.since = self.since or targets[0].since  # the same promise in each recording
        targets = [target._replace(since=self.since) for target in targets]
        recorder.fault = self.faults(fault)
        try:
            with recorder.recording():
                root = octets(self.root)
                place = PLACES.get(self.disk, b"")
                removal = journal.commit(root, targets, listed.others(targets), lambda: clock(root), place)
            if removal.left:
                return  # told one by one: they could not be kept, and so they were not deleted
            self.answer = True
        except MaildropUnavailable:
            self.answer = False
        except (OutcomeUnknown, Killed):
            return  # nobody relies on anything
        recorder.told(deleted=self.answer)

    def log_in(self, recorder: Recorder, fault: Fault) -> None:
        recorder.calls = 0
        recorder.fault = self.faults(fault)
        try:
            with recorder.recording():
                found = login(self.root)
        except (MaildropUnavailable, Killed):
            return
        finally:
            self.login_calls = recorder.calls
        if self.disk != FULL_WITHOUT_INDEX:
            recorder.told(deleted=found == KEPT)

    def faults(self, fault: Fault) -> Fault:
        def met(number: int, call: str, name: str) -> BaseException | None:
            if self.disk in {FULL, FULL_WITHOUT_INDEX} and (call, name) == ("write", "mailserver-journal.tmp"):
                return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return fault(number, call, name)

        return met

    def fill(self, root: Path, messages: dict[str, str]) -> None:
        shutil.rmtree(root, ignore_errors=True)
        for directory in ("new", "cur", "tmp"):
            (root / directory).mkdir(parents=True)
        for name, message in messages.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).hardlink_to(self.vault / message)

    def wrongs(self, recorder: Recorder, steps: Sequence[Step]) -> list[str]:
        """What goes wrong wherever the power goes."""
        return wrongs(recorder, steps, promise_of, self.verdict, self.verdicts)

    def verdict(self, recorder: Recorder, state: State, deleted: bool | None) -> str:
        """What is wrong with this state, by the logins to it; nothing, as it should be."""
        original = {file: name for name, file in recorder.base[0].items()}
        root = self.trials / str(next(self.serial))
        self.fill(root, {name: original[it] for name, it in state if isinstance(it, int) and it != DIRECTORY})
        for name, it in state:
            if isinstance(it, bytes):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes(it)
        try:
            found = login(root)
            again = login(root)
        except MaildropUnavailable as error:
            return f"no login: {error}"
        allowed = {None: (ALL, KEPT), True: (KEPT,), False: (ALL,)}[deleted]
        one_by_one = self.disk == FULL_WITHOUT_INDEX and not deleted and KEPT <= found <= ALL
        if found not in allowed and not one_by_one:
            return f"{sorted(found)} where deleted is {deleted}"
        lost = ALL - {path.read_text() for path in root.rglob("17000*")} if self.disk in PLACES else ()
        shutil.rmtree(root)
        if lost:
            return f"{sorted(lost)} is lost, and was to be kept"
        return "" if again == found else "the second login differs"


def promise_of(steps: Sequence[Step]) -> bool | None:
    """What was said last of the deletion; None: nothing."""
    told = [step.deleted for step in steps if isinstance(step, Told)]
    return told[-1] if told else None


def octets(root: Path) -> bytes:
    return os.fsencode(root) + b"/"


def login(root: Path) -> set[str]:
    opened = opening.thoroughly(octets(root), octets(root), "power", None, clock)
    os.close(opened.lock)
    return {os.fsdecode(name) for name in opened.found.names}


def syncs(steps: Iterable[Step]) -> list[int]:
    return [at for at, step in enumerate(steps) if isinstance(step, Sync)]


@pytest.fixture
def power(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Power:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # it is told of, and the power stays here
    return Power(tmp_path, getattr(request, "param", ROOMY))


everywhere = pytest.mark.parametrize("power", DISKS, indirect=True, ids=lambda disk: disk.replace(" ", "-"))


@everywhere
def test_a_commit_is_all_or_nothing_and_what_was_answered_stays(power: Power) -> None:
    recorder = power.play()
    assert Told(deleted=True) in recorder.steps
    assert power.wrongs(recorder, recorder.steps) == []


@everywhere
def test_so_it_is_after_a_kill_and_in_the_login_that_follows(power: Power) -> None:
    for number in count(1):
        recorder = power.play(killed(number))
        assert power.wrongs(recorder, recorder.steps) == [], number
        if number > power.calls:
            break
    assert number > 10


@pytest.mark.parametrize("power", [ROOMY, FULL], indirect=True)
def test_so_it_is_where_the_login_that_finishes_is_killed_as_well(power: Power) -> None:
    promised = next(number for number in count(1) if is_promised(power.play(killed(number), logins=0)))
    for number in count(1):
        recorder = power.play(killed(promised), killed(number), logins=2)
        assert power.wrongs(recorder, recorder.steps) == [], number
        if number > power.login_calls:
            break
    assert number > 10


@everywhere
def test_so_it_is_after_an_error(power: Power) -> None:
    outcomes = set()
    for number in count(1):
        recorder = power.play(failing(number))
        assert power.wrongs(recorder, recorder.steps) == [], number
        outcomes.add(power.answer)
        if number > power.calls:
            break
    assert outcomes == {True, False, None}


@pytest.mark.parametrize("power", [ROOMY, FULL], indirect=True)
def test_so_it_is_where_the_login_that_finishes_meets_an_error(power: Power) -> None:
    promised = next(number for number in count(1) if is_promised(power.play(killed(number), logins=0)))
    for number in count(1):
        recorder = power.play(killed(promised), failing(number), logins=2)
        assert power.wrongs(recorder, recorder.steps) == [], number
        if number > power.login_calls:
            break


@pytest.mark.parametrize("power", [ROOMY, FULL, FULL_WITHOUT_INDEX], indirect=True)
def test_no_sync_of_a_commit_can_be_left_out_but_those_that_end_a_kept_promise(power: Power) -> None:
    recorder = power.play(logins=0)
    removed = recorder.steps.index(Sync("cur"))
    for at in syncs(recorder.steps):
        wrongs = power.wrongs(recorder, [*recorder.steps[:at], *recorder.steps[at + 1 :]])
        assert bool(wrongs) == (at <= removed), recorder.steps[at]


@pytest.mark.parametrize("power", PLACES, indirect=True)
def test_no_sync_of_what_is_kept_can_be_left_out(power: Power) -> None:
    recorder = power.play(logins=0)
    place = PLACES[power.disk].decode().rstrip("/")
    made = recorder.steps.index(Sync(place.partition("/")[0]))
    needed = [[recorder.steps.index(Sync(place))], [made], [made + 1]]
    for left_out in needed:
        rest = [step for at, step in enumerate(recorder.steps) if at not in left_out]
        # The root's also makes the promise durable, as the one before it does.
        wrongs = [wrong for wrong in power.wrongs(recorder, rest) if "lost" in wrong]
        assert wrongs, [recorder.steps[at] for at in left_out]
    assert recorder.steps.index(Sync(place)) < min(recorder.steps.index(Sync(name)) for name in ("new", "cur"))


@pytest.mark.parametrize("power", [ROOMY, FULL], indirect=True)
def test_a_login_cannot_act_on_a_promise_that_it_has_not_synced(power: Power) -> None:
    promised = next(number for number in count(1) if is_promised(power.play(killed(number), logins=0)))
    before = len(power.play(killed(promised), logins=0).steps)
    recorder = power.play(killed(promised))
    at = next(at for at in syncs(recorder.steps) if at >= before)
    assert power.wrongs(recorder, [*recorder.steps[:at], *recorder.steps[at + 1 :]])


@pytest.mark.parametrize("power", [ROOMY, FULL], indirect=True)
def test_a_withdrawal_that_is_not_synced_does_not_count(power: Power) -> None:
    promised = next(number for number in count(1) if is_promised(power.play(killed(number), logins=0)))
    recorder = power.play(failing(promised), logins=0)
    assert recorder.steps[-1] == Told(deleted=False)
    at = syncs(recorder.steps)[-1]
    assert power.wrongs(recorder, [*recorder.steps[:at], *recorder.steps[at + 1 :]])


def is_promised(recorder: Recorder) -> bool:
    """Whether a whole promise lies there, durable or not."""
    contents = [recorder.contents[file] for name, file in recorder.names.items() if name in PROMISES]
    return any(promise.kind(each.partition(b"\0\0")[0]) is promise.Kind.OURS for each in contents)
