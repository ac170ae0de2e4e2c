"""A POP3 client that keeps every octet: it trusts no library with them, and takes nothing that RFC 1939 does not allow."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from typing import Self

from tests.waiting import eventually

SECONDS = 60
"""How long a reply may take before a test has failed."""


class RawPOP3:
    """One connection; it was greeted when it is made. `tls` (a client's context): POP3S."""

    def __init__(
        self, port: int, *, tls: ssl.SSLContext | None = None, source: str = "127.0.0.1", seconds: float = SECONDS
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), seconds, (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = bytearray()
        try:
            if tls is not None:
                self.start_tls(tls)
            self.greeting = self.line()
        except BaseException:  # of a server that is killed
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Go without QUIT."""
        self.socket.close()

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Shake hands."""
        assert not self._data, "octets before TLS"
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")

    def send(self, data: bytes) -> None:
        """Write."""
        self.socket.sendall(data)

    def line(self) -> bytes:
        """The next line with its CRLF."""
        return self._until(b"\r\n")

    def body(self) -> bytes:
        """The body of a multi-line response, its byte-stuffing removed, without the termination line."""
        stuffed = b"\r\n" + self._until(b"\r\n.\r\n", after=b"\r\n")[: -len(b".\r\n")]
        assert stuffed.count(b"\n") == stuffed.count(b"\r\n"), "a bare LF"
        assert stuffed.count(b"\r\n.") == stuffed.count(b"\r\n.."), "a line begins with a dot that is not stuffed"
        return stuffed.replace(b"\r\n.", b"\r\n")[2:]

    def rest(self) -> bytes:
        """All that comes until the server closes."""
        while self._receive():
            pass
        return self._take(len(self._data))

    def command(self, line: bytes) -> bytes:
        """Send a command; its status line."""
        self.send(line + b"\r\n")
        return self.line()

    def ok(self, line: bytes) -> bytes:
        """Send a command that must succeed; its status line."""
        reply = self.command(line)
        assert reply.startswith(b"+OK"), (line, reply)
        return reply

    def fetch(self, line: bytes) -> bytes:
        """Send a command that must succeed; the body of its response."""
        self.ok(line)
        return self.body()

    def pipeline(self, lines: Sequence[bytes]) -> list[bytes]:
        """Send commands all at once; the bodies of their responses. The server may close nothing and refuse nothing."""
        self.send(b"".join(line + b"\r\n" for line in lines))
        bodies = []
        for line in lines:
            reply = self.line()
            assert reply.startswith(b"+OK"), (line, reply)
            bodies.append(self.body())
        return bodies

    def login(self, name: str, password: str) -> Self:
        """USER and PASS."""
        self.ok(b"USER " + name.encode())
        self.ok(b"PASS " + password.encode())
        return self

    def listing(self, verb: bytes) -> list[tuple[int, bytes]]:
        """What LIST or UIDL say of all messages."""
        rows = [row.split(b" ") for row in self.fetch(verb).split(b"\r\n")[:-1]]
        return [(int(number), value) for number, value in rows]

    def quit(self) -> bytes:
        """QUIT; its status line. The server must close after it."""
        reply = self.command(b"QUIT")
        assert self.rest() == b""
        self.close()
        return reply

    def _until(self, end: bytes, after: bytes = b"") -> bytes:
        """Take up to `end`, which may begin with `after`: what stands before the unread octets."""
        self._data[:0] = after
        mark = 0
        while (found := self._data.find(end, mark)) < 0:
            mark = max(0, len(self._data) - len(end))
            assert self._receive(), f"the server closed; unread is {bytes(self._data[-200:])!r}"
        return self._take(found + len(end))[len(after) :]

    def _take(self, count: int) -> bytes:
        taken = bytes(self._data[:count])
        del self._data[:count]
        return taken

    def _receive(self) -> bool:
        data = self.socket.recv(1 << 18)
        self._data += data
        return bool(data)


def patient(port: int, name: str, password: str, *, tls: ssl.SSLContext | None = None) -> RawPOP3:
    """A session as soon as the one before is given back: the server hears a little later of who left without QUIT."""
    clients: list[RawPOP3] = []

    def logged_in() -> bool:
        client = RawPOP3(port, tls=tls)
        client.ok(b"USER " + name.encode())
        reply = client.command(b"PASS " + password.encode())
        if reply.startswith(b"-ERR [IN-USE]"):
            client.close()
            return False
        assert reply.startswith(b"+OK"), reply
        clients.append(client)
        return True

    eventually(logged_in, lambda: "the maildrop is still in use")
    return clients[0]
