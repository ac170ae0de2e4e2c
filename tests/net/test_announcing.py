"""What CAPA's SASL line says follows from the checkers, the oracle and the line."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs
from zope.interface import implementer

from mailserver.credentials import IActingFor, IBearerToken, IVerifiedIdentity
from mailserver.interfaces import Census, IOracle
from mailserver.net import POP3ServerFactory
from tests.net.sessions import Maildrop, Realm, Talk


@implementer(ICredentialsChecker)
class Checker:
    """Takes what it is told to take, from alice and from the boss."""

    def __init__(self, *interfaces: Any) -> None:
        self.credentialInterfaces = interfaces

    def requestAvatarId(self, credentials: Any) -> bytes:
        if credentials.username not in (b"alice", b"boss"):
            raise UnauthorizedLogin
        return b"alice"


@implementer(IOracle)
class Oracle:
    def __init__(self, *mechanisms: bytes, census: Census | None = None) -> None:
        self.able = frozenset(mechanisms)
        self.counted = census or Census()

    def census(self) -> Census:
        return self.counted

    def mechanisms(self) -> frozenset[bytes]:
        return self.able

    def ask(self, request: object) -> Deferred[object]:
        return succeed(None)


EVERYTHING = (IUsernamePassword, IUsernameHashedPassword, IVerifiedIdentity, IBearerToken, IActingFor)
SCRAM = Oracle(b"SCRAM-SHA-1", b"SCRAM-SHA-256", b"DIGEST-MD5")


def factory(checker: Checker, **options: Any) -> POP3ServerFactory:
    from twisted.internet.task import Clock

    portal = Portal(Realm(Maildrop(())))
    for interface in EVERYTHING:
        portal.registerChecker(checker, interface)
    return POP3ServerFactory(portal, clock=Clock(), hostname="h", **{"cleartext": "always", **options})


def announced(factory: POP3ServerFactory) -> bytes:
    talk = Talk(factory, logged_in=False)
    talk.say(b"CAPA\r\n")
    lines = talk.heard().split(b"\r\n")
    talk.lose()
    return b" ".join(line.removeprefix(b"SASL ") for line in lines if line.startswith(b"SASL "))


@pytest.mark.parametrize(
    ("checker", "options", "line"),
    [
        (Checker(IUsernamePassword), {}, b"PLAIN LOGIN"),
        (Checker(IUsernamePassword), {"cleartext": "tls"}, b""),
        (Checker(IUsernameHashedPassword), {}, b"CRAM-MD5"),
        (Checker(IVerifiedIdentity), {}, b""),
        (Checker(IVerifiedIdentity), {"oracle": Oracle(b"SCRAM-SHA-1")}, b"SCRAM-SHA-1"),
        (Checker(IVerifiedIdentity), {"oracle": SCRAM, "cleartext": "tls"}, b"SCRAM-SHA-256 SCRAM-SHA-1"),
        (Checker(IBearerToken), {}, b"OAUTHBEARER XOAUTH2"),
        (Checker(IActingFor), {"oracle": SCRAM}, b""),
        (
            Checker(*EVERYTHING),
            {"oracle": SCRAM},
            b"CRAM-MD5 SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN OAUTHBEARER XOAUTH2",
        ),
        (
            Checker(*EVERYTHING),
            {"oracle": SCRAM, "mechanisms": ["digest-md5", "PLAIN", "EXTERNAL", "SCRAM-SHA-1-PLUS"]},
            b"DIGEST-MD5 PLAIN",
        ),
    ],
)
def test_a_mechanism_is_announced_where_it_can_be_served(checker: Checker, options: Any, line: bytes) -> None:
    assert announced(factory(checker, **options)) == line


def test_what_changes_is_announced_soon() -> None:
    checker, oracle = Checker(), Oracle()
    served = factory(checker, oracle=oracle)
    assert announced(served) == b""
    checker.credentialInterfaces = (IVerifiedIdentity, IUsernamePassword)
    oracle.able = frozenset({b"SCRAM-SHA-256"})
    served.clock.advance(1)  # type: ignore[attr-defined]
    assert announced(served) == b"SCRAM-SHA-256 PLAIN LOGIN"


def test_a_mechanism_that_does_not_fit_the_line_is_refused_and_the_session_goes_on() -> None:
    talk = Talk(factory(Checker(*EVERYTHING), oracle=SCRAM), logged_in=False)
    talk.heard()
    talk.say(b"AUTH SCRAM-SHA-256-PLUS\r\nAUTH EXTERNAL =\r\nQUIT\r\n")
    assert talk.heard() == b"-ERR this mechanism cannot be used over this connection\r\n" * 2 + b"+OK signing off\r\n"


def test_who_acts_for_another_is_logged_with_both_names() -> None:
    talk = Talk(factory(Checker(*EVERYTHING)), logged_in=False)
    with capturedLogs() as events:
        talk.say(b"AUTH PLAIN " + b64encode(b"alice\0boss\0secret") + b"\r\nQUIT\r\n")
        talk.lose()
    (ended,) = [event for event in events if event.get("event") == "pop3.session"]
    assert (ended["user"], ended["principal"], ended["who"]) == ("alice", "boss", "alice (boss)")


def test_who_may_not_is_counted_under_his_own_name() -> None:
    talk = Talk(factory(Checker(*EVERYTHING)), logged_in=False)
    with capturedLogs() as events:
        talk.say(b"AUTH PLAIN " + b64encode(b"alice\0mallory\0secret") + b"\r\n")
    (failed,) = [event for event in events if event.get("event") == "pop3.login_failed"]
    assert failed["user"] == "mallory"


SOME = Census(301, {b"APOP": 30, b"CRAM-MD5": 30, b"SCRAM-SHA-256": 301})


@pytest.mark.parametrize(
    ("census", "options", "line", "stamped"),
    [
        (SOME, {}, b"SCRAM-SHA-256 PLAIN LOGIN", False),
        (SOME, {"mechanisms": ("PLAIN", "CRAM-MD5")}, b"PLAIN CRAM-MD5", False),
        (SOME, {"mechanisms": ("APOP",)}, b"SCRAM-SHA-256 PLAIN LOGIN", True),
        (Census(2, dict.fromkeys([b"APOP", b"CRAM-MD5"], 2)), {}, b"CRAM-MD5 PLAIN LOGIN", True),
        (Census(2, dict.fromkeys([b"APOP", b"CRAM-MD5"], 2), frozenset()), {}, b"PLAIN LOGIN", False),
        (Census(0, {}, frozenset({b"APOP", b"CRAM-MD5"})), {}, b"CRAM-MD5 PLAIN LOGIN", True),
    ],
)
def test_what_only_some_users_can_use_is_announced_if_it_is_named(
    census: Census, options: dict[str, Any], line: bytes, stamped: bool
) -> None:
    checker = Checker(IUsernamePassword, IUsernameHashedPassword, IVerifiedIdentity)
    made = factory(checker, oracle=Oracle(b"SCRAM-SHA-1", b"SCRAM-SHA-256", census=census), **options)
    assert announced(made) == line
    talk = Talk(made, logged_in=False)
    assert (b"<" in talk.heard()) is stamped
    talk.lose()
