"""Thousands of guesses from many addresses, by a clock that the test turns: how many are looked at, and who still gets in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from zope.interface import implementer

from mailserver.net.common.memory import CommonMemory
from mailserver.net.common.throttle import CommonThrottle
from mailserver.net.listener import Limits
from mailserver.net.throttle import LONGEST_SECONDS, PATIENCE_SECONDS, Throttle
from tests.net.common.views import views
from tests.net.sessions import LOGIN, Maildrop, Realm, Talk, make_factory

TICK = 0.15
"""Seconds after which a guesser takes silence for "no" and resets."""
GUESSES = 20_000
HOME = "203.0.113.7"


@implementer(ICredentialsChecker)
class Checker(InMemoryUsernamePasswordDatabaseDontUse):
    """Counts the passwords that it looks at, each of which takes a little while, as a slow hash does."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(alice=b"secret")
        self.clock = clock
        self.verified: dict[bytes, int] = {}

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        self.verified[credentials.username] = self.verified.get(credentials.username, 0) + 1
        return deferLater(self.clock, 0.05, super().requestAvatarId, credentials)


class Siege:
    """A server with two listeners, or with a worker for each of some memories, and clients that come and go to each in turn."""

    def __init__(self, memories: Sequence[CommonMemory] = ()) -> None:
        self.memories = memories
        self.clock = Clock()
        self.checker = Checker(self.clock)
        portal = Portal(Realm(Maildrop(())), [self.checker])
        limits = Limits(connections_per_address=GUESSES)  # that limit is not what is tried here
        seconds = limits.failure_delay_seconds
        self.throttles: list[Any] = [CommonThrottle(self.clock, seconds, memory) for memory in memories]
        if not memories:
            self.throttles = [Throttle(self.clock, seconds)] * 2
        self.factories = [
            make_factory(clock=self.clock, portal=portal, limits=limits, throttle=each) for each in self.throttles
        ]
        self.talks: list[Talk] = []
        self.owners = 0

    @property
    def verified(self) -> int:
        return sum(self.checker.verified.values())

    @property
    def lanes(self) -> int:
        """The number of lanes that are remembered."""
        return self.memories[0].lanes.used if self.memories else len(self.throttles[0]._lanes)

    def client(self, address: str, number: int = 0) -> Talk:
        family = IPv6Address if ":" in address else IPv4Address
        talk = Talk(self.factories[number % len(self.factories)], family("TCP", address, 1), logged_in=False)
        self.talks.append(talk)
        return talk

    def log_in(self, address: str) -> float:
        """Log alice in and out; the seconds that it took."""
        begun = self.clock.seconds()
        self.owners += 1
        talk = self.client(address, self.owners)
        talk.say(LOGIN)
        while b"maildrop has" not in talk.wire.value():
            assert self.clock.seconds() - begun < PATIENCE_SECONDS
            self.clock.advance(0.01)
        talk.lose()
        return self.clock.seconds() - begun

    def end(self) -> None:
        """Every client has left, and nothing of them waits any more."""
        for talk in self.talks:
            if not talk.server.lost:
                talk.lose()
        self.clock.advance(PATIENCE_SECONDS)
        assert not any(throttle._queue for throttle in self.throttles)
        assert not any(memory.lanes.counted() for memory in self.memories)
        assert not self.clock.getDelayedCalls()


@pytest.fixture(params=[0, 4], ids=["one-process", "four-workers"])
def siege(request: pytest.FixtureRequest) -> Iterator[Siege]:
    """With workers each figure is as without."""
    with views(max(1, request.param)) as memories:
        siege = Siege(memories[: request.param])
        yield siege
        siege.end()


def guess(siege: Siege, address: str, user: str, number: int) -> Talk:
    talk = siege.client(address, number)
    talk.say(b"USER %b\r\nPASS guess%d\r\n" % (user.encode(), number))
    return talk


def storm(
    siege: Siege,
    guesses: int,
    address: Callable[[int], str],
    user: Callable[[int], str],
    meanwhile: Callable[[], object] = lambda: None,
) -> None:
    """So many guesses, twenty in each tick; one guesser in ten waits for an answer, the others reset after a tick."""
    for number in range(0, guesses, 20):
        talks = [guess(siege, address(n), user(n), n) for n in range(number, number + 20)]
        siege.clock.advance(TICK)
        for talk in talks[2:]:
            talk.lose()
        for talk in siege.talks:
            if not talk.server.lost and (b"-ERR" in talk.wire.value() or talk.closed):
                talk.lose()
        siege.talks = [talk for talk in siege.talks if not talk.server.lost]
        if number % 1000 == 0:
            meanwhile()


def test_twenty_thousand_guesses_at_one_user_come_to_a_few_and_the_owner_gets_in(siege: Siege) -> None:
    assert siege.log_in(HOME) < 1
    waits: list[float] = []
    storm(siege, GUESSES, lambda n: f"192.0.2.{n % 50}", lambda n: "alice", lambda: waits.append(siege.log_in(HOME)))
    own = 1 + len(waits)
    assert len(waits) == GUESSES / 1000
    assert max(waits) < 1
    assert siege.verified - own <= 5 + GUESSES / 20 * TICK / LONGEST_SECONDS * 2
    assert siege.lanes <= 51


def test_a_newcomer_of_the_right_password_gets_in_between_the_guesses(siege: Siege) -> None:
    for n in range(200):
        guess(siege, f"192.0.2.{n % 50}", "alice", n)
        siege.clock.advance(TICK)
    assert siege.log_in("198.51.100.1") < LONGEST_SECONDS + 1


def test_guesses_at_all_users_from_few_addresses_come_to_a_few(siege: Siege) -> None:
    storm(siege, 5000, lambda n: f"192.0.2.{n % 5}", lambda n: f"user{n}")
    assert siege.verified <= 5 * (4 + 5 + 5000 / 20 * TICK / LONGEST_SECONDS * 2)
    siege.end()
    assert siege.lanes <= siege.verified * 2


def test_a_network_of_ipv6_is_one_guesser_whatever_addresses_it_makes_up(siege: Siege) -> None:
    storm(siege, 5000, lambda n: f"2001:db8::{n % 60_000:x}", lambda n: f"user{n}")
    assert siege.verified <= 4 + 5 + 5000 / 20 * TICK / LONGEST_SECONDS * 2


def test_one_guesser_who_resets_is_as_slow_as_one_who_waits(siege: Siege) -> None:
    for number in range(1000):
        talk = guess(siege, "192.0.2.1", "alice", number)
        siege.clock.advance(TICK)
        talk.lose()
    seconds = 1000 * TICK
    assert siege.verified <= 5 + seconds / LONGEST_SECONDS
    assert siege.lanes == 2


def test_who_leaves_while_his_password_is_looked_at_has_failed(siege: Siege) -> None:
    for number in range(1000):
        talk = guess(siege, "192.0.2.1", "alice", number)
        siege.clock.advance(0.01)
        talk.lose()
        siege.clock.advance(TICK)
    assert siege.verified <= 5 + 1000 * (TICK + 0.01) / LONGEST_SECONDS


def test_silence_says_nothing(siege: Siege) -> None:
    """A right password and a wrong one are held back alike: within a hold nobody is told, and nobody is looked at."""
    guess(siege, "192.0.2.1", "alice", 0)
    siege.clock.advance(0.05)
    right, wrong = siege.client("192.0.2.2"), siege.client("192.0.2.3")
    right.say(LOGIN)
    wrong.say(LOGIN.replace(b"secret", b"public"))
    for talk in (right, wrong):
        talk.heard()
    siege.clock.advance(1.9)
    assert (right.heard(), wrong.heard(), siege.verified) == (b"", b"", 1)
