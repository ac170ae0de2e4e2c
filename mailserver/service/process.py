"""What the kernel tells of a process, of ours and of others."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def memory(pid: int | str = "self") -> int:
    """The resident memory of a process, in octets. Errors: OSError, of one that has ended or is hidden."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE


def age(pid: int | str = "self") -> float:
    """The seconds since a process began. Errors: OSError, as above."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def descriptors() -> int:
    """The open descriptors of this process, but for the one that lists them."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1
