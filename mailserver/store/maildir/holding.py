"""Who holds a maildrop's locks, by the kernel's own list: to try a lock would keep a client out for that moment."""

# Paths are octets here, which pathlib cannot hold.
# ruff: noqa: PTH116, PTH208

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from mailserver.store.maildir import maildirsize, reserving
from mailserver.store.maildir.files import shown
from mailserver.store.maildir.locking import NAME, written_by
from mailserver.upkeep import Held

PURPOSES: Final = {NAME: "session", reserving.NAME: "move", maildirsize.LOCK: "quota"}
"""What the locks of a maildrop are for, by their files."""

_LIST: Final = Path("/proc/locks")

_LINE: Final = re.compile(
    rb"^\d+: FLOCK +\S+ +\S+ (?P<pid>\d+) (?P<major>[0-9a-f]+):(?P<minor>[0-9a-f]+):(?P<inode>\d+) ", re.MULTILINE
)
"""A lock that is held; those that wait for one have an arrow before the word."""

_NAME: Final = re.compile(r"\d+ \((?P<program>.*)\) (?P<state>\S) ", re.DOTALL)


def held(root: bytes) -> list[Held]:
    """The locks of the maildrop that are held now. Errors: OSError, where the kernel does not tell."""
    files = [(root + name, purpose, _status(root + name)) for name, purpose in PURPOSES.items()]
    there = [(path, purpose, status) for path, purpose, status in files if status is not None]
    listed = _LIST.read_bytes() if there else b""  # once: it has the locks of the whole machine
    return [each for path, purpose, status in there for each in _held(path, purpose, status, listed)]


def _status(path: bytes) -> os.stat_result | None:
    """Of a lock's file; None: there is none."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _held(path: bytes, purpose: str, status: os.stat_result, listed: bytes) -> Iterator[Held]:
    for pid in _holders(status, listed):
        program, state = _process(pid)
        writer, about = written_by(path)
        yield Held(purpose, shown(path), pid, program, state, status.st_mtime, about if writer == pid else "")


def _holders(status: os.stat_result, listed: bytes) -> Iterator[int]:
    """The processes that have locked this file, by the kernel's list."""
    device = os.major(status.st_dev), os.minor(status.st_dev)
    for line in _LINE.finditer(listed):
        if int(line["inode"]) != status.st_ino:
            continue
        pid = int(line["pid"])
        # btrfs and overlays give files another device than the kernel's list has: then the process must have it open
        if (int(line["major"], 16), int(line["minor"], 16)) == device or _has_open(pid, status):
            yield pid


def _has_open(pid: int, status: os.stat_result) -> bool:
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError):
                if os.path.samestat(os.stat(f"{folder}/{name}"), status):
                    return True
    return False


def _process(pid: int) -> tuple[str, str]:
    """Its program and its state."""
    with suppress(OSError):
        found = _NAME.match(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace"))
        if found is not None and found["state"] not in "ZX":
            return found["program"], found["state"]
    return "", ""
