"""An LMTP client that keeps every octet of the replies, and sends the message as it is: it trusts no library with them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.corpus import canonical

SECONDS = 60
"""How long a reply may take before a test has failed."""


class RawLMTP:
    """One connection, to a port of 127.0.0.1 or to a Unix socket; it was greeted when it is made."""

    def __init__(self, where: int | Path, *, seconds: float = SECONDS) -> None:
        if isinstance(where, int):
            self.socket = socket.create_connection(("127.0.0.1", where), seconds)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(seconds)
            self.socket.connect(str(where))
        self._data = bytearray()
        try:
            self.greeting = self.reply()
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

    def send(self, data: bytes) -> None:
        """Write."""
        self.socket.sendall(data)

    def reply(self) -> bytes:
        """The next reply with all its lines."""
        lines = [self.line()]
        while lines[-1][3:4] == b"-":
            lines.append(self.line())
        assert {line[:3] for line in lines} == {lines[0][:3]}, lines
        return b"".join(lines)

    def line(self) -> bytes:
        """The next line with its CRLF."""
        while (found := self._data.find(b"\r\n")) < 0:
            assert self._receive(), f"the server closed; unread is {bytes(self._data)!r}"
        line = bytes(self._data[: found + 2])
        del self._data[: found + 2]
        return line

    def command(self, line: bytes) -> bytes:
        """Send a command; its reply."""
        self.send(line + b"\r\n")
        return self.reply()

    def ok(self, line: bytes) -> bytes:
        """Send a command that must succeed, or be asked to go on; its reply."""
        reply = self.command(line)
        assert reply[:1] in b"23", (line, reply)
        return reply

    def begin(self, recipients: Sequence[str], sender: str = "sender@example.org") -> list[bytes]:
        """MAIL and RCPT, in one write; the replies to RCPT."""
        lines = [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{each}>" for each in recipients)]
        self.send("".join(f"{line}\r\n" for line in lines).encode())
        assert (reply := self.reply()).startswith(b"250"), reply
        return [self.reply() for _ in recipients]

    def deliver(self, message: bytes, *recipients: str, sender: str = "sender@example.org") -> list[bytes]:
        """One transaction; the answer for each recipient, which RCPT or the end of the message gave."""
        replies = self.begin(recipients, sender)
        if not (accepted := [at for at, reply in enumerate(replies) if reply.startswith(b"250")]):
            self.ok(b"RSET")
            return replies
        assert (reply := self.command(b"DATA")).startswith(b"354"), reply
        self.send(stuffed(message))
        for at in accepted:
            replies[at] = self.reply()
        return replies

    def hello(self) -> Self:
        """LHLO."""
        self.ok(b"LHLO client.example.org")
        return self

    def quit(self) -> bytes:
        """QUIT; its reply. The server must close after it."""
        reply = self.command(b"QUIT")
        assert not self._receive(), bytes(self._data)
        self.close()
        return reply

    def _receive(self) -> bool:
        data = self.socket.recv(1 << 16)
        self._data += data
        return bool(data)


def stuffed(message: bytes) -> bytes:
    """The message as DATA sends it, with its end: CRLF everywhere, each dot at a line's beginning doubled."""
    return (b"\r\n" + canonical(message)).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
