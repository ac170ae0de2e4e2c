"""Which attempts wait for their turn before a secret is looked at, and what becomes of their outcome."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from mailserver.credentials import ActingFor, BearerToken, IActingFor, IBearerToken, IVerifiedIdentity
from mailserver.errors import LoginRefused, MaildropUnavailable, TemporaryFailure
from mailserver.exchange import ScramKeys, VerifierOf
from mailserver.interfaces import Census, IOracle
from mailserver.names import Names
from mailserver.net import POP3ServerFactory
from mailserver.net.throttle import PATIENCE_SECONDS
from tests.net.sessions import LOGIN, Maildrop, Realm, Talk
from tests.sasl.clients import scram

FAILED = b"-ERR [AUTH] authentication failed\r\n"
HELD = b"-ERR [SYS/TEMP] too many failed logins, please try again later\r\n"
WRONG = b"USER alice\r\nPASS wrong\r\n"


@implementer(ICredentialsChecker)
class Checker(InMemoryUsernamePasswordDatabaseDontUse):
    """Counts the secrets that it looks at, and may take its time."""

    def __init__(self) -> None:
        super().__init__(alice=b"secret", bob=b"secret")
        self.credentialInterfaces = (*self.credentialInterfaces, IVerifiedIdentity, IBearerToken, IActingFor)
        self.verified = 0
        self.answer: Any = None

    def requestAvatarId(self, credentials: Any) -> Any:
        if isinstance(credentials, ActingFor):
            return self.requestAvatarId(credentials.credentials)
        if IVerifiedIdentity.providedBy(credentials):
            return credentials.username
        self.verified += 1
        return super().requestAvatarId(credentials) if self.answer is None else self.answer


@implementer(IOracle)
class Oracle:
    """Knows the keys of "secret", and one token; counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.bad: LoginRefused | None = LoginRefused("expired")
        self.answer: Deferred[object] | None = None
        salted = hashlib.pbkdf2_hmac("sha256", b"secret", b"salt", 4096)
        client = hmac.digest(salted, b"Client Key", "sha256")
        server = hmac.digest(salted, b"Server Key", "sha256")
        self.keys = ScramKeys(b"salt", 4096, hashlib.sha256(client).digest(), server)

    def mechanisms(self) -> frozenset[bytes]:
        return frozenset({b"SCRAM-SHA-256", b"DIGEST-MD5"})

    def census(self) -> Census:
        return Census()

    def ask(self, request: object) -> Deferred[object]:
        self.asked += 1
        if self.answer is not None:
            return self.answer
        match request:
            case VerifierOf(mechanism=b"DIGEST-MD5"):
                return succeed(b"\0" * 16)
            case VerifierOf():
                return succeed(self.keys)
            case BearerToken(token=b"alice.token"):
                return succeed(b"alice")
        return succeed(self.bad)


class Place:
    """A server, at which clients of several addresses try to log in."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.checker, self.oracle = Checker(), Oracle()
        self.realm = Realm(Maildrop(()))
        mechanisms = ("PLAIN", "CRAM-MD5", "SCRAM-SHA-256", "DIGEST-MD5", "OAUTHBEARER", "XOAUTH2")
        self.factory = POP3ServerFactory(
            Portal(self.realm, [self.checker]),
            clock=self.clock,
            hostname="h",
            cleartext="always",
            mechanisms=mechanisms,
            oracle=self.oracle,
            **options,
        )

    @property
    def looked_at(self) -> int:
        return self.checker.verified + self.oracle.asked

    def client(self, address: str = "192.0.2.1") -> Talk:
        talk = Talk(self.factory, IPv4Address("TCP", address, 1), logged_in=False)
        talk.greeting = talk.heard()  # type: ignore[attr-defined]
        return talk

    def wrong(self, address: str = "198.51.100.1") -> None:
        talk = self.client(address)
        talk.say(WRONG)
        talk.lose()


def said(talk: Talk, data: bytes) -> bytes:
    talk.say(data)
    return talk.heard()


def challenge(talk: Talk, data: bytes) -> bytes:
    return b64decode(said(talk, data + b"\r\n")[2:])


def by_pass(talk: Talk) -> bytes:
    return WRONG


def by_apop(talk: Talk) -> bytes:
    return b"APOP alice " + b"0" * 32 + b"\r\n"


def by_plain(talk: Talk) -> bytes:
    return b"AUTH PLAIN " + b64encode(b"\0alice\0wrong") + b"\r\n"


def for_another(talk: Talk) -> bytes:
    return b"AUTH PLAIN " + b64encode(b"bob\0alice\0wrong") + b"\r\n"


def by_cram(talk: Talk) -> bytes:
    challenge(talk, b"AUTH CRAM-MD5")
    return b64encode(b"alice " + b"0" * 32) + b"\r\n"


def by_scram(talk: Talk) -> bytes:
    return b"AUTH SCRAM-SHA-256 " + b64encode(b"n,,n=alice,r=abc") + b"\r\n"


def by_digest(talk: Talk) -> bytes:
    given = challenge(talk, b"AUTH DIGEST-MD5").decode()
    nonce = given.split('nonce="')[1].split('"')[0]
    response = (
        f'charset=utf-8,username="alice",realm="h",nonce="{nonce}",nc=00000001,cnonce="a",digest-uri="pop/h",'
        f"response={'0' * 32},qop=auth"
    )
    return b64encode(response.encode()) + b"\r\n"


def by_token(talk: Talk) -> bytes:
    return b"AUTH XOAUTH2 " + b64encode(b"user=alice\x01auth=Bearer wrong\x01\x01") + b"\r\n"


WAYS = [by_pass, by_apop, by_plain, for_another, by_cram, by_scram, by_digest, by_token]


@pytest.mark.parametrize("way", WAYS)
def test_no_secret_is_looked_at_before_its_turn(way: Any) -> None:
    place = Place()
    place.wrong()
    talk = place.client()
    words = way(talk)
    before = place.looked_at
    talk.say(words)
    talk.heard()
    place.clock.advance(1.9)
    assert talk.heard() == b""
    assert place.looked_at == before
    place.clock.advance(0.1)
    assert talk.heard()
    assert place.looked_at == before + 1


@pytest.mark.parametrize("way", WAYS)
def test_who_leaves_then_has_failed(way: Any) -> None:
    place = Place()
    talk = place.client()
    talk.say(way(talk))
    talk.lose()
    assert not any(lane.under_way for lane in place.factory.throttle._lanes.values())
    other = place.client("192.0.2.2")
    assert said(other, LOGIN) == b"+OK send PASS\r\n"
    place.clock.advance(2)
    assert other.heard().startswith(b"+OK maildrop")


@pytest.mark.parametrize("way", [by_pass, by_scram])
def test_who_leaves_while_a_secret_is_looked_at_has_failed_and_the_look_is_cancelled(way: Any) -> None:
    place, cancelled = Place(), []
    place.checker.answer = place.oracle.answer = Deferred(cancelled.append)
    talk = place.client()
    talk.say(way(talk))
    talk.lose()
    assert len(cancelled) == 1
    lane = place.factory.throttle._lanes["user", "alice"]
    assert (lane.failures, lane.under_way) == (1, 0)


@pytest.mark.parametrize("way", [by_pass, by_scram])
def test_who_leaves_before_the_turn_has_come_has_tried_nothing(way: Any) -> None:
    place = Place()
    place.wrong()
    before = place.looked_at
    talk = place.client()
    talk.say(way(talk))
    talk.lose()
    place.clock.advance(PATIENCE_SECONDS)
    assert place.looked_at == before
    lane = place.factory.throttle._lanes["user", "alice"]
    assert (lane.failures, lane.under_way, lane.waiting) == (1, 0, {})


@pytest.mark.parametrize("password", [b"wrong", b"secret"])
def test_a_proof_within_an_exchange_is_one_attempt(password: bytes) -> None:
    place = Place()
    place.wrong()
    talk = place.client()
    client = scram("sha256", b"alice", password)
    talk.say(b"AUTH SCRAM-SHA-256 " + b64encode(next(client)) + b"\r\n")
    place.clock.advance(2)
    proof = client.send(b64decode(talk.heard()[2:]))
    talk.say(b64encode(proof) + b"\r\n\r\n")
    other = place.factory.door.attempt("203.0.113.1", "alice").granted
    if password == b"secret":
        assert talk.heard().endswith(b"octets)\r\n")
        assert other.called
    else:
        assert talk.heard().startswith(FAILED)
        place.clock.advance(3.9)
        assert not other.called
        place.clock.advance(0.1)
        assert other.called


def test_a_right_token_is_one_attempt_and_makes_its_network_known() -> None:
    place = Place()
    talk = place.client()
    talk.say(b"AUTH XOAUTH2 " + b64encode(b"user=alice\x01auth=Bearer alice.token\x01\x01") + b"\r\n")
    assert talk.heard().startswith(b"+OK maildrop")
    talk.lose()
    for n in range(5):
        place.wrong(f"198.51.100.{n}")
    assert said(place.client(), LOGIN).endswith(b"octets)\r\n")


@pytest.mark.parametrize(
    "initial", [b"n,,\x01auth=Bearer alice.token\x01\x01", b"n,a=bob,\x01auth=Bearer alice.token\x01\x01"]
)
def test_a_token_s_owner_need_not_be_who_was_claimed(initial: bytes) -> None:
    place = Place()
    talk = place.client()
    talk.say(b"AUTH OAUTHBEARER " + b64encode(initial) + b"\r\n")
    assert talk.heard().startswith(b"+OK maildrop")
    talk.lose()
    assert place.factory.door.attempt("192.0.2.1", "bob").granted.called
    assert not place.factory.throttle._lanes.get(("user", "alice"))
    for n in range(3):
        place.factory.door.attempt(f"198.51.100.{n}", "bob")
    assert not place.factory.door.attempt("192.0.2.1", "bob").granted.called  # nobody has shown bob's secret from there


def test_a_token_s_owner_gives_nobody_else_a_lane_of_their_own() -> None:
    place = Place()
    talk = place.client()
    claim = b"user=bob\x01auth=Bearer alice.token\x01\x01"
    talk.say(b"AUTH XOAUTH2 " + b64encode(claim) + b"\r\n")
    assert talk.heard().startswith(b"+OK maildrop")
    talk.lose()
    place.factory.door.attempt("198.51.100.1", "bob").failed()
    assert not place.factory.door.attempt("192.0.2.1", "bob").granted.called


@pytest.mark.parametrize("bad", [None, LoginRefused("expired")])
def test_a_bad_token_is_counted_however_its_bearer_goes_on(bad: LoginRefused | None) -> None:
    place = Place()
    place.oracle.bad = bad
    talk = place.client()
    assert said(talk, by_token(talk)).startswith(b"+ ")
    assert said(talk, b"*\r\n").startswith(b"-ERR ")
    talk.say(by_token(talk))
    assert place.oracle.asked == 1
    place.clock.advance(2)
    assert place.oracle.asked == 2


def test_an_exchange_that_is_cancelled_lends_its_turn_to_nobody() -> None:
    place = Place()
    place.wrong()
    place.wrong()
    talk = place.client()
    talk.say(b"AUTH SCRAM-SHA-256 " + b64encode(b"n,,n=bob,r=abc") + b"\r\n")
    assert talk.heard().startswith(b"+ ")
    before = place.looked_at
    talk.say(b"*\r\n" + WRONG)
    assert place.looked_at == before
    assert not place.factory.door.attempt("203.0.113.1", "bob").granted.called
    talk.lose()
    assert not any(lane.under_way for lane in place.factory.throttle._lanes.values())


def test_an_exchange_that_was_cancelled_makes_nobody_known() -> None:
    place = Place()
    talk = place.client()
    talk.say(b"AUTH SCRAM-SHA-256 " + b64encode(b"n,,n=bob,r=abc") + b"\r\n*\r\n")
    talk.say(b"AUTH XOAUTH2 " + b64encode(b"user=alice\x01auth=Bearer alice.token\x01\x01") + b"\r\n")
    place.clock.advance(2)
    assert talk.heard().endswith(b"octets)\r\n")
    for n in range(3):
        place.factory.door.attempt(f"198.51.100.{n}", "bob")
    assert not place.factory.door.attempt("192.0.2.1", "bob").granted.called


def test_who_waits_too_long_hears_nothing_of_the_password(events: list[dict[str, Any]]) -> None:
    place = Place()
    for n in range(8):
        place.wrong(f"198.51.100.{n}")
        place.clock.advance(16)
    place.wrong()
    place.clock.advance(0)
    place.wrong()
    talks = [place.client(f"192.0.2.{n}") for n in range(3)]
    before = place.looked_at
    for talk in talks:
        talk.say(LOGIN if talk is talks[1] else WRONG)
    place.clock.pump([1] * int(PATIENCE_SECONDS))
    heard = [talk.heard() for talk in talks]
    assert sum(each == b"+OK send PASS\r\n" + HELD for each in heard) == 2
    assert place.looked_at == before + 1
    assert len([event for event in events if event.get("event") == "pop3.login_held"]) == 2
    assert said(talks[2], b"NOOP\r\n").startswith(b"-ERR ")  # the session goes on


@pytest.mark.parametrize("late", [False, True])
def test_a_store_s_refusal_comes_after_a_right_secret(late: bool) -> None:
    place = Place()
    place.realm.held = True  # in use
    if late:
        place.realm.requestAvatar = lambda *_: fail(MaildropUnavailable("no disk"))  # type: ignore[method-assign]
    assert b"AUTH" not in said(place.client(), LOGIN)
    for n in range(3):
        place.wrong(f"198.51.100.{n}")
    place.realm.held = False
    assert said(place.client(), LOGIN).startswith(b"+OK send PASS\r\n-ERR" if late else b"+OK send PASS\r\n+OK")


def test_the_server_s_own_trouble_counts_for_nothing() -> None:
    place = Place()
    for error in (TemporaryFailure(), RuntimeError("fault")):
        place.checker.answer = fail(error)
        assert b"[SYS/TEMP]" in said(place.client(), LOGIN)
    place.oracle.answer = fail(TemporaryFailure())
    talk = place.client()
    assert b"[SYS/TEMP]" in said(talk, by_scram(talk))
    place.checker.answer = None
    assert said(place.client(), LOGIN).endswith(b"octets)\r\n")


def test_a_client_that_leaves_in_the_middle_of_a_check_has_failed() -> None:
    place = Place()
    place.checker.answer = verifying = Deferred()
    talk = place.client()
    talk.say(LOGIN)
    talk.lose()
    if not verifying.called:
        verifying.errback(CancelledError())
    place.checker.answer = None
    other = place.client("192.0.2.2")
    assert said(other, LOGIN) == b"+OK send PASS\r\n"
    place.clock.advance(2)
    assert other.heard().startswith(b"+OK maildrop")


def test_a_client_that_closed_its_side_keeps_no_place() -> None:
    place = Place()
    place.wrong()
    talk = place.client()
    talk.say(LOGIN)
    talk.server.readConnectionLost()
    assert talk.heard() == b"+OK send PASS\r\n" + HELD
    assert talk.closed
    assert place.checker.verified == 1


def leave_by_half(talk: Talk) -> None:
    talk.server.readConnectionLost()


def stop(talk: Talk) -> None:
    talk.factory.drain()


@pytest.mark.parametrize("second", [by_pass, by_scram])
@pytest.mark.parametrize("end", [leave_by_half, stop])
def test_who_has_a_second_attempt_behind_the_first_keeps_no_place_for_it(end: Any, second: Any) -> None:
    place = Place()
    held: list[Deferred[Any]] = []
    place.checker.requestAvatarId = lambda _: held.append(Deferred()) or held[-1]  # type: ignore[func-returns-value]
    talk = place.client()
    talk.say(WRONG + second(talk))
    end(talk)
    assert not talk.closed
    held.pop().errback(UnauthorizedLogin())
    talk.clock.advance(0)
    assert talk.closed
    assert held == []
    assert place.oracle.asked == 0


def test_a_server_that_stops_waits_for_no_turn() -> None:
    place = Place()
    place.wrong()
    talk = place.client()
    talk.say(LOGIN)
    place.factory.drain()
    assert talk.heard().startswith(b"+OK send PASS\r\n" + HELD)
    assert talk.closed


def test_all_names_of_an_account_wait_for_one_another_and_one_s_success_is_his_own() -> None:
    place = Place(names=Names(accounts={"acc": "acc.example.org"}))
    place.checker.users.update({b"carol@acc": b"secret"})
    talk = place.client("198.51.100.1")
    talk.say(b"USER acc\r\nPASS wrong\r\n")
    own = place.client()
    own.say(b"USER Carol+ACC\r\nPASS secret\r\n")
    place.clock.advance(2)
    assert own.heard().endswith(b"octets)\r\n")
    talk = place.client("198.51.100.2")
    assert said(talk, b"USER bob@acc.example.org\r\nPASS wrong\r\n").endswith(FAILED)
    talk = place.client("198.51.100.3")
    assert said(talk, b"AUTH PLAIN " + b64encode(b"\0acc\0wrong") + b"\r\n") == b""
    place.clock.advance(3.9)
    assert talk.heard() == b""
    place.clock.advance(0.1)
    assert talk.heard() == FAILED
