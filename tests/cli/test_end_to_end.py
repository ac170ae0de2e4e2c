"""``mailserver deliver`` and the real server, with the same configuration for both."""

import os
import signal

import pytest

from tests.cli.running import run
from tests.corpus import CORPUS, canonical
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site, toml


@pytest.fixture(scope="module")
def site():
    with Site() as made:
        made.account("alice")
        made.account("bob", extra="userdb_quota_rule=*:messages=1")
        yield made


@pytest.fixture(scope="module")
def server(site):
    listen = {"lmtp": ["tcp:0:interface=127.0.0.1", f"unix:{site.folder}/lmtp:mode=600"]}
    with Server(site, listen=listen, delivery={"max_octets": 1 << 20}) as server:
        yield server


@pytest.fixture
def config(site, server):
    path = site.folder / "mailserver.toml"
    path.write_text(toml(server.settings))
    return ["--config", str(path)]


def newest(server, account):
    """The newest message, as a client gets it."""
    with RawPOP3(server.pop3_port) as client:
        client.login(account.name, account.password)
        number = len(client.listing(b"UIDL"))
        message = client.fetch(b"RETR %d" % number)
        client.quit()
    return message


@pytest.mark.parametrize("name", ["usual", "leading-dots", "mixed-ends", "eight-bit"])
def test_what_is_delivered_is_what_a_client_fetches(site, server, config, name):
    told = run("deliver", *config, "-f", "carol@example.com", "-a", "info+x@example.org", "alice", stdin=CORPUS[name])
    assert (told.returncode, told.stderr) == (0, b"")
    head, _, body = newest(server, site.accounts[0]).partition(b"\tfor <alice>;")
    assert head.startswith(b"Return-Path: <carol@example.com>\r\nX-Original-To: info+x@example.org\r\n")
    assert body.partition(b"\r\n")[2] == canonical(CORPUS[name])


def test_each_refusal_of_the_server_has_its_exit_status(config):
    unknown = run("deliver", *config, "carol", stdin=b"Subject: x\n\n")
    assert (unknown.returncode, unknown.stderr[:14]) == (os.EX_NOUSER, b"5.1.1 <carol>:")
    assert run("deliver", *config, "bob", stdin=b"Subject: x\n\n").returncode == 0
    full = run("deliver", *config, "bob", stdin=b"Subject: x\n\n")
    assert (full.returncode, full.stderr[:12]) == (os.EX_TEMPFAIL, b"4.2.2 <bob>:")
    large = run("deliver", *config, "alice", stdin=b"x" * (2 << 20))
    assert (large.returncode, large.stderr[:14]) == (os.EX_DATAERR, b"5.3.4 <alice>:")


def test_a_server_that_hangs_or_is_gone_is_75_and_what_was_said_to_be_delivered_is_there(site, server, config):
    before = len(list((site.accounts[0].maildir / "new").iterdir()))
    os.kill(server.pid, signal.SIGSTOP)
    try:
        told = run("deliver", *config, "--timeout", "0.2", "alice", stdin=b"Subject: x\n\n")
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert (told.returncode, told.stderr[:6]) == (os.EX_TEMPFAIL, b"4.4.2 ")
    gone = run("deliver", "--socket", f"{site.folder}/nowhere", "alice", stdin=b"Subject: x\n\n")
    assert gone.returncode == os.EX_TEMPFAIL
    assert len(list((site.accounts[0].maildir / "new").iterdir())) == before
