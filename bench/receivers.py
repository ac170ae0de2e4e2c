"""The servers that take messages by LMTP, each with maildrops of its own."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.maildrops import USER
from bench.root import BESIDE, ROOT
from bench.running import Running

USERS: Final = 200
"""Enough for 100 connections with a user each, and for twenty with ten."""

REPLY_SECONDS: Final = 30
"""Until a server that does not answer is an error."""

DOVECOT: Final = """
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/log
protocols = lmtp
ssl = no
postmaster_address = postmaster@example.org
hostname = bench.example.org
mail_location = maildir:~/Maildir
mail_fsync = always
maildir_very_dirty_syncs = yes
first_valid_uid = 100
default_process_limit = 1000
userdb {{
  driver = passwd-file
  args = {root}/users
}}
passdb {{
  driver = passwd-file
  args = {root}/users
}}
service lmtp {{
  unix_listener {socket} {{
    mode = 0666
  }}
  service_count = 0
  process_min_avail = {reserve}
  process_limit = 200
}}
service auth {{
  client_limit = 2000
}}
service anvil {{
  client_limit = 2000
}}
"""

SETTINGS: Final = """
{user}
[listen]
lmtp = ["unix:{socket}:mode=666"]
[store]
url = "maildir:{{home}}/Maildir"
[auth]
checkers = ["passwd-file:{root}/users"]
[delivery]
connections = 200
"""

MAILSERVER: Final = "{twist} --log-level=info --log-format=text --log-file={root}/log mailserver --config {root}/toml"
COMMANDS: Final = {
    "dovecot": "dovecot -F -c {root}/conf",
    "mailserver": MAILSERVER,
    "mailserver-2": MAILSERVER + " --workers 2",
}


class Server(Running):
    """One server, with its maildrops."""

    greeting = b"220"

    def __init__(self, name: str, reserve: int) -> None:
        super().__init__(name, f"deliveries-{os.getpid()}-{name}")
        self.root = ROOT / "deliveries" / name
        shutil.rmtree(self.root, ignore_errors=True)
        for sub in ("run", "state", "mail"):
            (self.root / sub).mkdir(parents=True)
        self.socket = self.root / "lmtp"
        owner = pwd.getpwnam(USER)
        for number in range(USERS):
            (self.root / "mail" / f"user{number}").mkdir()
        if os.geteuid() == 0:
            for path in (self.root, *self.root.rglob("*")):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        lines = (f"user{n}:{{PLAIN}}x:{owner.pw_uid}:{owner.pw_gid}::{self.root}/mail/user{n}\n" for n in range(USERS))
        (self.root / "users").write_text("".join(lines))
        values = {"root": self.root, "socket": self.socket, "reserve": reserve}
        user = f'user = "{USER}"' if os.geteuid() == 0 else ""
        (self.root / "toml").write_text(SETTINGS.format(user=user, **values))
        (self.root / "conf").write_text(DOVECOT.format(**values))
        twist = Path(sys.executable).with_name("twist")
        command = shlex.split(COMMANDS[name].format(root=self.root, twist=twist))
        self.launch(command, self.root / "out", BESIDE, {**os.environ, "PYTHONPATH": str(BESIDE)})

    def connected(self) -> socket.socket:
        """By its Unix socket."""
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(REPLY_SECONDS)
        try:
            client.connect(str(self.socket))
        except OSError:
            client.close()
            raise
        return client

    def messages(self) -> Iterator[Path]:
        """What lies in the maildrops."""
        for directory in ("new", "cur"):
            yield from (self.root / "mail").glob(f"*/Maildir/{directory}/*")

    def close(self) -> None:
        """End it, with all its processes, and remove what it has."""
        super().close()
        shutil.rmtree(self.root, ignore_errors=True)
