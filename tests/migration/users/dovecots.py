"""A real Dovecot's auth service for tests, with the users of one configuration, in a folder of its own."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import socket
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.databases import Database, absent

CONFIGURATION = """
base_dir = {folder}/run
state_dir = {folder}/run
log_path = /dev/stderr
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
protocols = none
ssl = no
auth_failure_delay = 0
service anvil {{
  chroot =
}}
default_vsz_limit = 4G
service auth {{
  unix_listener auth-userdb {{
    mode = 0666
  }}
}}
"""


class Dovecot(Database):
    """It is started by the first `serve`."""

    def __init__(self) -> None:
        program = shutil.which("dovecot", path=os.environ["PATH"] + ":/usr/sbin")
        if program is None:
            absent("Dovecot is missing: apt-get install dovecot-core")
        self._program = str(program)
        super().__init__()

    def serve(self, text: str, **files: str) -> None:
        """Serve the users of a configuration, in which `{folder}` stands for the folder with these files."""
        user = pwd.getpwuid(self.identity.get("user", os.geteuid()))
        group = grp.getgrgid(user.pw_gid).gr_name
        whole = CONFIGURATION.format(folder=self.folder, user=user.pw_name, group=group)
        whole += text.replace("{folder}", str(self.folder))
        for name, content in {"dovecot.conf": whole, **files}.items():
            self._write(self.folder / name, content.replace("{folder}", str(self.folder)).encode(), 0o644)
        self.kill()
        self.start()

    def command(self) -> Sequence[str]:
        return (self._program, "-F", "-c", str(self.folder / "dovecot.conf"))

    def connect(self, database: str) -> Any:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(60)
            connection.connect(str(self.folder / "run/auth-client"))
            if not connection.recv(1):
                raise ConnectionResetError
        except OSError:
            connection.close()
            raise
        return connection

    def _ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ("doveadm", "-c", str(self.folder / "dovecot.conf"), *words)
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def admits(self, *given: tuple[str, str]) -> list[bool]:
        """Whether it takes each of these names and passwords, and its login processes would then let the user in.

        All are asked at once, since it delays refusals.
        """
        with ThreadPoolExecutor(len(given)) as pool:
            done = list(pool.map(lambda each: self._ask("auth", "test", *each), given))
        return [each.returncode == 0 and "nologin" not in each.stdout for each in done]

    def home(self, name: str) -> str:
        """Where it has a user's home."""
        found = re.search(r"^ *home *: (.*)$", self._ask("user", "-u", name).stdout, re.MULTILINE)
        return found[1] if found else ""

    def names(self) -> set[str]:
        """Its users."""
        return set(self._ask("user", "*").stdout.split())

    def doveconf(self, *words: str) -> str:
        """Its settings, as it prints them."""
        command = ("doveconf", "-c", str(self.folder / "dovecot.conf"), *words)
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
