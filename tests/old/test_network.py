"""Mail of a real Dovecot, in each form that it has on its disk, of a real Courier and Cyrus, and of our own server, over the network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from email.utils import formatdate
from imaplib import IMAP4
from typing import Final

import pytest

from mailserver.migration.network import Network
from mailserver.migration.places import Login, open_source, read_place
from mailserver.migration.source import Original
from tests.corpus import SMALL, canonical
from tests.old.couriers import Courier
from tests.old.cyruses import ADMIN, ADMIN_PASSWORD, Cyrus
from tests.old.dovecots import MASTER, MASTER_PASSWORD, Dovecot, DovecotUser
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site

MAILS: Final = {"maildir": "maildir:~/Maildir", "mdbox": "mdbox:~/mdbox", "sdbox": "sdbox:~/sdbox"}
FORMATS: Final = {"maildir": "%v.%u", "mdbox": "%08Xu%08Xv", "sdbox": "%g"}
SERVED: Final = [message for message in SMALL.values() if message and not message.startswith(b".")]
"""Without those that Dovecot cannot serve, as it does not stuff a dot at their beginning."""
DATED: Final = 1_600_000_000


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    dovecot = Dovecot()
    for kind, mail in MAILS.items():
        dovecot.user(kind, FORMATS[kind], mail)
    dovecot.start()
    yield dovecot
    dovecot.close()


def imap(dovecot: Dovecot, user: DovecotUser) -> IMAP4:
    client = IMAP4("127.0.0.1", dovecot.imap_port)
    client.login(user.name, user.password)
    client.select("INBOX")
    return client


def reading(place: str, login: Login) -> tuple[Network, Sequence[Original], list[bytes]]:
    source = open_source(read_place(place), login, None)  # type: ignore[arg-type]  # a server needs no formers
    assert isinstance(source, Network)
    with closing(source):
        found = source.messages()
        return source, found, [b"".join(source.read(each)) for each in found]


def as_stored(message: bytes) -> bytes:
    """What Dovecot's own delivery makes of a message: it takes a CR from each end of a line that has one too many."""
    return canonical(re.sub(rb"\r\r\n|\r\Z", b"\n", message))


@pytest.mark.parametrize("kind", MAILS)
def test_dovecot_s_mail_comes_whole_with_unique_ids_dates_and_flags_and_nothing_changes_there(
    dovecot: Dovecot, kind: str
) -> None:
    user = dovecot.users[kind]
    for message in SERVED:
        dovecot.deliver(user, message)
    for hole in (3, 7, len(SERVED)):
        dovecot.doveadm("expunge", "-u", user.name, "mailbox", "INBOX", "uid", str(hole))
    expected = [as_stored(message) for uid, message in enumerate(SERVED, 1) if uid not in {3, 7, len(SERVED)}]
    with imap(dovecot, user) as client:
        for number in range(3):  # of one size, with dates in another order
            date = f'"{formatdate(DATED - number * 86400)[5:-6].replace(" ", "-", 2)} +0000"'
            flags = r"(\Seen \Flagged)" if number == 1 else "()"
            client.append("INBOX", flags, date, b"Subject: %d\r\n\r\ntext\r\n" % number)
            expected.append(b"Subject: %d\r\n\r\ntext\r\n" % number)
        client.store("2,5", "+FLAGS", r"(\Seen)")
    place = f"pop3://127.0.0.1:{dovecot.port}?imap=127.0.0.1:{dovecot.imap_port}"
    source, found, contents = reading(place, Login(user.name, MASTER_PASSWORD, MASTER))
    assert contents == expected
    assert source.notes == []
    count = len(expected)
    assert [number for number, each in enumerate(found, 1) if each.seen] == [2, 5, count - 1]
    assert [each.received for each in found[-3:]] == [DATED, DATED - 86400, DATED - 2 * 86400]
    with RawPOP3(dovecot.port).login(user.name, user.password) as raw:
        assert [each.uidl for each in found] == [uidl for _, uidl in raw.listing(b"UIDL")]
        raw.quit()
    assert [each.seen for each in reading(place, Login(user.name, user.password))[1]] == [each.seen for each in found]


def test_courier_s_mail_comes_as_it_sends_it(courier: Courier) -> None:
    user = courier.user("read")
    for message in SERVED:
        user.deliver(message)
    with RawPOP3(courier.port).login(user.name, user.password) as raw:
        uidls = [uidl for _, uidl in raw.listing(b"UIDL")]
        raw.quit()
    source, found, contents = reading(f"pop3://127.0.0.1:{courier.port}", Login(user.name, user.password))
    assert [each.uidl for each in found] == uidls
    assert sorted(contents) == sorted(
        message.removesuffix(b"\n").replace(b"\n", b"\r\n") + b"\r\n" for message in SERVED
    )
    assert len(source.notes) == 1  # Courier counts wrong where a CR is the last octet of a message
    assert "has 3 octets, and not 0" in source.notes[0]
    assert not any(path.name.endswith("S") for path in (user.maildir / "cur").iterdir())


def test_cyrus_s_mail_comes_whole_by_its_administrator() -> None:
    with Cyrus(["read"]) as cyrus:
        user = cyrus.users[0]
        for number in range(4):
            cyrus.deliver(user, b"From: a@example.org\nSubject: %d\n\n.text\n" % number)
        with cyrus.imap(user.name, user.password) as client:
            client.select("INBOX")
            client.store("2", "+FLAGS", r"(\Deleted)")
            client.expunge()
            client.store("3", "+FLAGS", r"(\Seen)")
        with RawPOP3(cyrus.port).login(user.name, user.password) as raw:
            uidls = [uidl for _, uidl in raw.listing(b"UIDL")]
            raw.quit()
        place = f"pop3://127.0.0.1:{cyrus.port}?imap=127.0.0.1:{cyrus.imap_port}"
        source, found, contents = reading(place, Login(user.name, ADMIN_PASSWORD, ADMIN))
        assert [each.uidl for each in found] == uidls
        assert [
            (each.seen, b"Subject: %d\r\n" % number in text)
            for each, text, number in zip(found, contents, (0, 2, 3), strict=True)
        ] == [(False, True), (False, True), (True, True)]
        assert source.notes == []


def test_our_own_mail_comes_whole_through_tls_that_is_verified(site: Site) -> None:
    user = site.account("read", messages=SMALL.values())
    with Server(site) as server:
        options = f"ca={site.certificate}"
        for place in (
            f"pop3://localhost:{server.pop3_port}?{options}",
            f"pop3s://localhost:{server.pop3s_port}?{options}",
        ):
            source, found, contents = reading(place, Login(user.name, user.password))
            assert contents == [canonical(message) for message in SMALL.values()]
            assert [each.octets for each in found] == [len(each) for each in contents]
            assert source.notes == []
