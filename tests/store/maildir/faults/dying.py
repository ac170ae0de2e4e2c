"""A program that kills itself at every change that a repair makes: ``python -m tests.store.maildir.faults.dying DIRECTORY``.

It prints a JSON line per kill: where it fell, and what another repair leaves.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from mailserver.store.maildir.faults import examine
from tests.store.maildir import crash
from tests.store.maildir.faults.broken import Maildrop

CHANGES = ("write", "fsync", "link", "rename", "unlink", "mkdir", "rmdir", "chmod", "utime")
"""The other calls only read: a kill there is one before the next of these."""

BACK = b"back\n"
GONE = b"deleted\n"
KINDS = {"sizes", "copy", "twin", "index", "foreign", "quota", "undelete", "journal", "unique-ids", "rights"}


def damaged(directory: Path) -> Maildrop:
    """A maildrop with a fault of nearly every kind."""
    maildrop = Maildrop(directory, ["new/1700000001.M1P1.h", "cur/1700000002.M1P1.h:2,S", "new/1700000003.M1P1.h"])
    maildrop.put("new/1700000011.M1P1.h,U=YWI", b"one that claims\n")
    maildrop.put("new/1700000012.M1P1.h,U=YWI", b"another one\n")
    maildrop.put("cur/1700000001.M1P1.h:2,F", b"a twin\n")
    maildrop.put("new/1700000009.M1P1.h", GONE)
    maildrop.log_in()
    os.utime(directory / "cur/1700000001.M1P1.h:2,F", (1, 1))  # by its age alone it would be the first
    maildrop.rewrite(lambda _, rows: rows.octets.__setitem__(2, 7))
    (directory / "mailserver-uidls").unlink()
    maildrop.put("new/1700000004.M1P1.h,S=1,W=2", b"wrong sizes\n")
    maildrop.put("cur/1700000002.M1P1.h,S=9:2,", b"a twin with a wrong size\n")
    (directory / "cur/1700000003.M1P1.h:2,").hardlink_to(directory / "new/1700000003.M1P1.h")
    (directory / "cur/folder").mkdir()
    maildrop.put("maildirsize", b"1000S\n5 1\n")
    maildrop.put("mailserver-kept/undelete-1700000000000000000-7/1700000007.M1P1.h", BACK)
    maildrop.promise("new/1700000009.M1P1.h")
    (directory / "cur/1700000002.M1P1.h:2,S").chmod(0)
    return maildrop


def main(directory: str) -> None:
    """Kill it at each change."""
    os.fsync = lambda _: None  # a step as before; but a kill loses nothing
    crash.CALLS = CHANGES
    examine._PAUSE = 0
    step = 1
    while _killed(Path(directory), step):
        step += 1


def _killed(directory: Path, step: int) -> str:
    shutil.rmtree(directory, ignore_errors=True)
    maildrop = damaged(directory)
    stored, kinds = {*maildrop.stored()}, {*maildrop.kinds()}
    ids = {data: maildrop.shown()[data] for data in stored - {GONE}}

    def repair(arm: Callable[[], None]) -> None:
        arm()
        maildrop.repair()

    died = crash.dying(repair, step, torn=False)
    left = {*maildrop.stored()}
    done = maildrop.repair()
    after = maildrop.shown()
    sys.stdout.write(json.dumps({
        "died": died, "kinds": sorted(kinds), "lost": len(stored - left - {GONE}), "left": [each.kind for each in done.left],
        "found": maildrop.kinds(), "whole": {*maildrop.stored()} == stored - {GONE} | {BACK},
        "same": {data: after.get(data) for data in ids} == ids,
    }) + "\n")  # fmt: skip
    return died


if __name__ == "__main__":
    main(*sys.argv[1:])
