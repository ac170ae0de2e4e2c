"""``mailserver deliver`` for programs that run as somebody who may not read the folder of the tests' Python, such as Postfix's pipe.

The program that they start hands its arguments and its input over a Unix socket to the tests, which run the command, and ends with
its output and its exit status.
"""

from __future__ import annotations

import os
import socketserver
import struct
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.servers import ROOT
from tests.threaded import Threaded

SECONDS: Final = 60

PROGRAM: Final = """#!/usr/bin/perl
use strict;
use Socket;
socket(my $relay, AF_UNIX, SOCK_STREAM, 0) or exit 75;
connect($relay, pack_sockaddr_un("%s")) or exit 75;
binmode STDIN;
local $/;
my $message = <STDIN>;
my $sent = pack("N", scalar @ARGV) . join("", map { pack("N/a*", $_) } @ARGV) . $message;
while (length $sent) {
    my $count = syswrite($relay, $sent) or exit 75;
    substr($sent, 0, $count, "");
}
shutdown($relay, 1);
my $answer = <$relay>;
print STDERR substr($answer, 1);
exit(length $answer ? ord($answer) : 75);
"""


class Relay(Threaded, socketserver.ThreadingUnixStreamServer):
    """`folder` gets a program ``mailserver``, which finds the server at `socket` by a configuration."""

    def __init__(self, folder: Path, socket: Path) -> None:
        super().__init__(str(folder / "relay"), _Call)
        (folder / "relay").chmod(0o666)
        self.config = folder / "mailserver.toml"
        self.lead_to(socket)
        self.calls: list[list[str]] = []
        """The arguments of each."""
        program = folder / "mailserver"
        program.write_text(PROGRAM % (folder / "relay"))
        program.chmod(0o755)

    def lead_to(self, socket: Path) -> None:
        """Let the configuration name this socket."""
        self.config.write_text(f'[listen]\nlmtp = ["unix:{socket}"]\n')


class _Call(socketserver.StreamRequestHandler):
    def handle(self):
        data = self.rfile.read()
        (count,) = struct.unpack_from("!I", data)
        at, arguments = 4, []
        for _ in range(count):
            (size,) = struct.unpack_from("!I", data, at)
            arguments.append(os.fsdecode(data[at + 4 : at + 4 + size]))
            at += 4 + size
        self.server.calls.append(arguments)
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "mailserver", *arguments],
            input=data[at:],
            capture_output=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, "PYTHONPATH": ROOT, "MAILSERVER_CONFIG": str(self.server.config)},
        )
        self.wfile.write(bytes([ended.returncode]) + ended.stdout + ended.stderr)
