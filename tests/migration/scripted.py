"""Servers that say what a test tells them to, a session each, in threads of their own."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self


class Talk:
    """The server's side of a session."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.unread = b""
        """What has come behind the line that was read last."""

    def send(self, *data: bytes) -> None:
        self.connection.sendall(b"".join(data))

    def line(self) -> bytes:
        """What the client says next, without CRLF; b"" at its end."""
        while b"\r\n" not in self.unread:
            data = self.connection.recv(65536)
            if not data:
                return b""
            self.unread += data
        line, _, self.unread = self.unread.partition(b"\r\n")
        return line

    def expect(self, *steps: bytes) -> None:
        """Commands and what they are answered, in turn."""
        for command, answer in zip(steps[::2], steps[1::2], strict=True):
            said = self.line()
            assert said == command, (said, command)
            self.send(answer)

    def hang(self) -> None:
        """Say nothing until the client has gone."""
        with suppress(OSError):
            while self.connection.recv(65536):
                pass

    def tls(self, context: ssl.SSLContext) -> None:
        """Begin TLS."""
        self.connection = context.wrap_socket(self.connection, server_side=True)


Session = Callable[[Talk], None]


class Scripted:
    """A server with one session for each connection, in their order; what goes wrong in one is the test's error."""

    def __init__(self, *sessions: Session, many: Session | None = None) -> None:
        self._sessions = list(sessions)
        self._many = many
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.connections = 0
        self._faults: list[BaseException] = []
        self._talks: list[Talk] = []
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept)
        self._last: object = None

    @property
    def where(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with socket.socket() as last:
            last.bind(("127.0.0.1", 0))
            self._last = last.getsockname()
            last.connect(("127.0.0.1", self.port))
            self._acceptor.join()
        self._socket.close()
        for talk in self._talks:
            with suppress(OSError):
                talk.connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(60)
        if kind is None and self._faults:
            raise self._faults[0]
        assert kind or not self._sessions, f"{len(self._sessions)} sessions did not come"

    def _accept(self) -> None:
        while True:
            connection, peer = self._socket.accept()
            if peer == self._last:
                connection.close()
                return
            session = self._sessions.pop(0) if self._sessions else self._many
            if session is None:
                connection.close()
                self._faults.append(AssertionError("a connection too many"))
                continue
            self.connections += 1
            self._talks.append(Talk(connection))
            thread = threading.Thread(target=self._serve, args=(self._talks[-1], session))
            self._threads.append(thread)
            thread.start()

    def _serve(self, talk: Talk, session: Session) -> None:
        try:
            session(talk)
        except ConnectionError:
            pass  # the client has gone
        except BaseException as fault:  # noqa: BLE001 - told by the test's thread
            self._faults.append(fault)
        finally:
            talk.connection.close()
