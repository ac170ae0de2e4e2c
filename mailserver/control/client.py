"""The asking side, for the operators' commands: blocking, one question a connection."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

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


class Answer:
    """The rows of an answer, in an iteration that waits for each; after it, `silent` has the worker processes that did not answer."""

    def __init__(self, path: str, question: str, arguments: dict[str, Any], patience: float | None) -> None:
        self.silent: list[int] = []
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._put(line({"question": question, **arguments}))
            self._socket.settimeout(patience)
        except BaseException:
            self._socket.close()
            raise

    def _put(self, question: bytes) -> None:
        """Connect, and ask. Errors: NoServer."""
        try:
            self._socket.settimeout(PATIENCE_SECONDS)
            self._socket.connect(os.fsencode(self._path))
            with suppress(BrokenPipeError):  # a server that turns this process away closes at once, and has said why
                self._socket.sendall(question)
        except OSError as error:
            raise self._unanswered(error) from None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Errors: NoServer, Declined."""
        with self._socket, self._socket.makefile("rb") as lines:
            while True:
                try:
                    said = read(lines.readline(LONGEST))
                except OSError as error:
                    raise self._unanswered(error) from None
                if said is None:
                    raise NoServer(f"{self._path}: the server has ended in the middle of its answer")
                if "row" in said:
                    yield said["row"]
                elif "error" in said:
                    raise Declined(str(said["error"]), int(said.get("status", os.EX_SOFTWARE)))
                else:
                    self.silent = list(said.get("end", {}).get("silent", []))
                    return

    def _unanswered(self, error: OSError) -> NoServer:
        late = isinstance(error, TimeoutError)
        remedy = (
            "it does not answer in time" if late else _REMEDIES.get(error.errno or 0) or error.strerror or str(error)
        )
        status = os.EX_NOPERM if isinstance(error, PermissionError) else os.EX_UNAVAILABLE
        return NoServer(f"{self._path}: {remedy}", status)


def ask(path: str, question: str, *, patience: float | None = PATIENCE_SECONDS, **arguments: Any) -> Answer:
    """Ask the server at `path`; `patience` are the seconds that a line may take, None: for ever, as for what is still to happen.

    Errors: NoServer.
    """
    return Answer(path, question, arguments, patience)
