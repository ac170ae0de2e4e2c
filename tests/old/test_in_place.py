"""The Maildir stays where it is, and our server reads the list of the one before: no client fetches anything again, here or back there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.corpus import canonical
from tests.old.couriers import Courier
from tests.old.dovecots import Dovecot, DovecotUser
from tests.old.front import Front
from tests.old.maildrops import MESSAGES, SERVED, body, count, delete, put, vanish
from tests.old.readers import Keeper, fetched, readers
from tests.servers import Account, Server, Site

FORMATS: Final[Mapping[str, str]] = {
    "default": "%08Xu%08Xv",
    "cyrus": "%v.%u",
    "filename": "%f",
    "guid": "%g",
    "md5-of-filename": "%Mf",
    "uid": "%u",
    "old": "%v-%u",
}
"""Every `pop3_uidl_format` in the wild that Dovecot serves from a Maildir."""

NEW: Final = [body(number) for number in (1_000_001, 1_000_002, 1_000_003)]
LATER: Final = body(1_000_004)


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    dovecot = Dovecot()
    for name, uidl_format in {**FORMATS, "clients": FORMATS["default"], "given": FORMATS["default"]}.items():
        dovecot.user(name, uidl_format)
    dovecot.start()
    yield dovecot
    dovecot.close()


def ours(site: Site, user: DovecotUser | Account, **store: str) -> Server:
    """Our server for this one's Maildir."""
    site.account(user.name, user.password, extra=f"userdb_mail=maildir:{user.maildir}")
    return Server(site, store=store)


@pytest.mark.parametrize("name", FORMATS)
def test_dovecots_unique_ids_stay_whatever_their_format_and_the_way_back_is_open(
    dovecot: Dovecot, front: Front, site: Site, name: str
) -> None:
    user = dovecot.users[name]
    put(user.maildir, [*SERVED[:6], *map(body, range(14))])
    dovecot.take(user.home)
    client = Keeper(front, user)
    front.behind = dovecot.port
    delete(front, user, every=5)
    vanish(user.maildir, every=7)
    assert len(client()) == 14
    old = client.uidls
    with ours(site, user, former=f"dovecot:{FORMATS[name]}", unique_ids="dovecot") as server:
        front.behind = server.pop3_port
        assert client() == []
        assert client.uidls == old
        put(user.maildir, NEW, since=1_700_000_000)
        assert client() == list(map(canonical, NEW))
        new = client.uidls
    dovecot.take(user.home)
    front.behind = dovecot.port
    assert client() == []
    assert client.uidls == new


@pytest.mark.parametrize("kind", ["dovecot", "courier"])
def test_every_client_fetches_nothing_then_what_is_new_and_nothing_when_it_is_back(
    request: pytest.FixtureRequest, kind: str, front: Front, site: Site, tmp_path: Path
) -> None:
    old: Dovecot | Courier = request.getfixturevalue(kind)
    user: Any = old.users["clients"] if isinstance(old, Dovecot) else old.user("clients")
    put(user.maildir, [*SERVED, *map(body, range(MESSAGES - len(SERVED)))])
    taken(old, user)
    front.behind = old.port
    delete(front, user, every=5)
    vanish(user.maildir, every=7)
    clients = readers(front, user, tmp_path)
    there = count(user.maildir)
    assert {name: len(client()) for name, client in clients.items()} == dict.fromkeys(clients, there)
    with ours(site, user, former=kind, unique_ids=kind) as server:
        front.behind = server.pop3_port
        assert fetched(clients) == []
        put(user.maildir, NEW, since=1_700_000_000)
        assert fetched(clients) == NEW
    taken(old, user)
    front.behind = old.port
    assert fetched(clients) == []
    old.deliver(user, LATER)
    assert fetched(clients) == [LATER]
    with Server(site, store={"former": kind, "unique_ids": kind}) as server:
        front.behind = server.pop3_port
        assert fetched(clients) == []


def taken(old: Dovecot | Courier, user: Any) -> None:
    """Give the server of before its files; Courier's is the tests' own user, as ours may be."""
    if isinstance(old, Dovecot):
        old.take(user.home)


def test_with_ids_of_our_own_too_what_dovecot_lists_and_serves_meanwhile_keeps_its_ids(
    dovecot: Dovecot, front: Front, site: Site
) -> None:
    user = dovecot.users["given"]
    put(user.maildir, [body(number) for number in range(10)])
    dovecot.take(user.home)
    client = Keeper(front, user)
    front.behind = dovecot.port
    assert len(client()) == 10
    with ours(site, user, former="dovecot") as server:
        front.behind = server.pop3_port
        assert client() == []
        front.behind = dovecot.port  # which serves on until the day of the switch
        dovecot.deliver(user, LATER)
        assert client() == [canonical(LATER)]
        front.behind = server.pop3_port
        assert client() == []
        put(user.maildir, NEW, since=1_700_000_000)
        assert client() == list(map(canonical, NEW))
