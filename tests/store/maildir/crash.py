"""A program that kills itself at every step of a commit, and of the login that finishes it.

``python -m tests.store.maildir.crash DIRECTORY PLACE`` prints one JSON line per kill: where it fell, and what was there afterwards; PLACE
is where the commit keeps what it deletes, "" for nowhere. With a third argument "undelete" the work is to bring it back. Every process that is to die is a fork, so the one that counts the steps outlives them all. Nothing here has threads.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mailserver.store.maildir import journal, keeping, locking, opening, promise
from mailserver.store.maildir.index import Index
from mailserver.store.maildir.same import Target

CALLS = ("open", "write", "fsync", "link", "rename", "unlink", "close", "scandir", "mkdir", "lstat", "fstat", "utime")
CALLS += ("rmdir", "listdir")
TARGETS = ("new/1700000001.M1P1.h", "cur/1700000003.M1P1.h:2,")
NAMES = ["new/1700000001.M1P1.h", "cur/1700000002.M1P1.h,S=9:2,S", "cur/1700000003.M1P1.h:2,", "new/1700000004.M1P1.h"]
KEPT = set(NAMES).difference(TARGETS)
ALL = set(NAMES)


def main(directory: str, place: str = "", undelete: str = "") -> None:
    os.fsync = lambda _: None  # a step as before; but a kill loses nothing, and hundreds of them take half a minute
    if undelete:
        step = 1
        while back(Path(directory), step, place.encode()):
            step += 1
        return
    for recovering in (False, True):
        for torn in (False,) if place else (False, True):
            step = 1
            while crash(Path(directory), step, place.encode(), torn=torn, recovering=recovering):
                step += 1


def fill(directory: Path) -> tuple[Path, bytes]:
    maildrop = directory / "Maildir"
    shutil.rmtree(maildrop, ignore_errors=True)
    for name in ("new", "cur", "tmp"):
        (maildrop / name).mkdir(parents=True)
    for name in NAMES:
        (maildrop / name).write_bytes(name.encode())
    return maildrop, os.fsencode(maildrop) + b"/"


def lying(maildrop: Path, place: bytes) -> dict[str, str]:
    """What lies in the place, by name."""
    there = maildrop / os.fsdecode(place)
    return {path.name: path.read_text() for path in there.iterdir()} if place and there.is_dir() else {}


def back(directory: Path, step: int, place: bytes) -> str:
    """One kill of an undelete; returns the name of the call it fell on, "" when the work was over before."""
    maildrop, root = fill(directory)
    commit(root, lambda: None, place)
    deleted = login(root)

    def undelete(arm: Callable[[], None]) -> None:
        arm()
        keeping.undelete(root)

    died = dying(undelete, step, torn=False)
    found = login(root)
    again = keeping.undelete(root)
    whole = login(root)
    sys.stdout.write(json.dumps({
        "died": died, "step": step, "deleted": deleted, "found": found, "again": again, "whole": whole,
        "intact": all((maildrop / name).read_bytes() == name.encode() for name in whole),
        "more": keeping.undelete(root), "rest": sorted(path.name for path in (maildrop / "mailserver-kept").iterdir()),
    }) + "\n")  # fmt: skip
    return died


def crash(directory: Path, step: int, place: bytes, *, torn: bool, recovering: bool) -> str:
    """One kill; returns the name of the call it fell on, "" when the work was over before."""
    maildrop, root = fill(directory)
    if recovering:
        opened = opening.thoroughly(root, root, "crash", None, clock)
        os.close(opened.lock)
        listed = opened.found
        (maildrop / "mailserver-journal").write_bytes(promise.encode(task(listed), place))
    died = dying(lambda arm: login(root, arm) if recovering else commit(root, arm, place), step, torn=torn)
    promised = (maildrop / "mailserver-journal").exists()
    there = {path.read_text() for folder in ("new", "cur") for path in (maildrop / folder).iterdir()}
    there |= set(lying(maildrop, place).values())
    found = login(root)
    sys.stdout.write(json.dumps({
        "died": died, "step": step, "torn": torn, "recovering": recovering, "promised": promised, "found": found,
        "intact": all((maildrop / name).read_bytes() == name.encode() for name in found),
        "again": login(root) == found, "lying": lying(maildrop, place),
        "lost": sorted(ALL - there),
        "rest": sorted(path.name for path in maildrop.iterdir()),
    }) + "\n")  # fmt: skip
    return died


def commit(root: bytes, arm: Callable[[], None], place: bytes = b"") -> None:
    opened = opening.thoroughly(root, root, "crash", None, clock)
    arm()
    promised = task(opened.found)
    journal.commit(root, promised, opened.found.others(promised), partial(clock, root), place)
    os.close(opened.lock)


def clock(root: bytes) -> int:
    """A second later, so that every listing is complete and each run has the same steps."""
    return locking.now(root) + 1_000_000_000


def task(listed: Index) -> list[Target]:
    """To delete what is to be deleted, as a session listed it."""
    at = [listed.names[:].index(name.encode()) for name in TARGETS]
    return [listed.target(each)._replace(since=time.time_ns()) for each in at]


def login(root: bytes, arm: Callable[[], None] = lambda: None) -> list[str]:
    arm()
    opened = opening.thoroughly(root, root, "crash", None, clock)
    os.close(opened.lock)
    return [os.fsdecode(name) for name in opened.found.names]


def dying(work: Callable[[Callable[[], None]], Any], step: int, *, torn: bool) -> str:
    """Do the work in a process that dies at call number `step` after `work` has armed it; returns that call's name."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            work(lambda: instrument(step, write, torn=torn))
            os._exit(0)
        except BaseException:  # noqa: BLE001 - else it would go on as a second parent
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    os.close(write)
    with os.fdopen(read) as report:
        died = report.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) if died else status == 0, (status, died)
    return died


def instrument(step: int, report: int, *, torn: bool) -> None:
    """Let call number `step` from now on be the last; a torn one writes half of its octets first."""
    count = 0
    write_all = os.write

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == step:
                if torn and name == "write":
                    write_all(arguments[0], arguments[1][: len(arguments[1]) // 2])
                write_all(report, name.encode())
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    for name in CALLS:
        setattr(os, name, counted(name, getattr(os, name)))


if __name__ == "__main__":
    main(*sys.argv[1:])
