"""A real Cyrus with POP3, IMAP and LMTP in a folder of its own."""

from __future__ import annotations

import imaplib
import os
import shutil
import signal
import smtplib
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.databases import free_port
from tests.interop.unpacked import FOLDER, Log, environment, unpacked
from tests.waiting import eventually

IMAPD: Final = """
configdirectory: {folder}/lib
defaultpartition: default
partition-default: {folder}/spool
proc_path: {folder}/run/proc
mboxname_lockpath: {folder}/run/lock
lmtpsocket: {folder}/run/lmtp
idlesocket: {folder}/run/idle
notifysocket: {folder}/run/notify
admins: {admin}
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {folder}/sasldb2
sasl_mech_list: PLAIN LOGIN
servername: {host}
popminpoll: 0
uidl_format: {uidl_format}
maxlogins_per_user: 0
maxmessagesize: 0
"""

CYRUS: Final = """
START {{
}}
SERVICES {{
  imap cmd="{bin}/imapd -C {folder}/imapd.conf" listen="127.0.0.1:{imap_port}" prefork=0
  pop3 cmd="{bin}/pop3d -C {folder}/imapd.conf" listen="127.0.0.1:{port}" prefork=0
  lmtp cmd="{bin}/lmtpd -a -C {folder}/imapd.conf" listen="{folder}/run/lmtp" prefork=0
}}
EVENTS {{
}}
"""

HOST: Final = "old.example.org"
ADMIN: Final = "cyrus"
ADMIN_PASSWORD: Final = "sesame of the admin"
OWNER: Final = 65530
"""Of nobody else."""

FORMATS: Final = ("cyrus", "uidonly", "dovecot", "courier")


@dataclass(frozen=True)
class CyrusUser:
    """Somebody with mail there."""

    name: str
    password: str


class Cyrus:
    """One instance, and its end. Users are given at once, since their passwords are in a database."""

    def __init__(self, names: Sequence[str], uidl_format: str = "cyrus") -> None:
        self.program = unpacked("usr/lib/cyrus/bin/master", "cyrus-common")
        unpacked("usr/lib/cyrus/bin/pop3d", "cyrus-pop3d")
        unpacked("usr/lib/cyrus/bin/imapd", "cyrus-imapd")
        self.folder = Path(tempfile.mkdtemp(prefix="mailserver-cyrus-", dir="/tmp"))  # a socket's path must be short
        self.folder.chmod(0o755)
        self.log = Log(self.folder / "log")
        self.owner = OWNER if os.geteuid() == 0 else os.geteuid()
        self.users = [CyrusUser(name, f"sesame of {name}") for name in names]
        self.uidl_format = uidl_format
        self.port = self.imap_port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.environment = {**os.environ, **environment(self.folder)}
        with (self.folder / "passwd").open("a") as file:
            file.write(f"{ADMIN}:x:{self.owner}:{self.owner}::/:/bin/false\n")
        with (self.folder / "group").open("a") as file:
            file.write(f"mail:x:8:\n{ADMIN}:x:{self.owner}:\n")
        self.environment["LD_LIBRARY_PATH"] = str(next((FOLDER / "usr/lib").glob("*/libcyrus.so.0")).parent)
        self._passwords()
        for name in ("lib", "spool", "run"):
            (self.folder / name).mkdir()
            os.chown(self.folder / name, self.owner, -1)

    def _passwords(self) -> None:
        """Fill sasldb2."""
        rows = [(ADMIN, ADMIN_PASSWORD), *((user.name, user.password) for user in self.users)]
        lines = ["VERSION=3", "format=bytevalue", "type=hash", "HEADER=END"]
        for name, password in rows:
            lines += [" " + f"{name}\0{HOST}\0userPassword".encode().hex(), " " + password.encode().hex()]
        dump = "\n".join([*lines, "DATA=END", ""]).encode()
        subprocess.run(["db_load", self.folder / "sasldb2"], input=dump, check=True)
        (self.folder / "sasldb2").chmod(0o600)
        os.chown(self.folder / "sasldb2", self.owner, -1)

    def __enter__(self) -> Self:
        try:
            self.start()
            with self.imap(ADMIN, ADMIN_PASSWORD) as admin:
                for user in self.users:
                    assert admin.create(f"user/{user.name}")[0] == "OK"
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder)

    def start(self) -> None:
        """Start, and wait until it serves."""
        self.port, self.imap_port = self.port or free_port(), self.imap_port or free_port()
        values = {"folder": self.folder, "bin": FOLDER / "usr/lib/cyrus/bin", "host": HOST, "admin": ADMIN}
        ports = {"port": self.port, "imap_port": self.imap_port}
        (self.folder / "imapd.conf").write_text(IMAPD.format(uidl_format=self.uidl_format, **values))
        (self.folder / "cyrus.conf").write_text(CYRUS.format(**ports, **values))
        files = ("-C", self.folder / "imapd.conf", "-M", self.folder / "cyrus.conf", "-p", self.folder / "run/pid")
        with self.log.path.open("ab") as output:
            self._process = subprocess.Popen(
                [self.program, *files, "-D"],
                env=self.environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # its end is that of all its processes
            )
        eventually(self._serves, self.log.text)

    def _serves(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.text()
        try:
            self.imap(ADMIN, ADMIN_PASSWORD).logout()
        except ConnectionRefusedError:
            return False
        return True

    def stop(self) -> None:
        """End all its processes."""
        if (process := self._process) is None:
            return
        self._process = None
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def imap(self, name: str, password: str) -> imaplib.IMAP4:
        """A session."""
        client = imaplib.IMAP4("127.0.0.1", self.imap_port, 60)
        client.login(name, password)
        return client

    def deliver(self, user: CyrusUser, message: bytes) -> None:
        """By LMTP."""
        with closing(smtplib.LMTP(str(self.folder / "run/lmtp"))) as client:
            client.sendmail("alice@example.org", [user.name], message)
