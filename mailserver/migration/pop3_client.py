"""A small POP3 client for one session that reads (RFC 1939, 2449, 2595, 5034): it deletes nothing, and it trusts no server."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from typing import Final

from mailserver.migration.likeness import ENOUGH
from mailserver.migration.session import Session
from mailserver.migration.source import SourceError, Unreadable
from mailserver.migration.wire import LISTED, Refused, TryAgain, Wire
from mailserver.migration.words import shown

WHOLE: Final = 99_999_999
"""As many lines as TOP can be asked for, as fetchmail asks: more than messages have."""

_WINDOW: Final = 50
"""Commands on their way at once: so few octets that no server stops to read while its answers wait."""
_FIGURES: Final = 2
"""Numbers in the answer to STAT."""
_DIGITS: Final = 18
"""Of a number that fits into 64 bits."""
_LINES: Final = 100
"""Lines that a server has for capabilities, and more."""
_A_LINE: Final = 100
"""Octets of a line of a list, if it has as many lines as are believed; single ones may be longer."""


class Client(Session):
    """A session. Its `capabilities` are CAPA's lines; none from a server that has no CAPA."""

    start_tls = "STLS"

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire)
        self.closed = False
        """Whether the session is over, on our side."""
        self._has_top: bool | None = None

    def login(self, name: str, secret: str, master: str = "", *, token: bool = False, by: str = "") -> None:
        """Log in, and ask anew what it can."""
        super().login(name, secret, master, token=token, by=by)
        self._capability()

    def stat(self) -> tuple[int, int]:
        """The number of messages, and their octets."""
        self._wire.send(b"STAT\r\n")
        said = self._wire.line()
        self._judge(said, "STAT")
        numbers = said.split(b" ")[1:3]
        if len(numbers) != _FIGURES or not all(each.isdigit() and len(each) <= _DIGITS for each in numbers):
            raise self._nonsense(b"STAT", said)
        return int(numbers[0]), int(numbers[1])

    def uidl(self) -> list[tuple[int, bytes]]:
        """Message-numbers and unique-ids, as the server says them. Errors: `Refused` by one that has no unique-ids."""
        return list(self._listed(b"UIDL"))

    def listing(self) -> list[tuple[int, int]]:
        """Message-numbers and octets."""
        found = []
        for number, rest in self._listed(b"LIST"):
            octets = rest.split(b" ")[0]
            if not octets.isdigit() or len(octets) > _DIGITS:
                raise self._nonsense(b"LIST", rest)
            found.append((number, int(octets)))
        return found

    def has_top(self, number: int) -> bool:
        """Whether it has TOP; a server without CAPA, as old ones are, is asked for the header of this message."""
        if self._has_top is None:
            self._has_top = b"TOP" in self.capabilities or (
                not self.capabilities and next(self.tops([number])) is not None
            )
        return self._has_top

    def retr(self, number: int) -> Generator[bytes]:
        """The message's octets, unstuffed, in pieces. Errors: Unreadable, when the server refuses; it ends the session if it is not read to its end."""
        return self._message(f"RETR {number}")

    def top(self, number: int, lines: int) -> Generator[bytes]:
        """Its header and so many lines, as `retr`; servers mark no message as read for that."""
        return self._message(f"TOP {number} {lines}")

    def tops(self, numbers: Sequence[int]) -> Iterator[bytes | None]:
        """The headers of these messages, as far as `likeness.likeness` reads them; None: the server refuses."""
        window = _WINDOW if b"PIPELINING" in self.capabilities else 1
        for begin in range(0, len(numbers), window):
            asked = numbers[begin : begin + window]
            self._wire.send(b"".join(b"TOP %d 0\r\n" % number for number in asked))
            for _ in asked:
                try:
                    self._reply("TOP")
                except Refused:
                    yield None
                else:
                    yield _beginning(self._wire.dotted())

    def settle(self) -> None:
        """See that the last answer has ended where it seemed to: what is left of it would be the answer to this command."""
        with suppress(Refused):
            self._ask(b"NOOP", "NOOP")

    def quit(self) -> None:
        """End the session, and have the server believe that all is well. It also closes."""
        try:
            self._ask(b"QUIT", "QUIT")
        finally:
            self.close()

    def close(self) -> None:
        """As of any session; `closed` tells of it."""
        self.closed = True
        super().close()

    def _greeting(self) -> None:
        try:
            self._reply("the connection")
        except Refused as error:
            raise TryAgain(str(error)) from None

    def _has_plain(self) -> bool:
        return any(line.startswith(b"SASL ") and b"PLAIN" in line.split(b" ") for line in self.capabilities)

    def _prefers_its_own(self) -> bool:
        return b"USER" in self.capabilities

    def _log_in(self, name: str, secret: str) -> None:
        self._ask(f"USER {name}", "USER")
        self._ask(f"PASS {secret}", "PASS")

    def _authenticate(self, mechanism: bytes, response: bytes) -> None:
        """The response goes on a line of its own, which all servers know, and where it may be long (RFC 2449 section 4)."""
        self._wire.send(b"AUTH " + mechanism + b"\r\n")
        said = self._wire.line()
        if said.startswith(b"+ ") or said == b"+":
            self._wire.send(b64encode(response) + b"\r\n")
            said = self._wire.line()
        if said.startswith(b"+ "):  # an error of XOAUTH2, which wants an empty answer before its -ERR
            self._wire.send(b"\r\n")
            said = self._wire.line()
        self._judge(said, "AUTH")

    def _message(self, command: str) -> Generator[bytes]:
        try:
            self._ask(command, command)
        except Refused as error:
            raise Unreadable(str(error)) from None
        try:
            yield from self._wire.dotted()
        except GeneratorExit:  # the rest of it would be taken for the answer to the next command
            self.close()
            raise

    def _capability(self) -> None:
        """Ask what it can; after the login and after TLS that is more than before, or less."""
        try:
            self._ask(b"CAPA", "CAPA")
        except Refused:
            self.capabilities = frozenset()
        else:
            self.capabilities = frozenset(line.upper() for line in self._lines(_LINES))

    def _listed(self, command: bytes) -> Iterator[tuple[int, bytes]]:
        self._ask(command, command.decode())
        last = 0
        for line in self._lines(LISTED):
            number, _, rest = line.partition(b" ")
            if not number.isdigit() or len(number) > _DIGITS or int(number) <= last:
                raise self._nonsense(command, line)
            last = int(number)
            yield last, rest.strip(b" ")

    def _lines(self, limit: int) -> Iterator[bytes]:
        left = limit * _A_LINE
        for _ in range(limit + 1):
            line = self._wire.line()
            if line == b".":
                return
            left -= len(line)
            if left < 0:
                break
            yield line.removeprefix(b".")
        raise SourceError(f"{self._wire.address} lists more than {limit} lines, or {limit * _A_LINE} octets")

    def _ask(self, command: bytes | str, what: str) -> None:
        self._wire.send((command if isinstance(command, bytes) else command.encode()) + b"\r\n")
        self._reply(what)

    def _reply(self, what: str) -> None:
        self._judge(self._wire.line(), what)

    def _judge(self, said: bytes, what: str) -> None:
        if said.startswith(b"-ERR"):
            words = said.removeprefix(b"-ERR").strip()
            raise Refused(f"{self._wire.address} refuses {what}: {shown(words)}", words)
        if not said.startswith(b"+OK"):
            raise SourceError(f"{self._wire.address} does not speak POP3: its answer to {what} is neither +OK nor -ERR")

    def _nonsense(self, command: bytes, line: bytes) -> SourceError:
        return SourceError(f"{self._wire.address} answers {command.decode()} with what is none: {shown(line)}")


def _beginning(pieces: Iterator[bytes]) -> bytes:
    """The first octets; the others are read, and dropped."""
    kept = b""
    for piece in pieces:
        if len(kept) < ENOUGH:
            kept += piece
    return kept[:ENOUGH]
