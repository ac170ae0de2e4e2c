"""Waiting for what nothing announces, such as the end of a descriptor in another process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

SECONDS: Final = 60
"""How long something may take before a test has failed: far longer than it does on a machine that is busy."""

_PAUSE: Final = 0.01
"""Seconds between two looks; the outcome does not depend on it."""


def eventually(met: Callable[[], bool], what: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait until it is so; `what` says what is the matter if it never is."""
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, f"waited {seconds} s: {what()}"
        threading.Event().wait(_PAUSE)
