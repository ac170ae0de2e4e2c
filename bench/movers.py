"""The programs that move mail from one server to another, and the servers that they need."""

from __future__ import annotations

import os
import poplib
import pwd
import shutil
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

from bench.accounting import kind
from bench.maildrops import USER
from bench.root import BESIDE, ROOT
from bench.running import Running
from bench.servers import free_ports

KEY: Final = "x"
"""Everybody's password."""

DOVECOT: Final = """
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/log
protocols = imap pop3
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = maildir:~/Maildir
first_valid_uid = 100
mail_max_userip_connections = 1000
mail_plugins =
passdb {{
  driver = passwd-file
  args = {root}/users
}}
userdb {{
  driver = passwd-file
  args = {root}/users
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
# Of doveadm: where it fetches from, one user after the other, each with his own password.
imapc_host = 127.0.0.1
imapc_port = {source}
imapc_user = %u
imapc_password = {password}
imapc_features = rfc822.size fetch-headers
"""

SETTINGS: Final = """
{user}
[listen]
pop3 = ["tcp:0:interface=127.0.0.1"]
[store]
url = "maildir:{{home}}/Maildir"
[auth]
checkers = ["passwd-file:{root}/users"]
"""


def names(users: int) -> list[str]:
    """The users."""
    return [f"user{number}" for number in range(users)]


class Place:
    """A folder with users and their maildrops."""

    def __init__(self, name: str, users: Sequence[str]) -> None:
        self.root = ROOT / "moving" / name
        shutil.rmtree(self.root, ignore_errors=True)
        owner = pwd.getpwnam(USER)
        lines = []
        for each in users:
            home = self.root / "mail" / each
            home.mkdir(parents=True)
            lines.append(f"{each}:{{PLAIN}}{KEY}:{owner.pw_uid}:{owner.pw_gid}::{home}\n")
        (self.root / "users").write_text("".join(lines))
        self.own()

    def own(self) -> None:
        """Give all that is there to the user who serves."""
        owner = pwd.getpwnam(USER)
        if os.geteuid() == 0:
            for path in (self.root, *self.root.rglob("*")):
                os.chown(path, owner.pw_uid, owner.pw_gid)

    def messages(self) -> Iterator[Path]:
        """What lies there."""
        for directory in ("new", "cur"):
            yield from (self.root / "mail").glob(f"*/Maildir/{directory}/*")


class Dovecot(Running):
    """A Dovecot that serves such a place by IMAP and POP3; `source`: the port of IMAP that doveadm fetches from."""

    greeting = b"* OK"

    def __init__(self, place: Place, source: int = 0) -> None:
        name = place.root.name
        super().__init__(name, f"moving-{os.getpid()}-{name}")
        self.place = place
        self.imap, self.pop3 = free_ports()
        for sub in ("run", "state"):
            (place.root / sub).mkdir()
        values = {"root": place.root, "imap": self.imap, "pop3": self.pop3, "source": source, "password": KEY}
        self.configuration = place.root / "conf"
        self.configuration.write_text(DOVECOT.format(**values))
        self.launch(["dovecot", "-F", "-c", str(self.configuration)], place.root / "out", BESIDE)

    def connected(self) -> socket.socket:
        """By IMAP."""
        return socket.create_connection(("127.0.0.1", self.imap), 5)


def index(old: Dovecot, users: Sequence[str]) -> None:
    """Let it index its mail, as a server has that was in use: no mover pays for that."""
    subprocess.run(
        ["doveadm", "-c", str(old.configuration), "fetch", "-A", "uid", "mailbox", "INBOX"],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    for user in users:
        with closing(poplib.POP3("127.0.0.1", old.pop3)) as client:
            client.user(user)
            client.pass_(KEY)
            client.uidl()
            client.quit()


def remove(place: Place) -> None:
    """Remove it with all its mail."""
    shutil.rmtree(place.root)


class Mover(ABC):
    """Moves the mail of all users into `place`."""

    serves = False
    """Whether its place must be that of a running server."""

    def __init__(self, name: str, old: Dovecot, users: Sequence[str], parallel: int) -> None:
        self.old = old
        self.users = users
        self.parallel = parallel
        self.place = Place(name, users)
        self.account = kind()(f"moving-{os.getpid()}-by-{name}")
        self.new = Dovecot(self.place, old.imap) if self.serves else None

    @abstractmethod
    def move(self) -> None:
        """Move everything, and come back when it is done."""

    def run(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """One program to its end, which must be good."""
        with (self.place.root / "told").open("a") as told:
            ended = subprocess.run(
                command, preexec_fn=self.account.enter, stdout=told, stderr=told, cwd=BESIDE, env=env, check=False
            )
        if ended.returncode:
            text = (self.place.root / "told").read_text(errors="replace")[-2000:]
            raise SystemExit(f"{command[0]} ended with {ended.returncode}:\n{text}")

    def for_each(self, command: Sequence[str]) -> None:
        """One program for each user, whose name stands for {}; so many at once."""
        with ThreadPoolExecutor(self.parallel) as threads:
            list(threads.map(lambda user: self.run([word.replace("{}", user) for word in command]), self.users))

    def cpu_seconds(self) -> float:
        """Of the program and of the server that it writes through."""
        return self.account.cpu_seconds() + (self.new.account.cpu_seconds() if self.new else 0.0)

    def close(self) -> None:
        """End what it needed, and remove what it moved."""
        if self.new:
            self.new.close()
        self.account.close()
        shutil.rmtree(self.place.root, ignore_errors=True)


class Ours(Mover):
    """``mailserver migrate mail``, with unique-ids by POP3, and flags and dates by IMAP."""

    def move(self) -> None:
        """By a table of users with their passwords, in one process."""
        root = self.place.root
        user = f'user = "{USER}"' if os.geteuid() == 0 else ""
        (root / "toml").write_text(SETTINGS.format(user=user, root=root))
        table = root / "table"
        table.touch(mode=0o600)
        table.write_text("".join(f"{name}::{KEY}\n" for name in self.users))
        source = f"pop3://127.0.0.1:{self.old.pop3}?imap=127.0.0.1:{self.old.imap}"
        options = ("--users", str(table), "--state", str(root / "moved"), "--parallel", str(self.parallel))
        command = (sys.executable, "-P", "-m", "mailserver", "migrate", "mail")
        self.run(
            [*command, *options, source],
            {**os.environ, "PYTHONPATH": str(BESIDE), "MAILSERVER_CONFIG": str(root / "toml")},
        )


class Doveadm(Mover):
    """``doveadm backup`` from IMAP, into a Maildir; it runs beside a Dovecot, which is asked for its users."""

    serves = True

    def move(self) -> None:
        """By a process for each user."""
        configuration = str(self.place.root / "conf")
        self.for_each(["doveadm", "-c", configuration, "backup", "-R", "-u", "{}", "imapc:"])


class Imapsync(Mover):
    """imapsync, from IMAP to IMAP, without what it measures and tells beside the move."""

    serves = True
    program = Path()

    def move(self) -> None:
        """By a process for each user."""
        ends = [*self._end("1", self.old), *(self._end("2", self.new) if self.new else ())]
        quiet = ("--nolog", "--noreleasecheck", "--nofoldersizes", "--nofoldersizesatend", "--no-modulesversion")
        place = ("--tmpdir", str(self.place.root), "--pidfile", str(self.place.root / "{}.pid"))
        self.for_each([str(self.program), *ends, *quiet, *place])

    def _end(self, number: str, server: Dovecot) -> Sequence[str]:
        values = {"host": "127.0.0.1", "port": server.imap, "user": "{}", "password": KEY}
        options = [word for name, value in values.items() for word in (f"--{name}{number}", str(value))]
        return (*options, f"--nossl{number}", f"--notls{number}")


MOVERS: Final = {"mailserver": Ours, "doveadm": Doveadm, "imapsync": Imapsync}
