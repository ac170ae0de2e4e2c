"""Deliveries that all fit a quota, but not together: just as many pass as there is room for, in one process and in several."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from random import Random

import pytest

from tests.crash.receiving import RECEIVING, TRACE, address
from tests.rawlmtp import RawLMTP, stuffed
from tests.rawpop3 import patient
from tests.servers import Account, Server, Site

AT_ONCE = 8
"""Deliveries; with two workers, some of each."""

ROUNDS = 12
ROOM = 3
OVER = b"452 4.2.2 "


@pytest.fixture(params=[1, 2], ids=["one-process", "two-workers"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Site() as site:
        site.account("alice", extra=f"userdb_quota_message_count={ROOM}")
        site.account("bob", extra="userdb_quota_storage_size=100k")
        with Server(site, workers=request.param, **RECEIVING) as server:
            yield server


def size(account: Account) -> list[int]:
    """What maildirsize says: octets and messages."""
    rows = (account.maildir / "maildirsize").read_text().splitlines()[1:]
    return [sum(int(row.split()[at]) for row in rows) for at in range(2)]


def race(server: Server, message: bytes, account: Account) -> list[bytes]:
    """The answers to deliveries whose ends are sent at once."""
    with ExitStack() as stack:
        mailers = [stack.enter_context(RawLMTP(server.ports["lmtp"])).hello() for _ in range(AT_ONCE)]
        data = stuffed(message)
        for mailer in mailers:
            assert mailer.begin([address(account)])[0].startswith(b"250"), "there is room for each"
            mailer.ok(b"DATA")
            mailer.send(data[:-3])
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return list(threads.map(lambda mailer: mailer.command(b"."), mailers))


@pytest.mark.parametrize(("name", "octets"), [("alice", 100), ("bob", 30_000)], ids=["messages", "octets"])
def test_no_more_pass_than_there_is_room_for_and_the_count_stays_true(server: Server, name: str, octets: int) -> None:
    account = next(each for each in server.site.accounts if each.name == name)
    random = Random(name)
    message = b"Subject: edge\r\n\r\n" + b"x" * octets + b"\r\n"
    there = 0
    for _ in range(ROUNDS):
        replies = race(server, message, account)
        passed = sum(reply.startswith(b"250") for reply in replies)
        assert passed == ROOM - there
        assert sum(reply.startswith(OVER) for reply in replies) == AT_ONCE - passed
        stored = account.stored()
        assert [TRACE.sub(b"", each, 1) for each in stored] == [message] * ROOM
        assert size(account) == [sum(map(len, stored)), ROOM]
        there = random.randrange(ROOM)
        with patient(server.pop3_port, account.name, account.password) as client:
            for number in range(1, ROOM - there + 1):
                client.ok(b"DELE %d" % number)
            client.quit()
        assert size(account) == [sum(map(len, account.stored())), there]
