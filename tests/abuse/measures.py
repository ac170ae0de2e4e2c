"""What a process takes of the machine, read from /proc."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Final

from tests.rawpop3 import RawPOP3

KIB: Final = 1024
MIB: Final = 1024 * KIB


def descriptors(pid: int) -> int:
    """How many are open."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - names alone; a Path for each would be made for nothing


def memory(pid: int, field: str) -> int:
    """Octets of main memory: "VmRSS" now, "VmHWM" at its highest."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.removesuffix("kB")) * KIB
    raise LookupError(field)


class Growth:
    """How much more memory a process had at its highest, since this was made, than when it was made."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")  # proc(5): the peak starts anew from here
        self._before = memory(pid, "VmRSS")

    @property
    def octets(self) -> int:
        return memory(self._pid, "VmHWM") - self._before


class Files:
    """Every path below a folder, so that a test can tell what appeared."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before = self._now()

    def _now(self) -> set[Path]:
        return set(self._folder.rglob("*"))

    @property
    def new(self) -> set[Path]:
        return self._now() - self._before


def reset(client: RawPOP3) -> None:
    """Leave at once and for good; who only closes looks like one who half-closes, and is still owed his answers."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
