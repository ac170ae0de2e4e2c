"""What a worker says to its parent, on a descriptor of its own and as a line of JSON: ``{"event": "serving"}``.

The parent may be root and the worker's user is not, so a line is judged as a stranger's: bounded, and one of a few words.
The log, which anything in the worker may write to, is another pipe and steers nothing.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Final

CHANNEL: Final = 3
"""The worker's descriptor for it, behind its input (what to do), its log and its standard error."""

FIRST_SOCKET: Final = 4
"""The descriptors of the sockets in a worker begin here."""

SERVING: Final = "serving"
"""It accepts connections."""

RELOADED: Final = "reloaded"
"""It has read again what SIGHUP asked it to."""

LONGEST_WORD: Final = 1024
"""Octets of a line; all of ours are shorter than 30."""


class Lines:
    """Cuts a stream into lines of at most `limit` octets; from one that is longer, all is thrown away and `lost` counts it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""
        self._skipping = False
        self.lost = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that these octets complete, without their ends. What is kept never exceeds the limit."""
        *ended, rest = data.split(b"\n")
        lines = []
        for part in ended:
            line = self._rest + part
            self._rest = b""
            if self._skipping:
                self._skipping = False
            elif len(line) > self._limit:
                self.lost += 1
            else:
                lines.append(line)
        if self._skipping:
            return lines
        if len(self._rest) + len(rest) > self._limit:
            self._rest, self._skipping = b"", True
            self.lost += 1
        else:
            self._rest += rest
        return lines


def say(event: str) -> None:
    """The worker's side."""
    os.set_blocking(CHANNEL, False)
    with suppress(BlockingIOError, BrokenPipeError):  # a parent that is stopped for thousands of words, or has gone
        os.write(CHANNEL, json.dumps({"event": event}).encode() + b"\n")


def heard(line: bytes) -> str:
    """The parent's side: the event of a line, which may be none that we know; empty: it is no line of ours."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    event = said.get("event") if isinstance(said, dict) else None
    return event if isinstance(event, str) else ""
