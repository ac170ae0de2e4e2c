"""The asking side, for the operators' commands: blocking, one question a connection."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from math import inf
from typing import Any, Final, NamedTuple

from mailserver.control.lines import LONGEST, SILENT_SECONDS, line, read

PATIENCE_SECONDS: Final = 15.0
"""How long a line of the answer may take: the server itself gives up on a worker process earlier."""

_REMEDIES: Final = {
    errno.ENOENT: "nobody serves there: is the server started, and is listen.control of its settings this path?",
    errno.ECONNREFUSED: "nobody serves there: the server has ended; start it, or see in its log why",
    errno.EACCES: "only root, the user that serves and the socket's group may ask: see its mode",
}


class NoServer(Exception):
    """Nobody answers. The text tells the operator what to do, `status` is the exit status that fits."""

    def __init__(self, text: str, status: int = os.EX_UNAVAILABLE) -> None:
        super().__init__(text)
        self.status = status


class Absent(NoServer):
    """No server runs that could be asked."""


class Broken(NoServer):
    """The answer was not whole."""

    def __init__(self, text: str, how: str) -> None:
        super().__init__(text)
        self.how = how
        """What has become of the process that was asked: "lost" or "silent"."""


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

    Where the process that was asked ends or hangs, another one is asked that serves at the path, its successor say, and ``{"lost": 2}``
    or ``{"silent": 2}`` goes before what that says. Errors: NoServer, Declined.
    """
    following = _Following(inf if seconds is None else time.monotonic() + seconds)
    before = ""  # what has become of the process that was asked before
    while True:
        heard, following.patience = False, PATIENCE_SECONDS
        try:
            for said in _said(path, {"question": question, **arguments}, following.left):
                if before:
                    yield {before: following.worker}
                heard, before = True, ""
                if following.is_news(said):
                    yield said
                if following.is_over:  # it may never wait, and so never be late
                    return
            before = "lost"
        except Broken as error:
            if following.is_over:
                return
            if not heard:
                raise
            before = error.how
        if not heard:
            raise NoServer(f"{path}: the server has ended")


class _Following:
    """How long the process that answers may say nothing."""

    def __init__(self, until: float) -> None:
        self._until = until
        self.patience = PATIENCE_SECONDS
        self.worker = 0
        """Which it is; 0: the only one, or it does not say so."""

    def is_news(self, said: dict[str, Any]) -> bool:
        """Whether it is for whoever asks, and not that the process is alive, without which it is of an earlier version."""
        if "alive" in said:
            self.patience, self.worker = SILENT_SECONDS, said["alive"]
        elif self.patience == PATIENCE_SECONDS:
            self.patience, self.worker = inf, 0
        return "alive" not in said

    def left(self) -> float | None:
        """Seconds for the next line."""
        least = min(self._until - time.monotonic(), self.patience)
        return None if least == inf else max(0.001, least)

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self._until


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
    except TimeoutError:
        raise Broken(f"{path}: it does not answer in time", "silent") from None
    except ConnectionResetError:
        raise Broken(f"{path}: the server has ended", "lost") from None
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0) or error.strerror or error
        status = os.EX_NOPERM if isinstance(error, PermissionError) else os.EX_UNAVAILABLE
        absent = error.errno in {errno.ENOENT, errno.ECONNREFUSED}
        raise (Absent if absent else NoServer)(f"{path}: {remedy}", status) from None
