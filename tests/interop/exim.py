"""An Exim of our own: its configuration, spool and log are in one folder.

Its SMTP is started as by inetd, by the test: for each connection an Exim on the test's end of a TCP connection. It delivers in
the foreground (-odf), so that what a client's connection began has ended with its process.
"""

from __future__ import annotations

import os
import shutil
import smtplib
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Final, Self

from tests.interop.unpacked import USERS, Log, environment, unpacked

SECONDS: Final = 60

MAIN: Final = """
spool_directory = {folder}/spool
log_file_path = {folder}/log/%s
exim_path = {program}
primary_hostname = mx.example.org
keep_environment = LD_LIBRARY_PATH : LD_PRELOAD : ^NSS_WRAPPER_
# The program has no right to become root: it works as Debian-exim throughout.
deliver_drop_privilege = true
tls_advertise_hosts =
smtputf8_advertise_hosts = *
smtp_accept_queue_per_connection = 0
acl_smtp_rcpt = rcpt
acl_smtp_data = accept
log_selector = +received_recipients +smtp_confirmation
{main}
begin acl
rcpt:
{rcpt}
  accept
begin routers
{routers}
begin transports
{transports}
begin retry
* * F,1h,1s
"""
"""The whole of a configuration: the parts in braces are the test's."""


class Exim:
    """One instance, and its end."""

    def __init__(self) -> None:
        self.program = unpacked("usr/sbin/exim4", "exim4-daemon-light")
        self.folder = Path(tempfile.mkdtemp(prefix="mailserver-exim-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.log = Log(self.folder / "log/main")
        self.environment = environment(self.folder)
        self.mark = 0
        """Where the log was when the configuration was changed."""
        self._config = self.folder / "exim4.conf"
        for name in ("spool", "log"):
            (self.folder / name).mkdir()
            os.chown(self.folder / name, USERS["Debian-exim"], USERS["Debian-exim"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)

    def configure(self, main: str, routers: str, transports: str, rcpt: str = "") -> None:
        """Write the configuration, with these conditions for a recipient; Exim reads it for each message."""
        text = MAIN.format(
            folder=self.folder, program=self.program, main=main, routers=routers, transports=transports, rcpt=rcpt
        )
        self.mark = len(self.log.text())
        self._config.write_text(text)

    def run(self, *arguments: str, stdin: bytes = b"", status: int = 0) -> str:
        """Run it to its end; what it wrote."""
        ended = subprocess.run(
            [self.program, "-C", self._config, *arguments],
            env=self.environment,
            cwd="/",
            input=stdin,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        assert ended.returncode == status, (arguments, ended.stdout, ended.stderr)
        return ended.stdout.decode()

    def queue(self) -> str:
        """Try again what was deferred."""
        return self.run("-qff")

    def connect(self) -> EximSMTP:
        """A client's connection."""
        return EximSMTP([self.program, "-C", self._config, "-bs", "-odf"], self.environment)


class EximSMTP(smtplib.SMTP):
    """SMTP with a process of its own; its end waits for the process."""

    def __init__(self, command, environment) -> None:
        self._command = command, environment
        super().__init__(timeout=SECONDS)
        self.connect("127.0.0.1")

    def _get_socket(self, host, port, timeout):
        with socket.create_server((host, 0)) as server:
            self.sock = socket.create_connection(server.getsockname(), timeout)
            theirs, _ = server.accept()
        command, environment = self._command
        with theirs:
            self._process = subprocess.Popen(
                command, env=environment, cwd="/", stdin=theirs, stdout=theirs, stderr=subprocess.PIPE
            )
        return self.sock

    def close(self):
        super().close()
        if hasattr(self, "_process"):
            with self._process:
                try:
                    _, errors = self._process.communicate(timeout=SECONDS)
                finally:
                    self._process.kill()  # where it has not ended
            assert errors == b"", errors
