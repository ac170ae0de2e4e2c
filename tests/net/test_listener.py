from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock

from mailserver.errors import Refusal
from mailserver.net import POP3ServerFactory
from mailserver.net.connection import Connection
from mailserver.net.listener import SWEEP_SECONDS, Limits, Listener, is_loopback, peer_host
from mailserver.net.places import PER_ADDRESS, TURNED_AWAY, TURNED_AWAY_SECONDS, Places
from mailserver.net.tls_transport import TLSFactory
from mailserver.protocol.kpop import Preamble
from tests.net.sessions import GREETING, Maildrop, SocketCase, Talk, make_factory

ALICE = IPv4Address("TCP", "192.0.2.1", 1)
BOB = IPv4Address("TCP", "192.0.2.2", 1)
LOCAL = IPv4Address("TCP", "127.0.0.1", 1)
TOO_MANY = b"-ERR [SYS/TEMP] too many connections\r\n"
STOPPING = b"-ERR [SYS/TEMP] the server is stopping\r\n"


def v6(host: str) -> IPv6Address:
    return IPv6Address("TCP", host, 1)


def turned_away(factory: POP3ServerFactory, peer: Any) -> bool:
    talk = Talk(factory, peer, logged_in=False)
    if talk.wire.value() == GREETING:
        talk.lose()
        return False
    assert talk.wire.value() == TOO_MANY
    assert talk.wire.disconnecting
    talk.lose()
    return True


@pytest.mark.parametrize(
    ("address", "host"),
    [
        (ALICE, "192.0.2.1"),
        (v6("::ffff:192.0.2.1"), "192.0.2.1"),
        (v6("::ffff:0:1"), "::ffff:0:1"),
        (v6("2001:db8::1"), "2001:db8::1"),
        (UNIXAddress(None), ""),
        (None, ""),
        (HostnameAddress(b"h", 1), ""),
    ],
)
def test_the_peer_is_named_by_its_address(address: Any, host: str) -> None:
    assert peer_host(address) == host


@pytest.mark.parametrize(("peer", "loopback"), [("", True), ("127.1.2.3", True), ("::1", True), ("128.0.0.1", False)])
def test_who_is_on_this_machine(peer: str, loopback: bool) -> None:
    assert is_loopback(peer) is loopback


@pytest.mark.parametrize(
    ("first", "second", "counted"),
    [
        (ALICE, ALICE, True),
        (ALICE, BOB, False),
        (ALICE, v6("::ffff:192.0.2.1"), True),
        (v6("2001:db8::1"), v6("2001:db8::2"), True),
        (v6("2001:db8:0:1::1"), v6("2001:db8:0:2::1"), False),
        (UNIXAddress(None), UNIXAddress(None), True),
    ],
)
def test_an_address_has_so_many_connections(first: Any, second: Any, counted: bool) -> None:
    factory = make_factory(limits=Limits(connections_per_address=1))
    talk = Talk(factory, first)
    assert turned_away(factory, second) is counted
    talk.lose()
    assert not turned_away(factory, second)
    assert not factory.places.by_address
    assert factory.places.taken == 0


def test_a_listener_has_so_many_connections(events: list[dict[str, Any]]) -> None:
    factory = make_factory(limits=Limits(connections=1))
    talk = Talk(factory, ALICE)
    assert turned_away(factory, BOB)
    talk.lose()
    assert not turned_away(factory, BOB)
    (told,) = [each for each in events if each.get("event") == "pop3.turned_away"]
    assert (told["peer"], told["reason"], told["listener"]) == ("192.0.2.2", "limits.connections", "pop3")


class Mute(Connection):
    """A connection of no protocol: it greets nobody and answers nothing."""

    def __init__(self, port: Listener, peer: str) -> None:
        super().__init__(port.clock, peer)
        self.port = port
        self.name = port.name_of(port.number())

    def begin(self, *, tls: bool) -> Any:
        return Preamble()

    def allowed_seconds(self) -> float:
        return self.port.limits.idle_seconds

    def stranger_seconds(self) -> float:
        return self.port.limits.login_seconds

    def leave(self) -> None:
        self.port.ended(self)


class MutePort(Listener):
    """A port of no protocol."""

    def connection(self, peer: str) -> Connection:
        return Mute(self, peer)


def test_a_port_of_any_protocol_turns_away_in_its_own_words_names_times_and_drains() -> None:
    def words(refusal: Refusal) -> bytes:
        return b"421 4.3.2 %b\r\n" % refusal.line.partition(b"] ")[2]

    clock = Clock()
    port: Any = MutePort("lmtp", words, clock=clock, limits=Limits(connections=2, login_seconds=60))
    first, second, third = (Talk(port, ALICE, logged_in=False) for _ in range(3))
    assert third.wire.value() == b"421 4.3.2 too many connections\r\n"
    third.lose()
    assert first.server.name.split("-")[0] == second.server.name.split("-")[0]
    assert [talk.server.name.split("-")[1] for talk in (first, second)] == ["1", "2"]
    clock.pump([5] * 13)
    assert first.closed
    first.lose()
    second.lose()
    late = Talk(port, BOB, logged_in=False)
    drained = port.drain()
    assert late.closed
    assert Talk(port, BOB, logged_in=False).wire.value() == b"421 4.3.2 the server is stopping\r\n"
    late.lose()
    assert drained.called
    assert port.logPrefix() == "lmtp"


def test_what_a_port_must_give() -> None:
    with pytest.raises(NotImplementedError):
        Listener("lmtp", lambda refusal: refusal.line, clock=Clock()).connection("")


def test_a_flood_of_clients_over_the_limit_does_not_fill_the_log(events: list[dict[str, Any]]) -> None:
    factory = make_factory(limits=Limits(connections=1))
    talk = Talk(factory, ALICE)
    for n in range(500):
        assert turned_away(factory, IPv4Address("TCP", f"192.0.2.{n % 250}", 1))
    talk.clock.advance(SWEEP_SECONDS)
    told = [each for each in events if each.get("event") == "pop3.turned_away"]
    assert [(each["peer"], each["others"]) for each in told] == [("192.0.2.0", 0), ("192.0.2.249", 498)]


def test_other_limits_count_from_the_next_connection_on() -> None:
    places = Places(1, 1)
    assert places.take("192.0.2.1") == ""
    places.adjust(3, 2)
    assert [places.take("192.0.2.1") for _ in range(2)] == ["", PER_ADDRESS]
    assert [places.take(f"192.0.2.{n}") for n in (2, 3)] == ["", "limits.connections"]


def test_who_is_turned_away_may_not_hang_on() -> None:
    factory = make_factory(limits=Limits(connections=0))
    talk = Talk(factory, ALICE, logged_in=False)
    talk.clock.pump([5] * 3)
    assert TURNED_AWAY_SECONDS < 15
    assert talk.wire.disconnected
    talk.lose()
    assert talk.clock.getDelayedCalls() == []


def test_listeners_that_share_their_places_have_so_many_connections_together() -> None:
    places = Places(2, 1)
    first, second, alone = make_factory(places=places), make_factory(places=places), make_factory()
    talk = Talk(first, ALICE)
    assert turned_away(second, ALICE)
    other = Talk(second, BOB)
    assert turned_away(first, v6("2001:db8::1"))
    assert not turned_away(alone, ALICE)
    talk.lose()
    assert not turned_away(second, ALICE)
    other.lose()
    assert (places.taken, places.by_address) == (0, {})


def test_so_many_hear_that_they_are_too_many_and_the_others_are_dropped() -> None:
    places = Places(0)
    factories = [make_factory(places=places) for _ in range(2)]
    told = [Talk(factories[n % 2], ALICE, logged_in=False) for n in range(TURNED_AWAY)]
    assert {talk.wire.value() for talk in told} == {TOO_MANY}
    dropped = Talk(factories[0], BOB, logged_in=False)
    assert dropped.wire.value() == b""
    assert dropped.wire.disconnected
    dropped.lose()
    told.pop().lose()
    assert turned_away(factories[0], BOB)
    for talk in told:
        talk.lose()
    assert places.turned_away == 0


def test_draining_closes_the_idle_now_and_the_busy_when_they_are_done() -> None:
    opening: Deferred[Any] = Deferred()
    maildrop = Maildrop([b"a\r\n"])
    body = maildrop.fetch(1)
    maildrop.answer = lambda _: opening
    factory = make_factory(maildrop)
    busy, idle = Talk(factory), Talk(factory, logged_in=False)
    idle.heard()
    busy.say(b"RETR 1\r\nNOOP\r\n")
    fired: list[str] = []
    factory.drain().addCallback(lambda _: fired.append("first"))
    assert idle.heard() == STOPPING
    assert idle.closed
    assert not busy.closed
    newcomer = Talk(factory, logged_in=False)
    assert newcomer.heard() == STOPPING
    assert newcomer.closed
    newcomer.lose()
    factory.drain().addCallback(lambda _: fired.append("second"))
    assert idle.heard() == b""
    opening.callback(body)
    assert busy.heard() == b"+OK 3 octets\r\na\r\n.\r\n+OK\r\n" + STOPPING
    assert busy.closed
    idle.lose()
    assert fired == []
    busy.lose()
    assert fired == ["first", "second"]
    assert Talk(factory, logged_in=False).heard() == GREETING


def test_a_drain_is_over_only_when_the_last_session_has_let_go_of_its_maildrop() -> None:
    maildrop = Maildrop([])
    factory = make_factory(maildrop)
    talk = Talk(factory)
    factory.drain().addCallback(lambda _: maildrop.told.append("drained"))
    talk.lose()
    assert maildrop.told == ["release", "drained"]  # the store stops at once, and must not before


def test_draining_lets_a_listing_end_that_its_client_does_not_read() -> None:
    talk = Talk(make_factory(Maildrop([b"a\r\n"] * 3000)))
    talk.wire.limit = 1000
    talk.say(b"LIST\r\n")
    talk.clock.advance(0)
    talk.factory.drain()
    while not talk.closed:
        talk.wire.go()
        talk.clock.advance(0)
    assert talk.heard().endswith(b"\r\n3000 3\r\n.\r\n" + STOPPING)


def test_draining_adds_no_word_to_a_goodbye_that_its_client_does_not_read() -> None:
    committing: Deferred[int] = Deferred()
    maildrop = Maildrop(())
    maildrop.commits = lambda: committing
    talk = Talk(make_factory(maildrop))
    talk.say(b"QUIT\r\n")
    talk.wire.hold()
    committing.callback(0)
    talk.factory.drain()
    talk.wire.go()
    assert talk.heard() == b"+OK signing off\r\n"


def test_draining_nobody_is_done_at_once() -> None:
    fired: list[None] = []
    make_factory().drain().addCallback(fired.append)
    assert fired == [None]


def test_abort_drops_everybody_and_what_quit_began_goes_on() -> None:
    committing: Deferred[int] = Deferred()
    maildrop = Maildrop([b"a\r\n"])
    maildrop.commits = lambda: committing
    factory = make_factory(maildrop, limits=Limits(connections=1))
    talk, stranger = Talk(factory), Talk(factory, logged_in=False)
    talk.say(b"DELE 1\r\nQUIT\r\n")
    factory.abort()
    assert talk.wire.disconnected
    assert stranger.wire.disconnected
    talk.lose()
    assert maildrop.told == [("commit", [1])]
    committing.callback(0)
    assert maildrop.told == [("commit", [1]), "release"]


class OverSocketsTests(SocketCase):
    async def test_who_is_turned_away_over_tls_hears_so_or_is_dropped(self) -> None:
        clock = Clock()
        factory = make_factory(clock=clock, limits=Limits(connections=0))
        port = self.listen(TLSFactory(self.certificates(), factory), factory)
        polite = await self.connect(port)
        polite.transport.startTLS(CertificateOptions())
        assert await polite.ended == TOO_MANY
        silent = await self.connect(port)
        while len(self.servers) < 2:
            await self.turn()
        clock.pump([5] * 3)
        assert await silent.ended == b""

    async def test_who_is_dropped_over_tls_hears_nothing(self) -> None:
        places = Places(0)
        places.turned_away = TURNED_AWAY
        factory = make_factory(places=places)
        client = await self.connect(self.listen(TLSFactory(self.certificates(), factory), factory))
        assert await client.ended == b""

    async def test_idle_sessions_drain_over_sockets_and_no_timer_is_left(self) -> None:
        factory = make_factory(clock=self.reactor)
        port = self.listen(factory)
        clients = [await self.connect(port) for _ in range(3)]
        for client in clients:
            await client.until(GREETING.__eq__)
        await factory.drain()
        assert [await client.ended for client in clients] == [GREETING + STOPPING] * 3
