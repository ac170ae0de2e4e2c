"""Clients that send much: all that is within the rules is answered, in order, and nobody else waits for it."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

import pytest

from tests.abuse.conftest import Serve
from tests.abuse.measures import MIB, Growth
from tests.rawpop3 import RawPOP3
from tests.servers import Site

MANY: Final = 20_000
"""Messages of the largest maildrop."""


def test_a_megabyte_without_a_line_end_gets_one_line_and_the_end(serve: Serve) -> None:
    server = serve()
    growth = Growth(server.pid)
    with RawPOP3(server.pop3_port) as client:
        send_in_vain(client, b"x" * MIB)
        assert client.line() == b"-ERR line too long\r\n"
        assert closed(client)
    assert growth.octets < MIB


def test_a_megabyte_without_a_line_end_gets_the_same_within_a_session(site: Site, serve: Serve) -> None:
    alice = site.account("alice")
    server = serve()
    with RawPOP3(server.pop3s_port, tls=site.client_tls()).login(alice.name, alice.password) as client:
        client.send(b"RETR " + b"1" * 1000)
        assert client.line() == b"-ERR line too long\r\n"
        assert closed(client)


def test_an_endless_sasl_response_gets_one_line_and_the_end(serve: Serve) -> None:
    server = serve()
    growth = Growth(server.pid)
    with RawPOP3(server.pop3_port) as client:
        assert client.command(b"AUTH PLAIN") == b"+ \r\n"
        send_in_vain(client, b"A" * MIB)
        assert client.line() == b"-ERR line too long\r\n"
        assert closed(client)
    assert growth.octets < MIB


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_ten_thousand_pipelined_commands_are_answered_in_order(site: Site, serve: Serve, tls: bool) -> None:
    alice = site.account("alice", messages=[b"%d\n" % number for number in range(100)])
    server = serve()
    port, context = (server.pop3s_port, site.client_tls()) if tls else (server.pop3_port, None)
    with RawPOP3(port, tls=context).login(alice.name, alice.password) as client:
        rows = dict(client.listing(b"UIDL"))
        client.send((b"NOOP\r\n" * 99 + b"UIDL 1\r\n" + b"NOOP\r\n" * 99 + b"UIDL 2\r\n") * 50 + b"QUIT\r\n")
        for _ in range(50):
            for number in (1, 2):
                assert [client.line() for _ in range(99)] == [b"+OK\r\n"] * 99
                assert client.line() == b"+OK %d %b\r\n" % (number, rows[number])
        assert client.line().startswith(b"+OK")
        assert client.rest() == b""


def test_what_is_marked_and_unmarked_without_end_costs_nothing_and_deletes_nothing(site: Site, serve: Serve) -> None:
    alice = site.account("alice", messages=[b"%d\n" % number for number in range(1000)])
    server = serve()
    with RawPOP3(server.pop3_port).login(alice.name, alice.password) as client:
        everything = client.ok(b"STAT")
        growth = Growth(server.pid)
        for _ in range(20):
            client.send(b"".join(b"DELE %d\r\n" % number for number in range(1, 1001)) + b"STAT\r\nRSET\r\n")
            assert all(client.line().startswith(b"+OK") for _ in range(1000))
            assert client.line() == b"+OK 0 0\r\n"
            assert client.line().startswith(b"+OK")
        assert growth.octets < MIB
        assert client.ok(b"STAT") == everything
        assert client.quit().startswith(b"+OK")
    assert len(alice.files()) == 1000


def test_a_maildrop_of_twenty_thousand_messages_is_opened_and_listed_beside_other_sessions(
    site: Site, serve: Serve
) -> None:
    large, small = site.account("large"), site.account("small", messages=[b"hello\n"])
    for number in range(MANY):  # with its size in its name, as Maildir++ has it: nothing needs to be read
        os.close(os.open(f"{large.maildir}/cur/{1_700_000_000 + number}.M1P1.h,S=0,W=0:2,", os.O_CREAT | os.O_WRONLY))
    server = serve()

    with (
        RawPOP3(server.pop3_port) as client,
        RawPOP3(server.pop3_port).login(small.name, small.password) as other,
        ThreadPoolExecutor(1) as threads,
    ):

        def answered_until(done: Future[Any]) -> int:
            count = 0
            while not done.done():
                other.ok(b"NOOP")
                count += 1
            done.result()
            return count

        # A server that did one of these in one turn would answer one NOOP meanwhile, at that turn's end.
        assert answered_until(threads.submit(client.login, large.name, large.password)) > 10
        assert answered_until(threads.submit(client.fetch, b"LIST")) > 10
        assert answered_until(threads.submit(client.fetch, b"UIDL")) > 10
        assert client.ok(b"STAT") == b"+OK %d 0\r\n" % MANY
        other.quit()


@pytest.mark.parametrize("command", [b"TOP 1 0", b"RETR 1"])
def test_who_pipelines_lets_others_between_his_commands(site: Site, serve: Serve, command: bytes) -> None:
    greedy, small = site.account("greedy", messages=[b"a: b\n\nc\n"]), site.account("small")
    server = serve()

    def flood() -> None:
        client.send((command + b"\r\n") * 5000 + b"QUIT\r\n")
        client.rest()

    with (
        RawPOP3(server.pop3_port).login(greedy.name, greedy.password) as client,
        RawPOP3(server.pop3_port).login(small.name, small.password) as other,
        ThreadPoolExecutor(1) as threads,
    ):
        done, count = threads.submit(flood), 0
        while not done.done():
            other.ok(b"NOOP")
            count += 1
        done.result()
        # A server that ran what one read brings in one turn would answer one NOOP meanwhile.
        assert count > 10
        other.quit()


def send_in_vain(client: RawPOP3, data: bytes) -> None:
    """Send what the server need not read: it may have closed in the middle of it."""
    with suppress(ConnectionError):
        client.send(data)


def closed(client: RawPOP3) -> bool:
    """Whether the server closed and said nothing more; it may drop what it had not read, which TCP tells as a reset."""
    try:
        return client.rest() == b""
    except ConnectionError:
        return True
