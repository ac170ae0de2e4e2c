"""What POP3's port allows its clients, and tells them."""

from __future__ import annotations

from hashlib import md5
from typing import Any

import pytest
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import fail
from twisted.internet.task import Clock

from mailserver.net import POP3ServerFactory
from mailserver.net.listener import SWEEP_SECONDS
from mailserver.net.pop3_listener import LOOK_SECONDS
from mailserver.protocol.effects import State
from tests.net.sessions import LOGIN, Maildrop, Talk, make_factory, portal_of

ALICE = IPv4Address("TCP", "192.0.2.1", 1)
LOCAL = IPv4Address("TCP", "127.0.0.1", 1)


def test_what_is_announced_stays_as_it_was_when_a_checker_cannot_say(events: list[dict[str, Any]]) -> None:
    factory = make_factory()
    before = Talk(factory, logged_in=False).wire.value()
    factory._can_take = lambda _: 1 // 0  # type: ignore[method-assign]
    factory.clock.advance(SWEEP_SECONDS)
    talk = Talk(factory, logged_in=False)
    assert talk.wire.value() == before
    (fault,) = [each for each in events if each.get("event") == "fault"]
    assert fault["log_failure"].check(ZeroDivisionError)
    talk.say(LOGIN)
    assert b"maildrop" in talk.heard()


@pytest.mark.parametrize(
    ("cleartext", "peer", "allowed"),
    [
        ("tls", LOCAL, False),
        ("tls", ALICE, False),
        ("loopback", LOCAL, True),
        ("loopback", UNIXAddress(None), True),
        ("loopback", ALICE, False),
        ("always", ALICE, True),
    ],
)
def test_where_a_password_may_cross_the_line(cleartext: str, peer: Any, allowed: bool) -> None:
    talk = Talk(make_factory(cleartext=cleartext), peer, logged_in=False)
    talk.heard()
    talk.say(b"CAPA\r\n")
    rows = talk.heard().split(b"\r\n")
    assert (b"USER" in rows) is allowed
    assert (b"SASL PLAIN LOGIN" in rows) is allowed
    assert b"STLS" not in rows
    talk.say(b"USER alice\r\n")
    assert talk.heard().startswith(b"+OK") is allowed


@pytest.mark.parametrize(
    ("mechanisms", "line"),
    [((), b"SASL PLAIN LOGIN"), (("LOGIN",), b"SASL LOGIN"), (("login", "PLAIN"), b"SASL LOGIN PLAIN")],
)
def test_mechanisms_are_announced_in_the_order_given(mechanisms: tuple[str, ...], line: bytes) -> None:
    talk = Talk(make_factory(mechanisms=mechanisms), logged_in=False)
    talk.say(b"CAPA\r\n")
    assert line in talk.heard().split(b"\r\n")


def test_an_unknown_mechanism_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown SASL mechanism 'NTLM'; known are .*PLAIN, LOGIN"):
        make_factory(mechanisms=["PLAIN", "NTLM"])


def test_a_stamp_is_given_while_a_checker_can_use_it() -> None:
    class Moody:
        credentialInterfaces: Any = ()  # noqa: N815 - cred's name

        def requestAvatarId(self, credentials: Any) -> Any:
            return fail(AssertionError)

    portal, checker = portal_of(Maildrop(())), Moody()
    del portal.checkers[IUsernameHashedPassword]
    factory = POP3ServerFactory(portal, clock=Clock(), hostname="h", cleartext="always")
    greetings = [Talk(factory, logged_in=False).heard()]
    portal.checkers[IUsernameHashedPassword] = checker
    for interfaces in ((IUsernamePassword,), (IUsernameHashedPassword,), (IUsernameHashedPassword,), ()):
        checker.credentialInterfaces = interfaces
        factory.clock.advance(LOOK_SECONDS)
        greetings.append(Talk(factory, logged_in=False).heard())
    assert [b"<" in greeting for greeting in greetings] == [False, False, True, True, False]
    assert greetings[2] != greetings[3]


def test_apop_logs_in_with_the_stamp_of_its_own_greeting() -> None:
    factory = POP3ServerFactory(portal_of(Maildrop(())), clock=Clock(), hostname="h")
    talk = Talk(factory, ALICE, logged_in=False)
    stamp = talk.heard().split()[-1]
    talk.say(b"APOP alice %b\r\n" % md5(stamp + b"secret").hexdigest().encode())
    assert talk.heard() == b"+OK maildrop has 0 messages (0 octets)\r\n"


def test_a_factory_needs_a_portal_only() -> None:
    from twisted.internet import reactor

    factory = POP3ServerFactory(portal_of(Maildrop(())))
    assert factory.clock is reactor


def test_a_session_forgets_its_stamp_when_it_is_of_no_more_use() -> None:
    factory = POP3ServerFactory(
        portal_of(Maildrop(())), clock=Clock(), hostname="h", cleartext="always", mechanisms=["APOP"]
    )
    talk = Talk(factory, logged_in=False)
    assert talk.server.session.stamp
    talk.say(LOGIN)
    assert talk.server.session.state is State.TRANSACTION
    assert not talk.server.session.stamp
