"""When a connection is given up, by a clock that the test turns."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from mailserver.net.listener import SWEEP_SECONDS, Limits
from mailserver.net.outlet import CLOSING_SECONDS
from tests.net.sessions import LOGIN, Maildrop, SocketCase, Talk, make_factory


def wait(talk: Talk, seconds: float, meanwhile: Any = lambda: None) -> None:
    for _ in range(int(seconds // 5)):
        meanwhile()
        talk.clock.advance(5)


def test_a_fault_in_one_look_does_not_end_the_looks() -> None:
    factory = make_factory()
    talk = Talk(factory, logged_in=False)
    factory.clock.advance(SWEEP_SECONDS)
    other = Talk(factory, logged_in=False)

    def broken() -> None:
        raise OSError(errno.EIO, "broken")

    for each in (talk, other):
        each.wire.unregisterProducer = broken  # type: ignore[method-assign]
    wait(talk, 200)
    assert talk.wire.disconnected
    assert other.wire.disconnected


def test_the_login_time_counts_from_the_connection_whatever_is_said() -> None:
    talk = Talk(make_factory(), logged_in=False)
    wait(talk, 175, lambda: talk.say(b"USER alice\r\n"))
    assert not talk.closed
    wait(talk, 10, lambda: talk.say(b"USER alice\r\n"))
    assert talk.closed


def test_the_idle_time_counts_from_the_last_line() -> None:
    talk = Talk(make_factory())
    wait(talk, 595)
    talk.say(b"NOOP\r\n")
    wait(talk, 595, lambda: talk.say(b"x"))
    assert not talk.closed
    wait(talk, 10)
    assert talk.closed
    assert talk.heard() == b"+OK\r\n"


def test_the_answer_is_activity_too() -> None:
    opening: Deferred[Any] = Deferred()
    maildrop = Maildrop([b"a\r\n"])
    body = maildrop.fetch(1)
    maildrop.answer = lambda _: opening
    talk = Talk(make_factory(maildrop))
    talk.say(b"RETR 1\r\n")
    wait(talk, 500)
    opening.callback(body)
    wait(talk, 500)
    assert not talk.closed


def test_an_effect_that_is_never_answered_ends_with_the_idle_time_whatever_is_said() -> None:
    maildrop = Maildrop(())
    maildrop.commits = Deferred
    talk = Talk(make_factory(maildrop))
    talk.say(b"QUIT\r\n")
    wait(talk, 610, lambda: talk.say(b"NOOP\r\n"))
    assert talk.wire.disconnected


def test_a_client_that_does_not_read_is_dropped_whatever_it_says() -> None:
    talk = Talk(make_factory(Maildrop([b"x" * 70 + b"\r\n"] * 3)))
    talk.wire.limit = 10
    talk.say(b"RETR 1\r\nRETR 2\r\n")
    wait(talk, 610, lambda: talk.say(b"NOOP\r\n"))
    assert talk.closed


def test_a_closed_connection_whose_client_does_not_close_is_dropped() -> None:
    talk = Talk(make_factory(limits=Limits(idle_seconds=10)))
    wait(talk, 15)
    assert talk.wire.disconnecting
    assert not talk.wire.disconnected
    wait(talk, CLOSING_SECONDS)
    assert talk.wire.disconnected


def test_one_timer_for_all_and_none_for_nobody() -> None:
    factory = make_factory()
    talks = [Talk(factory) for _ in range(3)]
    assert len(talks[0].clock.getDelayedCalls()) == 1
    for talk in talks:
        talk.lose()
    assert talks[0].clock.getDelayedCalls() == []


def test_a_listening_port_keeps_its_timer_until_the_next_sweep() -> None:
    factory = make_factory()
    factory.doStart()
    talk = Talk(factory)
    talk.lose()
    assert len(talk.clock.getDelayedCalls()) == 1
    another = Talk(factory)
    another.lose()
    assert len(talk.clock.getDelayedCalls()) == 1
    talk.clock.advance(SWEEP_SECONDS)
    assert talk.clock.getDelayedCalls() == []
    Talk(factory).lose()
    factory.doStop()
    assert talk.clock.getDelayedCalls() == []


def test_a_port_that_stops_leaves_the_timer_to_its_connections() -> None:
    factory = make_factory()
    factory.doStart()
    talk = Talk(factory)
    factory.doStop()
    assert len(talk.clock.getDelayedCalls()) == 1
    talk.lose()
    assert talk.clock.getDelayedCalls() == []


@pytest.mark.parametrize("login", [b"", LOGIN])
def test_after_a_lost_connection_nothing_is_left(login: bytes) -> None:
    talk = Talk(make_factory(), logged_in=False)
    talk.say(login + b"PASS wrong\r\nUSER x\r\nPASS wrong\r\n")
    talk.lose()
    assert talk.clock.getDelayedCalls() == []


class OverSocketsTests(SocketCase):
    async def test_a_slow_reader_is_not_idle_while_bytes_leave(self) -> None:
        big = b"x" * 998 + b"\r\n"
        for folder in (None, self.folder()):
            factory = make_factory(Maildrop([big * 12_000], folder))
            client = await self.connect(self.listen(factory))
            client.transport.write(LOGIN + b"RETR 1\r\n")
            await client.until(lambda data: b"octets\r\n" in data)
            server, clock = self.servers[-1], factory.clock
            client.transport.pauseProducing()
            for _ in range(20):
                seen = len(client.received)
                wait(Clocked(clock), 300)
                assert not server._closing
                client.transport.resumeProducing()
                await client.until(lambda data, seen=seen: len(data) > seen + 300_000)
                client.transport.pauseProducing()
            wait(Clocked(clock), 620)
            assert server._closing


class Clocked:
    def __init__(self, clock: Any) -> None:
        self.clock = clock


def test_before_the_login_octets_that_leave_after_the_end_renew_nothing() -> None:
    talk = Talk(make_factory(limits=Limits(login_seconds=60)), logged_in=False)
    wait(talk, 50)
    talk.say(b"QUIT\r\n")

    def reads_one_octet() -> None:
        talk.server.octets_out += 1

    wait(talk, 5, reads_one_octet)
    assert not talk.wire.disconnected
    wait(talk, 10, reads_one_octet)
    assert talk.wire.disconnected


def test_after_the_login_they_do() -> None:
    talk = Talk(make_factory(limits=Limits(login_seconds=60)))
    talk.say(b"QUIT\r\n")

    def reads_one_octet() -> None:
        talk.server.octets_out += 1

    wait(talk, 200, reads_one_octet)
    assert not talk.wire.disconnected
