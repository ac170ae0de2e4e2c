"""Python's own poplib."""

from __future__ import annotations

import poplib

import pytest

from tests.corpus import CORPUS, SMALL, canonical, top
from tests.interop.clients import kept_by
from tests.servers import Account, Server

MESSAGES = kept_by("poplib")
ROADS = ("plain", "stls", "pop3s")


@pytest.fixture(autouse=True)
def _lines_of_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poplib gives up on a line of more than 2,048 octets, and says how to raise that."""
    monkeypatch.setattr(poplib, "_MAXLINE", 1 << 24)


def connect(server: Server, road: str) -> poplib.POP3:
    context = server.site.client_tls()
    if road == "pop3s":
        return poplib.POP3_SSL("localhost", server.pop3s_port, context=context, timeout=30)
    client = poplib.POP3("localhost", server.pop3_port, timeout=30)
    if road == "stls":
        client.stls(context)
    return client


def login(client: poplib.POP3, account: Account, way: str = "user") -> poplib.POP3:
    if way == "apop":
        client.apop(account.name, account.password)
    else:
        client.user(account.name)
        client.pass_(account.password)
    return client


def joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\r\n" for line in lines)


@pytest.mark.parametrize("road", ROADS)
def test_it_reads_every_message(server: Server, account: Account, road: str) -> None:
    for message in MESSAGES.values():
        account.deliver(message)
    client = login(connect(server, road), account)
    octets = [len(canonical(message)) for message in MESSAGES.values()]
    assert client.stat() == (len(octets), sum(octets))
    assert client.list()[1] == [b"%d %d" % row for row in enumerate(octets, 1)]
    for number, (name, message) in enumerate(MESSAGES.items(), 1):
        assert joined(client.retr(number)[1]) == canonical(message), name
    assert client.quit().startswith(b"+OK")


@pytest.mark.parametrize("road", ROADS)
def test_it_logs_in_by_apop(server: Server, account: Account, road: str) -> None:
    account.deliver(CORPUS["leading-dots"])
    client = login(connect(server, road), account, "apop")
    assert joined(client.retr(1)[1]) == canonical(CORPUS["leading-dots"])
    client.quit()


def test_it_reads_tops_of_messages(server: Server, account: Account) -> None:
    for message in SMALL.values():
        account.deliver(message)
    client = login(connect(server, "plain"), account)
    for number, (name, message) in enumerate(SMALL.items(), 1):
        assert joined(client.top(number, 3)[1]) == top(message, 3), name
    client.quit()


def test_it_deletes_at_quit(server: Server, account: Account) -> None:
    for name in ("usual", "leading-dots", "empty"):
        account.deliver(CORPUS[name])
    client = login(connect(server, "stls"), account)
    unique = client.uidl()[1]
    client.dele(1)
    client.dele(3)
    client.noop()
    client.rset()
    client.dele(1)
    client.quit()
    assert account.stored() == [CORPUS["leading-dots"], CORPUS["empty"]]
    client = login(connect(server, "pop3s"), account)
    assert [row.split()[1] for row in client.uidl()[1]] == [row.split()[1] for row in unique[1:]]
    client.quit()


def test_it_knows_what_the_server_can_do(server: Server, account: Account) -> None:
    client = connect(server, "plain")
    assert {"TOP", "UIDL", "USER", "STLS", "PIPELINING", "RESP-CODES"} <= client.capa().keys()
    client.stls(server.site.client_tls())
    assert {"PLAIN", "LOGIN"} <= set(client.capa()["SASL"])
    assert "STLS" not in client.capa()
    client.quit()


@pytest.mark.parametrize("way", ["user", "apop"])
def test_names_and_passwords_may_be_utf8(server: Server, foreign: Account, way: str) -> None:
    login(connect(server, "plain"), foreign, way).quit()


@pytest.mark.parametrize("way", ["user", "apop"])
def test_a_wrong_password_is_an_error(server: Server, account: Account, way: str) -> None:
    client = connect(server, "plain")
    stranger = Account(account.name, "wrong", account.maildir.parent)
    with pytest.raises(poplib.error_proto, match=r"^b'-ERR \[AUTH\] "):
        login(client, stranger, way)
    login(client, account).quit()
