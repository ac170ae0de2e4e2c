"""A blocking connection to a mail server that nobody vouches for: it waits for it so long, and takes so much from it, and no more."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Final

from mailserver.migration.server import Address, Trust
from mailserver.migration.source import SourceError

CHUNK: Final = 64 * 1024
"""Octets of one read."""
LINE: Final = 8 * 1024
"""Octets of a line that is a reply or a part of a list: RFC 2449 has 512, IMAP servers write their capabilities in one line."""

_DOT: Final = b"\r\n.\r\n"

LISTED: Final = 5_000_000
"""Messages of one user that are believed; so many lines take some hundred MB."""

MOST: Final = 8 << 30
"""Octets of one answer: more than the largest message has. A server whose answer has no end is not listened to for ever."""


class TryAgain(SourceError):
    """It may go well another time: the line broke, the server was silent, or the maildrop is in use."""


class Unreachable(TryAgain):
    """There is no server, or none that can begin TLS: who has not had a session yet may have named the wrong one."""


class Refused(SourceError):
    """The server says no."""

    def __init__(self, text: str, said: bytes) -> None:
        super().__init__(text)
        self.said = said
        """Its words, which may repeat a secret."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a server. What whoever reads does between two reads does not count."""

    connect: float = 60
    """Seconds for the connection, and for the greeting."""
    silence: float = 300
    """Seconds between octets: servers open a large mailbox before they answer to the password."""
    command: float = 1800
    """Seconds for a whole answer, on top of `rate`."""
    rate: int = 4096
    """Octets in a second, at least: so much longer a long answer may take."""


PATIENCE: Final = Patience()


class Wire:
    """A connection. Errors of all that waits: `TryAgain`, and SourceError for what no server may send."""

    def __init__(self, address: Address, patience: Patience = PATIENCE, clock: Callable[[], float] = monotonic) -> None:
        self.address = address
        self._patience = patience
        self._clock = clock
        self._held = b""
        self._at = 0
        self._spent = 0.0
        self._received = 0
        self._silence = patience.connect
        self._socket = self._connected()

    def _connected(self) -> socket.socket:
        try:
            return socket.create_connection((self.address.host, self.address.port), self._patience.connect)
        except TimeoutError:
            raise Unreachable(f"{self.address} did not answer within {self._patience.connect:g} seconds") from None
        except (OSError, UnicodeError) as error:  # UnicodeError: a host that can be no name
            why = getattr(error, "strerror", None) or error
            raise Unreachable(f"{self.address} cannot be reached: {why}") from None

    def start_tls(self, trust: Trust) -> None:
        """Begin TLS. What came before it is not believed: a server that has said more already is refused."""
        if self._at < len(self._held):
            raise SourceError(f"{self.address} sent something between its consent to TLS and TLS itself")
        try:
            context = trust.context()
        except OSError as error:
            raise SourceError(f"the authorities in {trust.authorities} cannot be read: {error}") from None
        try:
            self._socket.settimeout(self._patience.connect)
            self._socket = context.wrap_socket(self._socket, server_hostname=self.address.host)
        except ssl.SSLCertVerificationError as error:
            raise SourceError(
                f"the certificate of {self.address} is not valid: {error.verify_message};"
                " name its authority by ca=FILE, or go without proof of who it is by tls=unverified"
            ) from None
        except (OSError, ValueError) as error:  # ValueError: a host that can be no name in a certificate
            raise Unreachable(f"{self.address} and TLS: {error or 'no answer'}") from None

    @property
    def security(self) -> tuple[str, bytes] | None:
        """The version of TLS, and the server's certificate in DER, which may not have been verified; None: there is no TLS."""
        if not isinstance(self._socket, ssl.SSLSocket):
            return None
        return self._socket.version() or "", self._socket.getpeercert(binary_form=True) or b""

    def send(self, data: bytes) -> None:
        """Send, and begin to count the time and the octets of the answer."""
        self._spent = self._received = 0
        try:
            self._socket.settimeout(self._patience.silence)
            self._socket.sendall(data)
        except OSError as error:
            raise TryAgain(f"the connection to {self.address} broke: {error}") from None

    def greeted(self) -> None:
        """From now on the server may take longer, since it has shown that it is there."""
        self._silence = self._patience.silence

    def line(self, limit: int = LINE) -> bytes:
        """The next line, without its end."""
        while (end := self._held.find(b"\n", self._at)) < 0:
            if len(self._held) - self._at > limit:
                break
            self._held = self._held[self._at :] + self._receive()
            self._at = 0
        if end < 0 or end - self._at > limit:
            raise SourceError(f"{self.address} sent a line of more than {limit} octets, where it may not")
        line = self._held[self._at : end].removesuffix(b"\r")
        self._at = end + 1
        return line

    def octets(self, count: int) -> Iterator[bytes]:
        """The next `count` octets, in pieces."""
        while count:
            piece = self._next()
            if len(piece) > count:
                self._give_back(piece[count:])
                piece = piece[:count]
            count -= len(piece)
            yield piece

    def dotted(self) -> Iterator[bytes]:
        r"""The octets of a multi-line response, unstuffed, in pieces; a line is what ends with ``\r\n`` (RFC 1939 section 3)."""
        held, first = b"\r\n", 2  # before the first line there is the end of a line, too, that does not count
        while True:
            data = held + self._next()
            end = data.find(_DOT)
            cut = end + 2 if end >= 0 else len(data) - _begun(data)
            piece = data[:cut].replace(b"\r\n.", b"\r\n")
            if piece[first:]:
                yield piece[first:]
            first = 0 if piece else first
            if end >= 0:
                self._give_back(data[end + len(_DOT) :])
                return
            held = data[cut:]

    def close(self) -> None:
        """Idempotent; whoever waits in another thread gets an error."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _next(self) -> bytes:
        """What was read already, or else what comes."""
        piece, self._held, self._at = self._held[self._at :], b"", 0
        return piece or self._receive()

    def _give_back(self, data: bytes) -> None:
        self._held, self._at = data, 0

    def _receive(self) -> bytes:
        if self._received > MOST:
            raise SourceError(f"{self.address} sent more than {MOST} octets as one answer")
        began = self._clock()
        left = self._patience.command + self._received / self._patience.rate - self._spent
        if left <= 0:
            raise TryAgain(f"{self.address} took more than {self._spent:.0f} seconds for one answer")
        try:
            self._socket.settimeout(min(left, self._silence))
            data = self._socket.recv(CHUNK)
        except TimeoutError:
            raise TryAgain(f"{self.address} was silent for {min(left, self._silence):g} seconds") from None
        except OSError as error:
            raise TryAgain(f"the connection to {self.address} broke: {error}") from None
        if not data:
            raise TryAgain(f"{self.address} closed the connection")
        self._spent += self._clock() - began
        self._received += len(data)
        return data


def _begun(data: bytes) -> int:
    """How many octets at the end may be the beginning of the end, or of a stuffed line."""
    return next((count for count in range(len(_DOT) - 1, 0, -1) if data.endswith(_DOT[:count])), 0)
