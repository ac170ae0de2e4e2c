"""Accounts of many users: fetchmail in multidrop, and poplib on the account and on its users' shares."""

from __future__ import annotations

import poplib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.interop.clients import Clients
from tests.servers import Account, Server, Site

DOMAIN = "vision25.example.org"
SDPS = {"sdps.accounts": {"vision25": DOMAIN}}
MAIL = (
    ("env1@example.org", f"john@{DOMAIN}"),
    ("env2@example.org", f"Mary@{DOMAIN}"),
    ("", f"john@{DOMAIN}"),
    ("env4@example.org", f"mary@{DOMAIN}"),
)
"""Sender and recipient of the envelopes; the headers that a reader sees lie."""


def letter(sender: str, recipient: str, subject: str) -> bytes:
    return (
        f"Return-Path: <{sender}>\nDelivered-To: {recipient}\nReceived: from x by y; Mon, 1 Jan 2024 00:00:00 +0000\n"
        f"Delivered-To: evil@{DOMAIN}\nFrom: liar@example.net\nTo: eve@{DOMAIN}\nSubject: {subject}\n\n{subject}\n"
    ).encode()


@pytest.fixture
def place() -> Iterator[tuple[Site, Account]]:
    with Site() as site:
        account = site.account("vision25")
        for number, (sender, recipient) in enumerate(MAIL, 1):
            account.deliver(letter(sender, recipient, f"number {number}"))
        yield site, account


@pytest.fixture
def server(place: tuple[Site, Account], request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(place[0], **{**SDPS, **getattr(request, "param", {})}) as server:
        yield server


@pytest.fixture
def account(place: tuple[Site, Account]) -> Account:
    return place[1]


def fetched(server: Server, account: Account, protocol: str, user: str = "vision25", more: str = "keep") -> list[str]:
    """What fetchmail hands to its delivery agent: sender, recipient and subject of each message."""
    with TemporaryDirectory(prefix="mailserver-clients-") as folder:
        clients = Clients(server, Path(folder))
        agent = clients.file("agent", 'echo "$1 $2 $(grep Subject: | cut -c10-)" >> "${0%/*}/got"\n')
        rc = clients.file(
            "fetchmailrc",
            f"poll localhost protocol {protocol} port {server.pop3_port} auth password timeout 20 no dns "
            f"localdomains {DOMAIN}\n"
            f'user "{user}" password "{account.password}" to * here sslproto "" {more} fetchall\n'
            f'mda "sh {agent} %F %T"\n',
        )
        clients.run("fetchmail", "--fetchmailrc", str(rc), "--nodetach", "--daemon", "0", "--nosyslog", "--invisible")
        return (clients.folder / "got").read_text().splitlines()


def expected(*numbers: int) -> list[str]:
    return [f"{MAIL[n - 1][0] or '<>'} {MAIL[n - 1][1]} number {n}" for n in numbers]


def test_fetchmail_delivers_each_message_to_whom_its_envelope_names(server: Server, account: Account) -> None:
    assert fetched(server, account, "SDPS") == expected(1, 2, 3, 4)


def test_fetchmail_fetches_one_user_s_mail(server: Server, account: Account) -> None:
    assert fetched(server, account, "SDPS", "john@vision25", "no keep") == expected(1, 3)
    assert fetched(server, account, "SDPS", "MARY+vision25") == expected(2, 4)
    assert len(account.files()) == 2


@pytest.mark.parametrize("server", [{"sdps": {"greeting": "pop3.demon.co.uk"}}], indirect=True)
def test_fetchmail_asks_where_the_greeting_is_demon_s(server: Server, account: Account) -> None:
    assert fetched(server, account, "POP3") == expected(1, 2, 3, 4)


@pytest.mark.parametrize("server", [{"hostname": "pop3.demon.co.uk"}], indirect=True)
def test_a_host_s_name_is_not_a_greeting_of_demon_s(server: Server) -> None:
    with closing(poplib.POP3("localhost", server.pop3_port, timeout=30)) as client:
        assert b"demon." not in client.getwelcome()
        assert b"demon-co.uk" in client.getwelcome()


@pytest.mark.parametrize("server", [{}, {"workers": 2}], indirect=True, ids=["alone", "workers"])
@pytest.mark.parametrize("way", ["user", "apop"])
def test_poplib_opens_the_account_and_its_users_shares(server: Server, account: Account, way: str) -> None:
    def login(name: str) -> poplib.POP3:
        client = poplib.POP3("localhost", server.pop3_port, timeout=30)
        try:
            if way == "apop":
                client.apop(name, account.password)
            else:
                client.user(name)
                client.pass_(account.password)
        except poplib.error_proto:
            client.close()
            raise
        return client

    def uidls(name: str) -> list[bytes]:
        client = login(name)
        found = [row.split()[1] for row in client.uidl()[1]]
        client.quit()
        return found

    whole = uidls("vision25")
    assert len(whole) == 4
    assert uidls("john@vision25") == uidls("JOHN+Vision25") == uidls(f"john@{DOMAIN}") == [whole[0], whole[2]]
    assert uidls("nobody@vision25") == []
    mary = login("mary@vision25")
    with pytest.raises(poplib.error_proto, match="IN-USE"):
        login("john@vision25")
    assert "X-SDPS" in mary.capa()
    assert mary._longcmd("*ENV 1")[1] == [  # type: ignore[attr-defined]
        b"vision25",
        b"mary",
        b"env2@example.org",
        f"Mary@{DOMAIN}".encode(),
    ]
    assert mary.retr(1)[1][-1] == b"number 2"
    mary.dele(1)
    mary.quit()
    assert uidls("vision25") == [whole[0], whole[2], whole[3]]


@pytest.mark.parametrize("name", ["John+vision25", "john@vision25"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "DIGEST-MD5", "APOP"])
def test_mpop_logs_in_by_every_mechanism_whichever_way_the_name_is_typed(
    place: tuple[Site, Account], mechanism: str, name: str
) -> None:
    site, account = place
    auth = {} if mechanism == "APOP" else {"auth": {"mechanisms": [mechanism]}}
    with Server(site, **SDPS, **auth) as server, TemporaryDirectory(prefix="mailserver-clients-") as folder:
        clients = Clients(server, Path(folder))
        secret = clients.file("secret", account.password)
        clients.run(
            *("mpop", "--host=localhost", f"--port={server.pop3_port}", "--tls=off", f"--auth={mechanism.lower()}"),
            *(f"--user={name}", f"--passwordeval=cat {secret}", "--keep=on", "--uidls-file=uidls"),
            *("--delivery=mbox,got", "--received-header=off"),
        )
        assert (clients.folder / "got").read_bytes().count(b"\nSubject: number") == 2


def test_others_are_told_envelopes_too(server: Server) -> None:
    alice = server.site.account("alice", messages=[letter("env@example.org", "alice", "x"), b"Subject: y\n\ny\n"])
    with closing(poplib.POP3("localhost", server.pop3_port, timeout=30)) as client:
        client.user(alice.name)
        client.pass_(alice.password)
        assert client._longcmd("*ENV 1")[1] == [b"alice", b"-", b"env@example.org", b"alice@mail.example.org"]  # type: ignore[attr-defined]
        assert client._longcmd("*ENV 2")[1] == [b"alice", b"-", b"", b"alice@mail.example.org"]  # type: ignore[attr-defined]
        client.quit()
    assert not (alice.maildir / "mailserver-envelopes").exists()


def test_an_account_and_a_domain_per_endpoint(place: tuple[Site, Account]) -> None:
    site, account = place
    other = site.account("john@example.net", messages=[b"Subject: z\n\nz\n"])
    endpoints = ["tcp:0:interface=127.0.0.1", "tcp:0:interface=127.0.0.2"]
    listen = {"pop3": endpoints[1:], "pop3s": endpoints[:1]}
    with Server(
        site, **{**SDPS, "listen": listen, "names.default_domains": {f'"{endpoints[1]}"': "example.net"}}
    ) as server:
        with closing(poplib.POP3("127.0.0.2", server.pop3_port, timeout=30)) as client:
            client.user("john")
            client.pass_(other.password)
            assert client.stat()[0] == 1
            client.quit()
        context = site.client_tls()
        with closing(poplib.POP3_SSL("localhost", server.pop3s_port, context=context, timeout=30)) as client:
            client.user("john")
            with pytest.raises(poplib.error_proto, match="AUTH"):
                client.pass_(other.password)
            client.user("vision25")
            client.pass_(account.password)
            assert client.stat()[0] == 4
            client.quit()
