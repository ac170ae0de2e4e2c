"""What an operator's command and a server say to each other over the Unix socket: lines of JSON.

The command asks one question, ``{"question": "who", "user": "alice"}``. The server answers with a line for each fact,
``{"row": {...}}``, and ends with ``{"end": {}}`` or with an error, ``{"error": "text", "status": 75}``. Where several worker processes
serve, the one that was asked asks the others at sockets of their own, and its end names those that did not answer: ``{"end": {"silent": [2]}}``.

The answer to a question such as "trace" goes on until the command closes the connection. Then ``{"left_out": 5}`` says how many facts were not
sent, because the command did not read them in time, and ``{"lost": 2}`` that a worker process does not answer any more, or not yet. Each
process says ``{"alive": 2}`` meanwhile, so that one that hangs is seen: ``{"silent": 2}``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

LONGEST: Final = 65_536
"""Octets of a line. A session's facts are less than a thousand; what a client sent is cut long before."""

SILENT_SECONDS: Final = 5.0
"""How long a process says nothing until it is named: one that is busy for longer is worth it."""

Row = Mapping[str, Any]
"""A fact: names of fields, and what JSON can hold."""


def line(said: Row) -> bytes:
    """A line, with its end."""
    return json.dumps(said, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def read(octets: bytes) -> dict[str, Any] | None:
    """What a line says; None: it is none of ours."""
    try:
        said = json.loads(octets)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def numbered(path: str, worker: int) -> str:
    """The socket of one worker process, beside the socket that all of them serve."""
    return f"{path}.{worker}"
