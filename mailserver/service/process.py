"""What the kernel tells of a process, of ours and of others."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Final

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def memory(pid: int | str = "self") -> int:
    """The resident memory of a process, in octets. Errors: OSError, of one that has ended or is hidden."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE


def age(pid: int | str = "self") -> float:
    """The seconds since a process began. Errors: OSError, as above."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - _ticks(pid) / os.sysconf("SC_CLK_TCK")


def began() -> float:
    """When this process began, in seconds since 1970: the same at each call, as long as nobody sets the clock."""
    booted = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(encoding="ascii"), re.MULTILINE)
    return (int(booted[1]) if booted else 0) + _ticks("self") / os.sysconf("SC_CLK_TCK")


def descriptors() -> int:
    """The open descriptors of this process, but for the one that lists them."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1


def _ticks(pid: int | str) -> int:
    """When a process began, in the kernel's ticks since the machine did."""
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
