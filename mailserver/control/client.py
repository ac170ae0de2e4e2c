"""The asking side, for the operators' commands: blocking, one question a connection."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from typing import Any, BinaryIO, Final, NamedTuple

from mailserver.control.lines import LONGEST, line, read

PATIENCE_SECONDS: Final = 15.0
"""How long a line of the answer may take: the server itself gives up on a worker process earlier."""

_REMEDIES: Final = {
    errno.ENOENT: "nobody serves there: is the server started, and is listen.control of its settings this path?",
    errno.ECONNREFUSED: "nobody serves there: the server has ended",
    errno.EACCES: "only root, the user that serves and the socket's group may ask: see its mode",
}


class NoServer(Exception):
    """Nobody answers. The text tells the operator what to do, `status` is the exit status that fits."""

    def __init__(self, text: str, status: int = os.EX_UNAVAILABLE) -> None:
        super().__init__(text)
        self.status = status


class Declined(Exception):
    """The server answers that it cannot. `status` is the exit status that fits."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class Answer(NamedTuple):
    """What the server has said."""

    rows: list[dict[str, Any]]
    silent: list[int]
    """The worker processes that did not answer."""


def ask(path: str, question: str, **arguments: Any) -> Answer:
    """Ask the server at `path`, and wait for its whole answer. Errors: NoServer, Declined."""
    try:
        with socket.socket(socket.AF_UNIX) as asking, asking.makefile("rb") as lines:
            asking.settimeout(PATIENCE_SECONDS)
            asking.connect(os.fsencode(path))
            with suppress(BrokenPipeError):  # a server that turns this process away closes at once, and has said why
                asking.sendall(line({"question": question, **arguments}))
            return _heard(path, lines)
    except OSError as error:
        late = isinstance(error, TimeoutError)
        remedy = "it does not answer in time" if late else _REMEDIES.get(error.errno or 0) or error.strerror or error
        status = os.EX_NOPERM if isinstance(error, PermissionError) else os.EX_UNAVAILABLE
        raise NoServer(f"{path}: {remedy}", status) from None


def _heard(path: str, lines: BinaryIO) -> Answer:
    rows = []
    while said := read(lines.readline(LONGEST)):
        if "row" in said:
            rows.append(said["row"])
        elif "error" in said:
            raise Declined(str(said["error"]), int(said.get("status", os.EX_SOFTWARE)))
        else:
            return Answer(rows, said.get("end", {}).get("silent", []))
    raise NoServer(f"{path}: the server has ended in the middle of its answer")
