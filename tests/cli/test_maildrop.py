"""``mailserver maildrop undelete`` beside the server."""

import json
import os

import pytest

from tests.cli.running import run
from tests.cli.test_quota import WHOEVER, settings
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site


@pytest.fixture
def site():
    with Site() as made:
        yield made


def test_the_last_session_s_deletions_come_back_with_their_unique_ids(site):
    alice = site.account("alice", messages=[b"Subject: %d\n\n" % number for number in range(3)])
    keeping = {"delete": "keep 3 days"}
    config = settings(site, delivery=keeping)
    with Server(site, user=WHOEVER, delivery=keeping) as server:
        with RawPOP3(server.pop3_port) as client:
            client.login(alice.name, alice.password)
            before = client.listing(b"UIDL")
            client.ok(b"DELE 1")
            client.ok(b"DELE 3")
            during = run("maildrop", "undelete", *config, "alice")
            assert (during.returncode, during.stdout) == (os.EX_TEMPFAIL, b"")
            client.quit()
        told = run("maildrop", "undelete", *config, "--dry-run", "alice")
        assert (told.returncode, told.stdout) == (0, b"alice: 2 messages would come back\n")
        told = run("maildrop", "undelete", *config, "--json", "alice")
        assert (told.returncode, told.stderr) == (0, b"")
        assert json.loads(told.stdout) == {"user": "alice", "messages": 2, "dry_run": False}
        with RawPOP3(server.pop3_port) as client:
            client.login(alice.name, alice.password)
            assert client.listing(b"UIDL") == before
            client.quit()
    told = run("maildrop", "undelete", *config, "alice")
    assert (told.returncode, told.stdout) == (1, b"alice: nothing is kept\n")


def test_an_unknown_user_is_an_answer(site):
    site.account("alice")
    told = run("maildrop", "undelete", *settings(site), "bob")
    assert (told.returncode, told.stderr) == (1, b"mailserver: bob: there is no such user\n")
