"""The one address that clients know, whichever server is behind it, since some of them remember their server by host and port."""

from __future__ import annotations

import selectors
import socket
import socketserver
from contextlib import suppress
from typing import Final

from tests.threaded import Threaded

CHUNK: Final = 1 << 18


class Front(Threaded, socketserver.ThreadingTCPServer):
    """Leads each connection to the port `behind` of the moment."""

    daemon_threads = False
    block_on_close = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Call)
        self.behind = 0

    @property
    def pop3_port(self) -> int:
        """As of a server."""
        port: int = self.server_address[1]
        return port


class _Call(socketserver.BaseRequestHandler):
    server: Front

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.behind)) as server, selectors.DefaultSelector() as both:
            both.register(self.request, selectors.EVENT_READ, server)
            both.register(server, selectors.EVENT_READ, self.request)
            with suppress(ConnectionError):
                while all(self._passed(key.fileobj, key.data) for key, _ in both.select()):
                    pass

    def _passed(self, from_: socket.socket, to: socket.socket) -> bool:
        """Whether there is more to come from there."""
        data = from_.recv(CHUNK)
        to.sendall(data)
        return bool(data)
