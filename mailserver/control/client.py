"""The asking side, for the operators' commands: blocking, one question a connection."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple

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


class Absent(NoServer):
    """No server runs that could be asked."""


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


def ask(path: str, question: str, *, patience: float = PATIENCE_SECONDS, **arguments: Any) -> Answer:
    """Ask the server at `path`, and wait for its whole answer, for each line so many seconds. Errors: NoServer, Declined."""
    rows: list[dict[str, Any]] = []
    for said in _said(path, {"question": question, **arguments}, lambda: patience):
        if "row" not in said:
            return Answer(rows, said.get("end", {}).get("silent", []))
        rows.append(said["row"])
    raise NoServer(f"{path}: the server has ended in the middle of its answer")


def follow(path: str, question: str, seconds: float | None, **arguments: Any) -> Generator[dict[str, Any], None, None]:
    """Ask a question whose answer goes on, and yield its lines as they come, for so many seconds (None: until the server ends).

    Where another server has followed it at a restart, that one is asked, after ``{"lost": 0}``. Errors: NoServer, Declined.
    """
    until = None if seconds is None else time.monotonic() + seconds

    def left() -> float | None:
        return None if until is None else max(0.001, until - time.monotonic())

    try:
        for said in _one_after_the_other(path, {"question": question, **arguments}, left):
            yield said
            if until is not None and time.monotonic() >= until:  # it may never wait, and so never be late
                return
        raise NoServer(f"{path}: the server has ended")
    except NoServer:
        if until is None or time.monotonic() < until:
            raise


def _one_after_the_other(
    path: str, question: dict[str, Any], patience: Callable[[], float | None]
) -> Iterator[dict[str, Any]]:
    """As `_said`, of each server that serves at the path in its turn, until one says nothing."""
    lines = _said(path, question, patience)
    first = next(lines, None)
    while first is not None:
        yield first
        yield from lines
        lines = _said(path, question, patience)
        first = next(lines, None)
        if first is not None:
            yield {"lost": 0}


def _said(path: str, question: dict[str, Any], patience: Callable[[], float | None]) -> Iterator[dict[str, Any]]:
    """The lines of an answer; each may take as many seconds as `patience` says then. Errors: NoServer, Declined."""
    try:
        with socket.socket(socket.AF_UNIX) as asking, asking.makefile("rb") as lines:
            asking.settimeout(PATIENCE_SECONDS)
            asking.connect(os.fsencode(path))
            with suppress(BrokenPipeError):  # a server that turns this process away closes at once, and has said why
                asking.sendall(line(question))
            asking.settimeout(patience())
            while said := read(lines.readline(LONGEST)):
                if "error" in said:
                    raise Declined(str(said["error"]), int(said.get("status", os.EX_SOFTWARE)))
                yield said
                asking.settimeout(patience())
    except OSError as error:
        late = isinstance(error, TimeoutError)
        remedy = "it does not answer in time" if late else _REMEDIES.get(error.errno or 0) or error.strerror or error
        status = os.EX_NOPERM if isinstance(error, PermissionError) else os.EX_UNAVAILABLE
        absent = error.errno in {errno.ENOENT, errno.ECONNREFUSED}
        raise (Absent if absent else NoServer)(f"{path}: {remedy}", status) from None
