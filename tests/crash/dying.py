"""``python -m tests.crash.dying MAILDIR STEP twist's arguments``: twist, whose step number STEP on that Maildir is its last.

A step is a call that changes what is there, makes it durable, or lists it, in whichever thread: those of `os` with a path in
the Maildir, or with a descriptor of one.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from threading import RLock
from typing import Any

from twisted.application.twist._twist import Twist

STEPS = ("scandir", "mkdir", "pwrite", "write", "fsync", "link", "rename", "unlink")


class Steps:
    """Counts them, and kills before the last."""

    def __init__(self, maildir: bytes, last: int) -> None:
        self._maildir = maildir
        self._left = last
        self._descriptors: set[int] = set()
        self._lock = RLock()

    def watch(self, name: str) -> None:
        """Put ourselves in front of the function."""
        function: Callable[..., Any] = getattr(os, name)

        def watched(on: Any, *arguments: Any, **options: Any) -> Any:
            with self._lock:
                if not (on in self._descriptors or (isinstance(on, bytes) and on.startswith(self._maildir))):
                    return function(on, *arguments, **options)
                if name in STEPS:
                    self._step()
                result = function(on, *arguments, **options)
                if name == "open":
                    self._descriptors.add(result)
                elif name == "close":
                    self._descriptors.discard(on)
                return result

        setattr(os, name, watched)

    def _step(self) -> None:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


def main(maildir: str, step: str, *arguments: str) -> None:
    """Become the server."""
    steps = Steps(os.fsencode(maildir), int(step))
    for name in ("open", "close", *STEPS):
        steps.watch(name)
    Twist.main(["twist", *arguments])


if __name__ == "__main__":
    main(*sys.argv[1:])
