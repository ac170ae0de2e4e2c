"""A Postfix of our own: its configuration, queue and processes are in one folder, and its SMTP is a Unix socket.

with Postfix() as postfix:
    postfix.start(block("/etc/postfix/main.cf"))
    with postfix.connect() as client:
        client.sendmail(...)
    postfix.log.wait_for(r"status=sent")
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, Self

from tests.interop.unpacked import FOLDER, GROUPS, USERS, Log, environment, unpacked
from tests.waiting import eventually

SECONDS: Final = 30

OWNED: Final = (
    *("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace"),
)
"""Folders of the queue that only Postfix enters."""

CONFINED: Final = ("hosts", "nsswitch.conf", "resolv.conf", "services")
"""What its programs read in the queue, outside of which they cannot see (chroot); Debian's start script copies it as well."""

OURS: Final = f"""
compatibility_level = 3.6
command_directory = {FOLDER}/usr/sbin
daemon_directory = {FOLDER}/usr/lib/postfix/sbin
shlib_directory = {FOLDER}/usr/lib/postfix
meta_directory = {FOLDER}/etc/postfix
queue_directory = {{folder}}/queue
data_directory = {{folder}}/data
maillog_file = {{folder}}/log
maillog_file_prefixes = {{folder}}
import_environment = MAIL_CONFIG MAIL_LOGTAG LD_PRELOAD LD_LIBRARY_PATH NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP
myhostname = mx.example.org
mydestination =
alias_maps =
alias_database =
append_dot_mydomain = no
# Who writes over this socket is a stranger, whose mail stays as it is.
local_header_rewrite_clients =
smtpd_peername_lookup = no
smtpd_authorized_xclient_hosts = 127.0.0.1
# What is deferred is tried again as soon as a test asks for it.
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
address_verify_poll_delay = 1s
"""
"""What an instance in a folder needs; the settings of the test's own follow."""


class UnixSMTP(smtplib.SMTP):
    """SMTP over a Unix socket, so that no port is needed. Where it gets no reply, the error has the log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        super().__init__(timeout=SECONDS)

    def getreply(self):
        try:
            return super().getreply()
        except smtplib.SMTPServerDisconnected as error:
            raise AssertionError(f"{error}\n{self._log.text()}") from None

    def _get_socket(self, host, port, timeout):
        self.sock = socket.socket(socket.AF_UNIX)  # which `close` closes
        self.sock.settimeout(timeout)
        self.sock.connect(host)
        return self.sock


class Postfix:
    """One instance, and its end."""

    def __init__(self, users: Sequence[str] = ()) -> None:
        """`users`: those of the machine, beside Postfix's own."""
        self.master = unpacked("usr/lib/postfix/sbin/master", "postfix")
        self.folder = Path(tempfile.mkdtemp(prefix="mailserver-postfix-", dir="/tmp"))  # a socket's path must be short
        self.folder.chmod(0o755)
        self.log = Log(self.folder / "log")
        self.queue = self.folder / "queue"
        self._smtp = str(self.queue / "public/smtp")
        self.environment = {**environment(self.folder, users), "MAIL_CONFIG": str(self.folder / "etc")}
        self._configured = "", ""
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("etc", "queue", "data"):
            (self.folder / name).mkdir()
        os.chown(self.folder / "data", USERS["postfix"], -1)
        for name in OWNED:
            self._folder(name, 0o700)
        self._folder("pid", 0o755, owner=0)
        self._folder("public", 0o710, group=GROUPS["postdrop"])
        self._folder("maildrop", 0o730, group=GROUPS["postdrop"])
        (self.queue / "etc").mkdir()
        for name in CONFINED:
            if (path := Path("/etc") / name).exists():
                shutil.copy(path, self.queue / "etc")

    def _folder(self, name: str, mode: int, *, owner: int = USERS["postfix"], group: int = -1) -> None:
        path = self.queue / name
        path.mkdir()
        path.chmod(mode)
        os.chown(path, owner, group)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder)

    def configure(self, main: str, master: str = "") -> None:
        """Write main.cf and master.cf, which is Debian's with these lines, and no port."""
        self._configured = main, master
        services = (FOLDER / "usr/share/postfix/master.cf.dist").read_text()
        services = re.sub(r"(?m)^smtp +inet  n", "smtp unix n", services, count=1)
        services = re.sub(r"(?m)^(smtp +unix +- .*)$", r"relayed\1", services, count=1)
        ours = OURS.format(folder=self.folder)
        (self.folder / "etc/main.cf").write_text(f"{ours}\n{main}\n")
        (self.folder / "etc/master.cf").write_text(f"{services}\n{master}\n")

    def use(self, main: str, master: str = "") -> None:
        """Run with this configuration, if need be after a restart: after a mere reload some processes have the old one for a while."""
        if (main, master) != self._configured:
            self.stop()
            self.configure(main, master)
            self.start()

    def start(self) -> None:
        """Start, and wait until it takes mail."""
        with (self.folder / "master").open("ab") as output:
            self._process = subprocess.Popen(
                [self.master, "-c", self.folder / "etc", "-d"],
                env=self.environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # its end is that of all its processes
            )
        eventually(self._serves, lambda: (self.folder / "master").read_text() + self.log.text())

    def _serves(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "master").read_text() + self.log.text()
        with closing(UnixSMTP(self.log)) as client:
            try:
                client.connect(self._smtp)
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            return True

    def stop(self) -> None:
        """SIGTERM to the master, which ends its children; wait for all. None of them outlives a failure."""
        if (master := self._process) is None:
            return
        self._process = None
        master.terminate()
        try:
            master.wait(SECONDS)
            eventually(lambda: not _lives(master.pid), lambda: "processes of Postfix stay")
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(master.pid, signal.SIGKILL)
            raise

    def run(self, program: str, *arguments: str, stdin: bytes = b"") -> str:
        """Run one of its commands to its end; what it wrote."""
        ended = subprocess.run(
            [FOLDER / "usr/sbin" / program, *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        assert ended.returncode == 0, (program, ended.stderr.decode())
        return ended.stdout.decode()

    def connect(self) -> UnixSMTP:
        """A client's connection."""
        client = UnixSMTP(self.log)
        client.connect(self._smtp)
        return client


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
