"""A site that goes away again: a real Dovecot serves what ``mailserver export`` has written."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.cli.running import run
from tests.cli.test_export import shown
from tests.cli.test_quota import settings
from tests.corpus import SMALL
from tests.old.dovecots import Dovecot
from tests.servers import Server, Site

SERVED = [each for each in SMALL.values() if each and not each.startswith(b".")]
"""Dovecot does not stuff a first octet that is a dot; of an empty message it makes a blank line."""


def test_dovecot_shows_the_messages_of_an_export_in_their_order_with_their_unique_ids(
    site: Site, tmp_path: Path
) -> None:
    alice = site.account("alice", messages=SERVED)
    (alice.maildir / "new" / ("with more octets than POP3 allows " * 3)).write_bytes(b"Subject: hashed\n\n")
    with Server(site) as server:
        before = shown(server.pop3_port, alice)
    assert len(before[0]) == len(SERVED) + 1
    assert run("export", *settings(site), "alice", str(tmp_path / "out")).returncode == 0
    dovecot = Dovecot()
    user = dovecot.user("alice")
    shutil.copytree(tmp_path / "out", user.maildir)
    dovecot.take(user.home)
    dovecot.start()
    try:
        assert shown(dovecot.port, user) == before
    finally:
        dovecot.close()
