"""How many processes this machine can keep busy."""

from __future__ import annotations

import os
from typing import Final

WORKERS_PER_CORE: Final = 4
"""More bring nothing but memory (70 MB each): a worker waits for nobody, and its slow work is in threads already."""

FEW_WORKERS: Final = 8
"""So many are never too many: one file fits machines of all sizes."""


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def too_many(workers: int) -> str:
    """What to say of a number of workers that must be a slip; empty: it is none."""
    most = max(FEW_WORKERS, WORKERS_PER_CORE * cores())
    if workers <= most:
        return ""
    return f"{workers} workers are too many for {cores()} cores: {most} at most; 0 is one per core"
