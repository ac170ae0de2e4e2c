"""The mail lies elsewhere, and is moved: no client fetches anything again, here or back there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from smtplib import SMTPException

import pytest

from tests.corpus import canonical
from tests.old.cyruses import FORMATS, Cyrus
from tests.old.dovecots import MASTER, MASTER_PASSWORD, Dovecot
from tests.old.front import Front
from tests.old.maildrops import MESSAGES, SERVED, body, delete
from tests.old.moves import command, configured, moved
from tests.old.readers import Keeper, fetched, readers
from tests.servers import Server, Site

NEW = [body(number) for number in (1_000_001, 1_000_002, 1_000_003)]

PLACES = {
    "mdbox": ("%08Xu%08Xv", "mdbox:~/mdbox"),
    "sdbox": ("%v.%u", "sdbox:~/sdbox"),
    "mbox": ("%m", "mbox:~/mail:INBOX=~/inbox"),
    "maildir": ("%f", "maildir:~/Maildir"),
}
"""Formats of mail that a running Dovecot has, each with a format of unique-ids."""


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    dovecot = Dovecot()
    for name, (uidl_format, mail) in PLACES.items():
        dovecot.user(name, uidl_format, mail)
    dovecot.start()
    yield dovecot
    dovecot.close()


@pytest.mark.parametrize("name", PLACES)
def test_a_running_dovecot_gives_its_mail_whatever_its_format(
    dovecot: Dovecot, front: Front, site: Site, name: str
) -> None:
    user = dovecot.users[name]
    for message in [*SERVED[:6], *map(body, range(14))]:
        dovecot.deliver(user, message)
    client = Keeper(front, user)
    front.behind = dovecot.port
    delete(front, user, every=5)
    assert len(client()) == 16
    old = client.uidls
    account = site.account(user.name, user.password)
    place = f"pop3://127.0.0.1:{dovecot.port}?imap=127.0.0.1:{dovecot.imap_port}"
    moved(site, place, [user])
    moved(site, place, [user])
    with Server(site) as server:
        front.behind = server.pop3_port
        assert client() == []
        assert client.uidls == old
        for message in NEW:
            account.deliver(message)
        assert client() == list(map(canonical, NEW))
        front.behind = dovecot.port
        assert client() == []


def test_a_master_user_moves_everybody_without_their_passwords(dovecot: Dovecot, front: Front, site: Site) -> None:
    user = dovecot.users["mdbox"]
    client = Keeper(front, user)
    front.behind = dovecot.port
    client()
    old = client.uidls
    site.account(user.name, user.password)
    site.hide(MASTER, MASTER_PASSWORD)
    names = site.folder / "names"
    names.write_text(f"{user.name}\n")
    master = site.folder / "master"
    master.touch(mode=0o600)
    master.write_text(f"{MASTER}:{MASTER_PASSWORD}\n")
    place = f"pop3://127.0.0.1:{dovecot.port}?imap=127.0.0.1:{dovecot.imap_port}"
    options = ("--users", names, "--master", master, "--state", site.folder / "moves")
    told = command(configured(site), "migrate", "mail", place, *options)
    assert MASTER_PASSWORD.encode() not in told.stdout + told.stderr
    with Server(site) as server:
        front.behind = server.pop3_port
        assert client() == []
        assert client.uidls == old


def fill(cyrus: Cyrus, number: int, count: int) -> None:
    """Deliver to one of its users what it takes of the corpus, and short messages up to so many."""
    taken = 0
    for message in SERVED:
        try:
            cyrus.deliver(cyrus.users[number], message)
        except SMTPException:
            continue  # it refuses NULs, and headers that are none
        taken += 1
    for each in range(count - taken):
        cyrus.deliver(cyrus.users[number], body(each))


def test_every_client_of_a_cyrus_fetches_nothing_then_what_is_new_and_nothing_when_it_is_back(
    front: Front, site: Site, tmp_path: Path
) -> None:
    with Cyrus(["clients"]) as cyrus:
        (user,) = cyrus.users
        fill(cyrus, 0, MESSAGES)
        front.behind = cyrus.port
        delete(front, user, every=5)
        clients = readers(front, user, tmp_path)
        there = len(clients["keeper"]())
        assert {len(clients[name]()) for name in clients.keys() - {"keeper"}} == {there}
        account = site.account(user.name, user.password)
        moved(site, f"cyrus:{cyrus.folder}/spool", [user])
        with Server(site) as server:
            front.behind = server.pop3_port
            assert fetched(clients) == []
            for message in NEW:
                account.deliver(message)
            assert fetched(clients) == NEW
            cyrus.deliver(user, body(number := 1_000_004))
            moved(site, f"cyrus:{cyrus.folder}/spool", [user])
            assert [b"number %d" % number in message for message in fetched(clients)] == [True]
        front.behind = cyrus.port
        assert fetched(clients) == []


@pytest.mark.parametrize("uidl_format", FORMATS)
def test_every_format_of_cyrus_unique_ids_stays_from_its_spool_and_over_the_network(
    front: Front, site: Site, uidl_format: str
) -> None:
    with Cyrus(["by-spool", "by-network"], uidl_format) as cyrus:
        front.behind = cyrus.port
        clients = [Keeper(front, user) for user in cyrus.users]
        places = (
            f"cyrus:{cyrus.folder}/spool?uidl={uidl_format}",
            f"pop3://127.0.0.1:{cyrus.port}?imap=127.0.0.1:{cyrus.imap_port}",
        )
        for user, client, place in zip(cyrus.users, clients, places, strict=True):
            for number in range(6):
                cyrus.deliver(user, body(number))
            delete(front, user, every=4)
            assert len(client()) == 5
            site.account(user.name, user.password)
            moved(site, place, [user])
    old = [client.uidls for client in clients]
    with Server(site) as server:
        front.behind = server.pop3_port
        assert [client() for client in clients] == [[], []]
        assert [client.uidls for client in clients] == old
