"""A worker process's messages to its parent: lines of JSON on a separate descriptor, such as ``{"event": "serving"}``.

The parent may be root and the worker is not, so the parent trusts no line: it is bounded, and one of a few events. The log, to
which any code in the worker may write, is another pipe and controls nothing.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any, Final

CHANNEL: Final = 3
"""The worker's descriptor for its messages, after its input, its log and its standard error."""

MEMORY: Final = 4
"""The descriptor of the memory that a worker has in common with the others (`net.common`)."""

FIRST_SOCKET: Final = 5
"""The descriptors of the sockets in a worker begin here."""

SERVING: Final = "serving"
"""The worker accepts connections."""

RELOADED: Final = "reloaded"
"""The worker has finished a reload (SIGHUP), or has installed other settings."""

PREPARED: Final = "prepared"
"""The worker could serve by the other settings that it was sent."""

REFUSED: Final = "refused"
"""It could not; its problems are with the word."""

ASKED: Final = "asked"
"""An operator asks this worker for something that is its parent's: `what` it is, and a number for the answer."""

PREPARE: Final = "prepare"
"""An order of the parent: get ready to serve by these settings."""

INSTALL: Final = "install"
"""Another one: serve by them."""

DROP: Final = "drop"
"""Forget them, since another worker cannot."""

RETIRE: Final = "retire"
"""Accept no more, let sessions end by themselves, and end: another server has the ports."""

BURY: Final = "bury"
"""The server whose place this one has taken is gone: free what a killed worker of its held in the memory."""

TELL: Final = "tell"
"""Another one: tell these failures of the parent's, which has no pages."""

ANSWER: Final = "answer"
"""The outcome of what was asked."""

LONGEST_WORD: Final = 65_536
"""Octets of a line; nearly all of ours are shorter than 30, and the problems of settings may be some pages."""

LONGEST_ORDER: Final = 1 << 24
"""Octets of an order. It is the parent's own, whose settings may have thousands of lines."""


class Lines:
    """Splits a stream into lines of at most `limit` octets; longer lines are dropped, and `lost` counts them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""
        self._skipping = False
        self.lost = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that these octets complete, without their ends. The rest that is kept never exceeds the limit."""
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


def say(event: str, **more: Any) -> None:
    """Send an event, in the worker."""
    os.set_blocking(CHANNEL, False)
    with suppress(BlockingIOError, BrokenPipeError):  # the parent is stopped and the pipe full, or the parent is gone
        os.write(CHANNEL, json.dumps({"event": event, **more}).encode() + b"\n")


def heard(line: bytes) -> tuple[str, dict[str, Any]]:
    """The event in a line, in the parent, which may be unknown, and what comes with it. "": the line is invalid."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return "", {}
    event = said.get("event") if isinstance(said, dict) else None
    return (event, said) if isinstance(event, str) else ("", {})
