"""Dovecot's own settings and users, turned into ours by the command: the same passwords, and the same unique-ids."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.running import run
from tests.old.dovecots import Dovecot
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site

FORMAT = "%v-%04u"


class OfOneFormat(Dovecot):
    """Its users have the format and the place that its settings say."""

    def command(self) -> Sequence[str]:
        words = super().command()
        more = f"mail_location = maildir:~/Maildir\npop3_uidl_format = {FORMAT}\nmail_uid = {self.owner}\n"
        self._write(self.configuration, (self.configuration.read_text() + more).encode(), 0o644)
        return words


@pytest.mark.parametrize("kind", ["passwd-file", "converted"])
def test_the_command_s_settings_and_users_serve_what_dovecot_served(site: Site, tmp_path: Path, kind: str) -> None:
    dovecot = OfOneFormat()
    try:
        alice = dovecot.user("alice", FORMAT)
        dovecot.start()
        for number in range(4):
            dovecot.deliver(alice, b"Subject: %d\n\nx\n" % number)
        with RawPOP3(dovecot.port) as client:
            client.login("alice", alice.password)
            assert client.command(b"DELE 2").startswith(b"+OK")
            client.quit()
        with RawPOP3(dovecot.port) as client:
            client.login("alice", alice.password)
            before = client.listing(b"UIDL")
            client.quit()
        printed = subprocess.run(
            ["doveconf", "-c", dovecot.configuration, "-nP"], capture_output=True, check=True, timeout=60
        ).stdout
        dovecot.kill()
        told = run("migrate", "users", "dovecot", "-", "--output", str(tmp_path / "made.toml"), stdin=printed)
        assert b"the new file" not in told.stderr
        made = tomllib.loads((tmp_path / "made.toml").read_text())
        assert made.pop("user") == dovecot.owner
        assert made["store"] == {"url": "maildir:{home}/Maildir", "former": f"dovecot:{FORMAT}", "seen": "retr"}
        assert made["listen"] == {"pop3": [f"tcp:{dovecot.port}:interface=127.0.0.1"]}
        del made["listen"]
        if kind == "converted":
            users = tmp_path / "users"
            done = run("migrate", "users", "dovecot-users", str(dovecot.folder / "users"), "-o", str(users))
            assert b"store.former" in done.stderr
            made["auth"]["checkers"] = [f"passwd-file:{users}"]
        with Server(site, **made) as server, RawPOP3(server.pop3_port) as client:
            client.login("alice", alice.password)
            assert client.listing(b"UIDL") == before
            assert len(before) == 3
            client.quit()
    finally:
        dovecot.close()
