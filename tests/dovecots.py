"""A real Dovecot for tests, as an unprivileged user, in a folder of its own. What it serves is its subclasses' affair."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.databases import Database, absent

BASICS: Final = """
base_dir = {folder}/run
state_dir = {folder}/run
log_path = /dev/stderr
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
ssl = no
auth_failure_delay = 0
service anvil {{
  chroot =
}}
"""


class Dovecot(Database):
    """It is there when its auth service is, unless a subclass knows better."""

    def __init__(self) -> None:
        program = shutil.which("dovecot", path=os.environ["PATH"] + ":/usr/sbin")
        if program is None:
            absent("Dovecot is missing: apt-get install dovecot-core")
        self._program = str(program)
        super().__init__()

    @property
    def configuration(self) -> Path:
        """What its commands are told by ``-c``."""
        return self.folder / "dovecot.conf"

    @property
    def owner(self) -> str:
        """The user that it runs as."""
        return pwd.getpwuid(self.identity.get("user", os.geteuid())).pw_name

    def configure(self, text: str) -> None:
        """Give it these settings beside the basic ones."""
        group = grp.getgrgid(pwd.getpwnam(self.owner).pw_gid).gr_name
        basics = BASICS.format(folder=self.folder, user=self.owner, group=group)
        self._write(self.configuration, (basics + text).encode(), 0o644)

    def command(self) -> Sequence[str]:
        return (self._program, "-F", "-c", str(self.configuration))

    def connect(self, database: str) -> Any:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(60)
            connection.connect(str(self.folder / "run" / (database or "auth-client")))
            if not connection.recv(1):
                raise ConnectionResetError
        except OSError:
            connection.close()
            raise
        return connection
