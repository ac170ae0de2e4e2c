"""Recipients, aliases and quotas of whole servers, and what *ENV says of what came in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.rawlmtp import RawLMTP
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site

MESSAGE = b"Delivered-To: forged@vision25.example.org\r\nSubject: hello\r\n\r\nworld\r\n"
DOMAIN = "vision25.example.org"
SDPS = {"sdps.accounts": {"vision25": DOMAIN}}

PATHS = [
    "eve@example.net",
    "",
    '"eve s."@example.net',
    'e"ve@example.net'.replace('"', ""),
    r'"a\"b\\c, <d>(e)"@example.net',
    "..eve..@example.net",
    "eve@[192.0.2.1]",
    "eve@[IPv6:2001:db8::1]",
    "bounces+john=vision25.example.org@example.net",
    "e" * 400 + "@example.net",
    "j\u00f6rg@m\u00fcller.example",
]
LOCALS = ["john", "John", "john.doe", '"john doe"', '"a@b, c"', "j.d.", "o'neil+news", "j\u00f6rg", "{}|~"]


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as made:
        made.account("alice", "wonderland")
        made.account("bob", "builder")
        made.account("vision25", "open sesame")
        yield made


def server_of(site: Site, **settings: Any) -> Server:
    listen = {"lmtp": [f"unix:{site.folder}/lmtp:mode=600", "tcp:0:interface=127.0.0.1"], "pop3s": []}
    return Server(site, listen=listen, names={"local_domains": ["example.org"]}, **settings)


def in_brackets(path: str) -> str:
    return f'"{path.partition("@")[0]}"@{path.partition("@")[2]}' if path.startswith(".") else path


def test_env_names_the_sender_and_the_recipient_of_whatever_came_in(site: Site) -> None:
    sent = [(path, f"{LOCALS[at % len(LOCALS)]}@{DOMAIN}") for at, path in enumerate(PATHS)]
    with server_of(site, **SDPS) as server:
        with RawLMTP(site.folder / "lmtp") as client:
            client.hello()
            for path, address in sent:
                client.ok(f"MAIL FROM:<{path}> SMTPUTF8".encode())
                client.ok(f"RCPT TO:<{address}>".encode())
                client.ok(b"DATA")
                client.ok(MESSAGE + b".")
        with RawPOP3(server.pop3_port) as pop3:
            pop3.login("vision25", "open sesame")
            found = [pop3.fetch(b"*ENV %d" % (number + 1)).split(b"\r\n")[2:4] for number in range(len(sent))]
    assert [(sender.decode(), recipient.decode()) for sender, recipient in found] == [
        (in_brackets(path), address) for path, address in sent
    ]


def test_the_share_of_a_user_has_the_user_s_mail_alone(site: Site) -> None:
    with server_of(site, **SDPS) as server:
        with RawLMTP(site.folder / "lmtp") as client:
            replies = client.hello().deliver(MESSAGE, f"john@{DOMAIN}", f"mary@{DOMAIN}", f"John@{DOMAIN}")
            assert [reply[:3] for reply in replies] == [b"250"] * 3
        for name, count in ("john@vision25", 1), ("mary@vision25", 1), ("forged@vision25", 0), ("vision25", 2):
            with RawPOP3(server.pop3_port) as pop3:
                pop3.login(name, "open sesame")
                assert pop3.ok(b"STAT").split()[1] == b"%d" % count
                pop3.quit()


def test_aliases_count_as_soon_as_they_are_written(site: Site) -> None:
    aliases = site.folder / "aliases"
    aliases.write_text("postmaster: alice\n")
    settings: dict[str, Any] = {"delivery": {"aliases": str(aliases)}, "delivery.catch_all": {'"example.org"': "bob"}}
    with server_of(site, **settings) as server:
        with RawLMTP(site.folder / "lmtp") as client:
            client.hello()
            assert client.deliver(MESSAGE, "Postmaster", "typo@example.org", "typo")[0][:3] == b"250"
            assert client.deliver(MESSAGE, "team@example.net")[0][:9] == b"550 5.1.1"
            aliases.write_text("postmaster: alice\nteam@example.net: alice, bob, |program\n")
            assert client.deliver(MESSAGE, "team@example.net")[0][:3] == b"250"
        assert server.wait_for("delivery.aliases.note")["note"].startswith("2: '|program' would run a program")
        for name, password, count in ("alice", "wonderland", 2), ("bob", "builder", 2):
            with RawPOP3(server.pop3_port) as pop3:
                pop3.login(name, password)
                assert pop3.ok(b"STAT").split()[1] == b"%d" % count


def test_a_full_maildrop_is_refused_until_mail_is_deleted_and_its_user_is_warned(site: Site) -> None:
    big = b"Subject: big\r\n\r\n" + b"x" * 70 * 400 + b"\r\n"
    with server_of(site, quota={"octets": 30_000}) as server, RawLMTP(site.folder / "lmtp") as client:
        client.hello()
        assert client.deliver(big, "alice")[0][:3] == b"250"
        assert client.deliver(big, "alice")[0][:9] == b"452 4.2.2"
        client.ok(b"MAIL FROM:<>")
        assert client.command(b"RCPT TO:<alice>")[:3] == b"250"  # nobody has said how big it is
        client.ok(b"RSET")
        client.ok(b"MAIL FROM:<> SIZE=20000")
        assert client.command(b"RCPT TO:<alice>")[:9] == b"452 4.2.2"
        client.ok(b"RSET")
        server.wait_for("delivery.quota")
        with RawPOP3(server.pop3_port) as pop3:
            pop3.login("alice", "wonderland")
            assert b"Subject: Your maildrop is 94 % full" in pop3.fetch(b"RETR 2")
            pop3.ok(b"DELE 1")
            pop3.quit()
        assert client.deliver(big, "alice")[0][:3] == b"250"
