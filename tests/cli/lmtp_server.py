"""A small LMTP server for tests of clients, whose answers a test gives, and which remembers what it heard."""

from __future__ import annotations

import socketserver
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Self

GOOD = b"250 2.0.0 done"


class LMTPServer:
    """`answers` are for commands by their beginning, such as ``{"RCPT TO:<bob>": b"550 5.1.1 no such user"}``.

    `finals` are for the recipients after the data, the same way. None as an answer closes the connection. The data's octets are
    counted, and kept as they came, so far as they fit into `keep`.
    """

    def __init__(
        self,
        answers: Mapping[str, bytes | None] | None = None,
        finals: Mapping[str, bytes | None] | None = None,
        keywords: tuple[bytes, ...] = (b"8BITMIME", b"SMTPUTF8", b"DSN", b"ENHANCEDSTATUSCODES"),
        keep: int = 1 << 20,
        close_after: int | None = None,
    ) -> None:
        self.answers = answers or {}
        self.finals = finals or {}
        self.keywords = keywords
        self.keep = keep
        self.close_after = close_after
        """Octets of data after which the connection is closed."""
        self.heard: list[str] = []
        """The commands."""
        self.data = b""
        """The text of the last message, stuffed, with the last line if that came."""
        self.octets = 0
        self.silent = threading.Event()
        """Set at the end: whoever hangs may go on."""

    def __enter__(self) -> Self:
        self.folder = tempfile.TemporaryDirectory()
        self.path = str(Path(self.folder.name, "lmtp"))
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                outer.serve(self.rfile, self.wfile)

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = False

        self.server = Server(self.path, Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.silent.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        self.folder.cleanup()

    def answer(self, table: Mapping[str, bytes | None], command: str, default: bytes) -> bytes | None:
        found = next((answer for start, answer in table.items() if command.startswith(start)), default)
        if found == b"":
            self.silent.wait(60)  # no answer at all
            return None
        return found

    def serve(self, rfile, wfile) -> None:
        recipients: list[str] = []
        command = "greeting"
        answer = self.answer(self.answers, command, b"220 ready")
        try:
            while answer is not None:
                wfile.write(answer + b"\r\n")
                if command == "DATA" and answer.startswith(b"354"):
                    if not self.take(rfile):
                        return
                    for recipient in recipients:
                        final = self.answer(self.finals, recipient, GOOD)
                        if final is None:
                            return
                        wfile.write(final + b"\r\n")
                if command == "QUIT" or not (line := rfile.readline()):
                    return
                command = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
                self.heard.append(command)
                answer = self.answer(self.answers, command, self.usual(command))
                if command.startswith("RCPT") and answer and answer.startswith(b"25"):
                    recipients.append(command.partition(":")[2].partition(" ")[0])
        except ConnectionError:
            return

    def usual(self, command: str) -> bytes:
        if command.startswith("LHLO"):
            words = [b"me", *self.keywords]
            return b"\r\n".join(b"250%c%b" % (b" -"[word is not words[-1]], word) for word in words)
        return b"354 go on" if command == "DATA" else GOOD

    def take(self, rfile) -> bool:
        """Read the text; whether it came to its end."""
        self.data, self.octets = b"", 0
        while line := rfile.readline():
            self.octets += len(line)
            if len(self.data) < self.keep:
                self.data += line
            if line == b".\r\n":
                return True
            if self.close_after is not None and self.octets >= self.close_after:
                return False
        return False
