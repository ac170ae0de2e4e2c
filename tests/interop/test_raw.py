"""Every octet of every message, by a client of our own that keeps them all."""

from __future__ import annotations

import pytest

from tests.corpus import CORPUS, SMALL, canonical, top
from tests.rawpop3 import RawPOP3, patient
from tests.servers import Account, Server, Site

ROADS = ("plain", "stls", "pop3s")


@pytest.fixture(scope="module")
def reader(site: Site) -> Account:
    """Whose maildrop is the corpus, which the tests of this module only read."""
    return site.account("reader", messages=CORPUS.values())


def connect(server: Server, road: str) -> RawPOP3:
    if road == "pop3s":
        return RawPOP3(server.pop3s_port, tls=server.site.client_tls())
    client = RawPOP3(server.pop3_port)
    if road == "stls":
        client.ok(b"STLS")
        client.start_tls(server.site.client_tls())
    return client


def enter(server: Server, account: Account, road: str = "plain") -> RawPOP3:
    return connect(server, road).login(account.name, account.password)


@pytest.mark.parametrize("road", ROADS)
def test_every_message_arrives_as_it_was_delivered(server: Server, reader: Account, road: str) -> None:
    with enter(server, reader, road) as client:
        for number, (name, message) in enumerate(CORPUS.items(), 1):
            assert client.fetch(b"RETR %d" % number) == canonical(message), name
        assert client.quit().startswith(b"+OK")


@pytest.mark.parametrize("road", ROADS)
def test_all_of_them_arrive_when_they_are_asked_for_at_once(server: Server, reader: Account, road: str) -> None:
    with enter(server, reader, road) as client:
        bodies = client.pipeline([b"RETR %d" % number for number in range(1, len(CORPUS) + 1)])
        for (name, message), body in zip(CORPUS.items(), bodies, strict=True):
            assert body == canonical(message), name


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("count", [0, 1, 2, 7, 1_000_000])
def test_top_gives_the_headers_and_so_many_lines(server: Server, reader: Account, road: str, count: int) -> None:
    numbered = [(number, name) for number, name in enumerate(CORPUS, 1) if name in SMALL]
    with enter(server, reader, road) as client:
        bodies = client.pipeline([b"TOP %d %d" % (number, count) for number, _name in numbered])
        for (_number, name), body in zip(numbered, bodies, strict=True):
            assert body == top(CORPUS[name], count), name


def test_list_and_stat_count_the_octets_that_retr_sends(server: Server, reader: Account) -> None:
    octets = [len(canonical(message)) for message in CORPUS.values()]
    with enter(server, reader) as client:
        assert client.listing(b"LIST") == [(number, b"%d" % each) for number, each in enumerate(octets, 1)]
        assert client.ok(b"STAT") == b"+OK %d %d\r\n" % (len(octets), sum(octets))
        for number, each in enumerate(octets, 1):
            assert client.ok(b"LIST %d" % number).split() == [b"+OK", b"%d" % number, b"%d" % each]


def test_unique_ids_and_their_order_outlive_moves_the_index_and_the_server(account: Account) -> None:
    messages = [b"Subject: %d\n\n%d\n" % (number, number) for number in range(20)]

    def listing(server: Server, alice: Account) -> list[tuple[int, bytes]]:
        with enter(server, alice) as client:
            unique = client.listing(b"UIDL")
            for number, message in enumerate(messages, 1):
                assert client.fetch(b"RETR %d" % number) == canonical(message)
            client.quit()
            return unique

    with Site() as site:
        alice = site.account("alice", messages=messages)
        with Server(site) as first:
            told = listing(first, alice)
            assert len({uidl for _number, uidl in told}) == len(messages)
            for path in alice.files()[::2]:
                path.rename(alice.maildir / "cur" / f"{path.name}:2,")
            assert listing(first, alice) == told
            for path in (alice.maildir / "cur").iterdir():
                path.rename(path.with_name(f"{path.name}FRS"))
            assert listing(first, alice) == told
        for path in alice.maildir.iterdir():
            if path.is_file():
                path.unlink()
        with Server(site, workers=2) as second:
            assert listing(second, alice) == told


def test_quit_removes_what_was_deleted_and_nothing_else(server: Server, account: Account) -> None:
    messages = [b"Subject: %d\n\n" % number for number in range(10)]
    for message in messages:
        account.deliver(message)
    with enter(server, account) as client:
        for number in (1, 4, 10):
            client.ok(b"DELE %d" % number)
    with patient(server.pop3_port, account.name, account.password) as client:  # the first had gone without QUIT
        assert client.ok(b"STAT").startswith(b"+OK 10 ")
        for number in (2, 3, 9):
            client.ok(b"DELE %d" % number)
        client.ok(b"RSET")
        for number in (1, 4, 10):
            client.ok(b"DELE %d" % number)
        assert account.stored() == messages
        client.quit()
        assert account.stored() == [message for number, message in enumerate(messages, 1) if number not in (1, 4, 10)]


def test_a_message_that_arrives_during_a_session_belongs_to_the_next(server: Server, account: Account) -> None:
    account.deliver(b"Subject: first\n\n")
    with enter(server, account) as client:
        account.deliver(b"Subject: second\n\n")
        assert client.ok(b"STAT").startswith(b"+OK 1 ")
        client.ok(b"DELE 1")
        client.quit()
    with enter(server, account) as client:
        assert client.fetch(b"RETR 1") == b"Subject: second\r\n\r\n"


def test_a_second_session_waits_for_the_first(server: Server, account: Account) -> None:
    with enter(server, account) as first:
        with connect(server, "pop3s") as second:
            second.ok(b"USER " + account.name.encode())
            assert second.command(b"PASS " + account.password.encode()).startswith(b"-ERR [IN-USE] ")
        first.quit()
    enter(server, account).quit()


def test_who_has_quit_may_come_back_at_once_to_another_worker(site: Site, account: Account) -> None:
    account.deliver(CORPUS["usual"])
    with Server(site, workers=2) as server:
        for _ in range(100):
            enter(server, account).quit()


@pytest.mark.parametrize("store", [{"io": "threads"}, {"seen": "retr"}], ids=str)
def test_every_message_arrives_from_a_store_set_otherwise(store: dict[str, str]) -> None:
    with Site() as site, Server(site, store=store) as server:
        alice = site.account("alice", messages=CORPUS.values())
        with enter(server, alice) as client:
            bodies = client.pipeline([b"RETR %d" % number for number in range(1, len(CORPUS) + 1)])
            assert bodies == [canonical(message) for message in CORPUS.values()]
            client.quit()
        seen = [path for path in (alice.maildir / "cur").iterdir() if path.name.endswith(":2,S")]
        assert len(seen) == (len(CORPUS) if "seen" in store else 0)


def test_commands_behind_stls_in_the_clear_are_dropped(server: Server, account: Account) -> None:
    with connect(server, "plain") as client:
        client.send(b"USER %b\r\nSTLS\r\nUSER injected\r\nNOOP\r\n" % account.name.encode())
        assert client.line().startswith(b"+OK")
        assert client.line().startswith(b"+OK")
        client.start_tls(server.site.client_tls())
        assert client.command(b"PASS " + account.password.encode()).startswith(b"-ERR")
        client.login(account.name, account.password)
        assert b"STLS" not in client.fetch(b"CAPA").split()
