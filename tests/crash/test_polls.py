"""Deliveries while the user's programs look: an open session sees none of them, the next one all, each of them once.

``CRASH_RUNS`` makes it long: 10,000 deliveries, and a poll every second.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.crash.receiving import RECEIVING, TRACE, address
from tests.rawlmtp import RawLMTP
from tests.rawpop3 import RawPOP3, patient
from tests.servers import Server, Site

LONG = "CRASH_RUNS" in os.environ
DELIVERIES = 10_000 if LONG else 500
SECONDS = 1.0 if LONG else 0.0
"""Between two polls."""
FEEDERS = 4


@pytest.fixture(params=[1, 2], ids=["one-process", "two-workers"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Site() as site:
        site.account("alice", messages=[b"Subject: %d\n\nold\n" % number for number in range(3)])
        with Server(site, workers=request.param, **RECEIVING) as server:
            yield server


def deliver(server: Server, numbers: range) -> None:
    """By one connection, small messages with these subjects, all of which must be accepted."""
    with RawLMTP(server.ports["lmtp"]).hello() as mailer:
        to = address(server.site.accounts[0])
        for number in numbers:
            assert mailer.deliver(b"Subject: %d\n\nnew\n" % number, to)[0].startswith(b"250")
        mailer.quit()


def test_an_open_session_sees_no_delivery_and_the_next_one_sees_all(server: Server) -> None:
    alice = server.site.accounts[0]

    def seen(client: RawPOP3) -> list[object]:
        return [client.ok(b"STAT"), client.listing(b"LIST"), client.listing(b"UIDL")]

    with RawPOP3(server.pop3_port) as client:
        client.login(alice.name, alice.password)
        client.fetch(b"RETR 2")
        before = seen(client)
        deliver(server, range(3, 6))
        assert seen(client) == before
        for command in (b"RETR 4", b"DELE 4", b"TOP 4 0", b"LIST 4", b"UIDL 4"):
            assert client.command(command).startswith(b"-ERR")
        client.ok(b"DELE 1")
        client.ok(b"RSET")
        assert seen(client) == before
        client.ok(b"DELE 3")
        client.quit()
    with patient(server.pop3_port, alice.name, alice.password) as client:
        uidls = [uidl for _, uidl in client.listing(b"UIDL")]
        assert uidls[:2] == [uidl for _, uidl in before[2]][:2]
        assert len(set(uidls)) == 5
        assert [subject(client.fetch(b"RETR %d" % number)) for number in range(3, 6)] == [3, 4, 5]
        client.quit()


@pytest.mark.parametrize("deletes", [False, True], ids=["leaves-all", "deletes-as-it-goes"])
def test_deliveries_under_polls_are_neither_lost_nor_doubled(server: Server, deletes: bool) -> None:
    seen: dict[bytes, int] = {}
    with ThreadPoolExecutor(FEEDERS) as threads:
        pieces = [range(3 + at, 3 + DELIVERIES, FEEDERS) for at in range(FEEDERS)]
        feeding = [threads.submit(deliver, server, piece) for piece in pieces]
        polls = 0
        while not all(each.done() for each in feeding):
            poll(server, seen, deletes)
            polls += 1
            threading.Event().wait(SECONDS)
        for each in feeding:
            each.result()
    poll(server, seen, deletes)
    assert polls > 1
    assert sorted(seen.values()) == list(range(3 + DELIVERIES))
    with patient(server.pop3_port, server.site.accounts[0].name, server.site.accounts[0].password) as client:
        assert {uidl for _, uidl in client.listing(b"UIDL")} == (set() if deletes else set(seen))
        client.quit()


def poll(server: Server, seen: dict[bytes, int], deletes: bool) -> None:
    """Retrieve what is new, as mail programs do; and delete it, or leave it."""
    alice = server.site.accounts[0]
    with patient(server.pop3_port, alice.name, alice.password) as client:
        rows = client.listing(b"UIDL")
        uidls = [uidl for _, uidl in rows]
        assert len(set(uidls)) == len(uidls)
        assert deletes or set(seen) <= set(uidls), "lost"
        assert not (deletes and set(seen) & set(uidls)), "came back"
        numbers = [number for number, uidl in rows if uidl not in seen]
        for at in range(0, len(numbers), 100):
            piece = numbers[at : at + 100]
            bodies = client.pipeline([b"RETR %d" % number for number in piece])
            seen.update((uidls[number - 1], subject(body)) for number, body in zip(piece, bodies, strict=True))
        if deletes:
            for number in numbers:
                client.ok(b"DELE %d" % number)
        client.quit()


def subject(message: bytes) -> int:
    """The number in a message, which must be whole."""
    text = TRACE.sub(b"", message, 1)
    assert text.startswith(b"Subject: "), message
    number = text[9:].partition(b"\r\n")[0]
    assert text in {b"Subject: %b\r\n\r\n%b\r\n" % (number, kind) for kind in (b"old", b"new")}, message
    return int(number)
