"""A real Dovecot for tests: only its auth service, as an unprivileged user, in a folder of its own."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailserver.testing.contracts.checkers import USERS
from tests import dovecots
from tests.auth.outages import password

CONFIGURATION = """
protocols = none
listen = 127.0.0.1
auth_mechanisms = {mechanisms}
auth_username_chars =
auth_username_format = %u
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
}}
"""

PAGE = (Path(__file__).parents[3] / "docs/users-dovecot.md").read_text("utf-8")
SOCKETS, SETTINGS = re.findall(r"^```\w*\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
"""What the page tells to write into Dovecot's configuration and into ours."""


MANY = [f"user{number}" for number in range(100)]
"""Users with nothing but a password."""

LINES = {
    **dict.fromkeys(MANY, ""),
    "renamed": ":::::user=Liddell@EXAMPLE.org",
    "climber": ":::::user=../x",
    "near": ":::::allow_nets=192.0.2.0/24,2001:db8::/32",
    "moved": ":::::nologin reason=moved",
    "proxied": ":::::proxy=y host=192.0.2.1 pass=x",
    "spaced": "1:1::/home/a b::userdb_mail=maildir:/srv/spaced userdb_quota_rule=*:storage=1G",
    "homely": "1:1::{folder}/mail/homely",
    "mbox": "1:1::/home/mbox::userdb_mail=mbox:/srv/mbox",
}
"""The users, with what stands behind the password in their lines; the password is `password(name)`. They are the same for all tests,
because Dovecot looks at its file once in a second."""


class Dovecot(dovecots.Dovecot):
    """A Dovecot with the users of `LINES`, and those of the contract."""

    def __init__(self, mechanisms: str = "plain") -> None:
        super().__init__()
        text = CONFIGURATION.format(folder=self.folder, mechanisms=mechanisms)
        self.configure(text + SOCKETS.replace("vmail", self.owner))
        (self.folder / "mail/homely").mkdir(parents=True)
        lines = [_line(name, secret, "") for name, secret in USERS.items()]
        lines += [
            _line(name.encode(), password(name), rest.replace("{folder}", str(self.folder)))
            for name, rest in LINES.items()
        ]
        self._write(self.folder / "users", b"".join(lines), 0o600)
        self.start()

    @property
    def client(self) -> str:
        """The socket for passwords."""
        return str(self.folder / "run/auth-client")

    @property
    def userdb(self) -> str:
        """The socket for homes."""
        return str(self.folder / "run/auth-userdb")


def _line(name: bytes, secret: bytes, rest: str) -> bytes:
    return b"%b:{PLAIN.b64}%b:%b\n" % (name, b64encode(secret), rest.encode())


@pytest.fixture(scope="session")
def dovecot() -> Iterator[Dovecot]:
    server = Dovecot()
    yield server
    server.close()
