"""The messages that could not be moved as they are, for the operator: the file of ``--log`` has a line of JSON for each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, NamedTuple

LOST: Final = "unread"

What = Literal["unread", "renamed", "renumbered", "note"]
"""Not moved, since it cannot be read; moved with another unique-id; there already, by another unique-id; no message's."""


class Trouble(NamedTuple):
    """What the operator should know of one message, or of a user's source."""

    user: str
    what: What
    text: str
    place: str = ""
    """Where the message is at the source; "": it is none."""
    uidl: bytes = b""
    """Its unique-id there."""


Tell = Callable[[Trouble], object]


class TroubleLog:
    """The file of ``--log``. Each line is written at once, whole, so that several runs may share a file. Errors: OSError."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._clock = clock

    def write(self, trouble: Trouble) -> None:
        """Add a line. Errors: OSError."""
        facts = {"time": round(self._clock(), 3), **trouble._asdict(), "uidl": trouble.uidl.decode("ascii", "replace")}
        line = json.dumps(facts).encode("ascii") + b"\n"
        while line:
            line = line[os.write(self._descriptor, line) :]

    def close(self) -> None:
        """Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
