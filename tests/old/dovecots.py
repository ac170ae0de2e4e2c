"""A real Dovecot with POP3 and IMAP, as an unprivileged user, in a folder of its own."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests import dovecots
from tests.databases import absent, free_port

CONFIGURATION: Final = """
protocols = pop3 imap
listen = 127.0.0.1
first_valid_uid = 1
disable_plaintext_auth = no
mail_fsync = never
mail_location = maildir:~/Maildir
mail_max_userip_connections = 1000

auth_mechanisms = plain login
auth_master_user_separator = *
passdb {{
  driver = passwd-file
  args = {folder}/masters
  master = yes
}}
passdb {{
  driver = passwd-file
  args = username_format=%u {folder}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {folder}/users
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""

MASTER: Final = "master"
MASTER_PASSWORD: Final = "sesame of the master"


@dataclass(frozen=True)
class DovecotUser:
    """Somebody with mail there."""

    name: str
    password: str
    home: Path

    @property
    def maildir(self) -> Path:
        """Where the mail is, if it is in Maildir format."""
        return self.home / "Maildir"


class Dovecot(dovecots.Dovecot):
    """A Dovecot whose users may each have their own format of unique-ids, and of mail.

    They are added before the start, because it looks at its file of users once in a second.
    """

    def __init__(self) -> None:
        if not Path("/usr/lib/dovecot/pop3").exists():
            absent("Dovecot's POP3 server is missing: apt-get install dovecot-pop3d dovecot-imapd")
        super().__init__()
        self.users: dict[str, DovecotUser] = {}
        """By their names."""
        self.imap_port = 0
        self._write(self.folder / "users", b"", 0o600)
        self._write(self.folder / "masters", f"{MASTER}:{{PLAIN}}{MASTER_PASSWORD}\n".encode(), 0o600)

    def command(self) -> Sequence[str]:
        self.imap_port = free_port()
        self.configure(CONFIGURATION.format(folder=self.folder, port=self.port, imap_port=self.imap_port))
        return super().command()

    def connect(self, database: str) -> Any:
        connection = socket.create_connection(("127.0.0.1", self.port), 60)
        if not connection.recv(3):
            connection.close()
            raise ConnectionResetError
        return connection

    def user(self, name: str, uidl_format: str = "", mail: str = "", **more: str) -> DovecotUser:
        """Add one with a format of unique-ids, and a place of mail, that are not the default; `more` are further settings of Dovecot's for this user."""
        found = self.users[name] = DovecotUser(name, f"sesame of {name}", self.folder / "mail" / name)
        found.home.mkdir(parents=True)
        settings = {"mail_location": mail, "pop3_uidl_format": uidl_format, **more}
        fields = " ".join(f"userdb_{key}={value.replace('%', '%%')}" for key, value in settings.items() if value)
        owner = self.identity or {"user": os.geteuid(), "group": os.getegid()}
        line = f"{name}:{{PLAIN}}{found.password}:{owner['user']}:{owner['group']}::{found.home}::{fields}\n"
        with (self.folder / "users").open("a", encoding="utf-8") as file:
            file.write(line)
        self.take(found.home)
        return found

    def take(self, path: Path) -> None:
        """Let its files belong to it again, once a server of ours was there that may be root's."""
        if self.identity:
            for each in (path.parent, path, *path.rglob("*")):
                os.chown(each, self.identity["user"], self.identity["group"], follow_symlinks=False)

    def doveadm(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run one of its commands to its end."""
        ended = subprocess.run(
            ["doveadm", "-c", str(self.configuration), *arguments],
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
            **self.identity,
        )
        assert ended.returncode == 0, (arguments, ended.stderr.decode())
        return ended.stdout

    def deliver(self, user: DovecotUser, message: bytes) -> None:
        """By Dovecot's own hand."""
        self.doveadm("save", "-u", user.name, stdin=message)
