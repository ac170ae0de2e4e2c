"""A client of LMTP (RFC 2033) that waits for a bounded time in all."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple, Self

from mailserver.cli.places import Place

LONGEST_REPLY: Final = 64 * 1024
"""Octets of all lines of a reply; RFC 5321 section 4.5.3.1.5 allows 512 for each, and no server has a hundred."""

QUIT_SECONDS: Final = 5.0
"""How long a server may take to say good-bye. Everything is done then."""

_LINE: Final = re.compile(rb"([2-5]\d\d)([- ]|$)(?:([245]\.\d{1,3}\.\d{1,3})(?: |$))?(.*)", re.DOTALL)


class Lost(Exception):
    """Nobody answers, or no longer, so that what became of the message is not known. The text says what happened."""


class Reply(NamedTuple):
    """The server's answer to a command."""

    code: int
    status: str
    """The enhanced status code (RFC 2034); of servers that give none, the one for any answer of this kind, such as 5.0.0."""
    text: str
    lines: tuple[str, ...]
    """The texts of all lines."""

    @property
    def good(self) -> bool:
        """Whether the server has done, or goes on with, what it was asked for."""
        return self.code < 400  # noqa: PLR2004 - RFC 5321 section 4.2.1

    @property
    def temporary(self) -> bool:
        """Whether another try may help."""
        return 400 <= self.code < 500  # noqa: PLR2004 - RFC 5321 section 4.2.1


class Client:
    """A connection. It may wait for the server for so many `seconds` in all, since whoever waits for us does not wait for ever."""

    def __init__(self, place: Place, seconds: float) -> None:
        self._left = seconds
        self._seconds = seconds
        self._place = place
        self._received = b""
        self.keywords: frozenset[str] = frozenset()
        """What the server can do, in capitals."""
        family = socket.AF_UNIX if place.path else socket.AF_INET6 if ":" in place.host else socket.AF_INET
        self._socket = socket.socket(family)
        try:
            with self._waiting("nobody answers at"):
                self._socket.connect(place.path or (place.host, place.port))
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def greet(self, name: str) -> Reply:
        """Hear the greeting, and answer with this name; the first reply that is not good, or the last."""
        greeting = self.reply()
        if not greeting.good:
            return greeting
        answer = self.ask(b"LHLO " + name.encode())
        self.keywords = frozenset(line.partition(" ")[0].upper() for line in answer.lines[1:])
        return answer

    def ask(self, command: bytes) -> Reply:
        """Send a command, without its line end, and wait for the reply. Errors: Lost."""
        self.send(command + b"\r\n")
        return self.reply()

    def send(self, octets: bytes) -> None:
        """Send octets. Errors: Lost."""
        with self._waiting():
            self._socket.sendall(octets)

    def reply(self) -> Reply:
        """Wait for a reply. Errors: Lost, also for what is no reply."""
        texts = []
        size = 0
        while True:
            line = self._line()
            size += len(line)
            match = _LINE.fullmatch(line)
            if match is None or size > LONGEST_REPLY:
                raise Lost(f"what listens at {self._place} does not speak LMTP")
            code, more, status, text = match.groups()
            texts.append(_shown(text))
            if more != b"-":
                spelled = (status or b"%c.0.0" % code[0]).decode()
                return Reply(int(code), spelled, " ".join(filter(None, texts)), tuple(texts))

    def quit(self) -> None:
        """Take leave. Whatever the server makes of it, the message's fate is known."""
        self._left = QUIT_SECONDS
        try:
            self.ask(b"QUIT")
        except Lost:
            return

    def _line(self) -> bytes:
        while b"\n" not in self._received:
            if len(self._received) > LONGEST_REPLY:
                raise Lost(f"what listens at {self._place} does not speak LMTP")
            with self._waiting():
                data = self._socket.recv(4096)
            if not data:
                raise Lost(f"the server at {self._place} has closed the connection")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line.removesuffix(b"\r")

    @contextmanager
    def _waiting(self, failed: str = "the connection is lost to") -> Iterator[None]:
        """Let the socket's timeout be the time that is left, and count what the block takes. Errors: Lost."""
        began = time.monotonic()
        try:
            if self._left <= 0:
                raise TimeoutError
            self._socket.settimeout(self._left)
            yield
        except TimeoutError:
            raise Lost(f"the server at {self._place} did not answer within {self._seconds:g} s") from None
        except OSError as error:
            raise Lost(f"{failed} {self._place}: {error.strerror or error}") from None
        finally:
            self._left -= time.monotonic() - began


def _shown(text: bytes) -> str:
    """A server's words, fit for one line of a log."""
    return "".join(c if c.isprintable() else "?" for c in text.decode("utf-8", "replace"))
