"""Courier's own POP3 server; only its login is ours, since that of Debian's looks for its passwords in folders of the machine."""

from __future__ import annotations

import os
import socketserver
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.interop.unpacked import FOLDER, unpacked
from tests.old.maildrops import MESSAGES
from tests.servers import Account
from tests.threaded import Threaded

SECONDS: Final = 60 + MESSAGES / 5
"""Of a session, in which a client may start a program for each message."""


class Courier(Threaded, socketserver.ThreadingTCPServer):
    """Serves the Maildirs of its users, who are added by `user`."""

    daemon_threads = False
    block_on_close = True

    def __init__(self) -> None:
        self.program = unpacked("usr/lib/courier/courier/courierpop3d", "courier-pop")
        super().__init__(("127.0.0.1", 0), _Login)
        self._temporary = TemporaryDirectory(prefix="mailserver-courier-")
        self.folder = Path(self._temporary.name)
        self.users: dict[bytes, Account] = {}

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._temporary.cleanup()

    @property
    def port(self) -> int:
        """Of POP3."""
        port: int = self.server_address[1]
        return port

    def user(self, name: str) -> Account:
        """Add one."""
        account = self.users[name.encode()] = Account(name, f"sesame of {name}", self.folder / name)
        return account

    def deliver(self, user: Account, message: bytes) -> None:
        """As a delivery agent does."""
        user.deliver(message)

    def serve(self, user: Account, connection: int) -> None:
        """Give this connection to Courier, to the end of the session."""
        environment = {
            "LD_LIBRARY_PATH": str(FOLDER / "usr/lib"),
            "AUTHENTICATED": user.name,
            "AUTHADDR": user.name,
            "MAILDIR": "./Maildir",
            "TCPREMOTEIP": "127.0.0.1",
        }
        subprocess.run(
            [self.program, "./Maildir"],
            stdin=connection,
            stdout=connection,
            stderr=subprocess.DEVNULL,
            cwd=user.maildir.parent,
            env={**os.environ, **environment},
            timeout=SECONDS,
            check=False,
        )


class _Login(socketserver.StreamRequestHandler):
    """What courierpop3login says; nothing is read ahead of the password, since what follows is for the next program."""

    server: Courier
    rbufsize = 0

    def handle(self) -> None:
        self.wfile.write(b"+OK Hello there.\r\n")
        name = b""
        while line := self.rfile.readline().rstrip(b"\r\n"):
            verb, _, rest = line.partition(b" ")
            if verb.upper() == b"USER":
                name = rest
                self.wfile.write(b"+OK Password required.\r\n")
            elif verb.upper() == b"PASS":
                user = self.server.users.get(name)
                if user is not None and user.password.encode() == rest:
                    self.server.serve(user, self.connection.fileno())
                    return
                self.wfile.write(b"-ERR Login failed.\r\n")
            elif verb.upper() == b"CAPA":
                self.wfile.write(b"+OK Here's what I can do:\r\nTOP\r\nUSER\r\nPIPELINING\r\nUIDL\r\n.\r\n")
            elif verb.upper() == b"QUIT":
                self.wfile.write(b"+OK Better luck next time.\r\n")
                return
            else:
                self.wfile.write(b"-ERR Invalid command.\r\n")
