"""The folder that runs work in, and the lock that keeps two of them from disturbing each other."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
BESIDE = HERE.parent
"""Where the package is that is measured: beside this folder."""
ROOT = Path(os.environ.get("BENCH_ROOT") or Path(tempfile.gettempdir()) / "mailserver-bench")


@contextmanager
def alone() -> Generator[None]:
    """Wait until no other run is at work in this folder: both would measure each other, and share maildrops.

    SIGTERM ends a run as an error does: with its servers, which would else serve on.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    ROOT.mkdir(exist_ok=True, parents=True)
    with (ROOT / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another run in {ROOT}", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
