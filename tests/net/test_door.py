"""The door without a connection: what HTTP, or any protocol that is not POP3, would ask of it."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from zope.interface import Interface, implementer

from mailserver.asker import asker, client
from mailserver.credentials import ActingFor, BearerToken, IActingFor, IKerberosIdentity, KerberosIdentity, Password
from mailserver.errors import AuthenticationFailed, HeldTooLong, LoginRefused, LoginTooSoon, MaildropInUse
from mailserver.exchange import VerifierOf
from mailserver.interfaces import Mind
from mailserver.net.door import Door, Visit
from mailserver.net.throttle import PATIENCE_SECONDS, Throttle
from tests.net.sessions import make_factory

FACTS = {"peer": "192.0.2.1", "user": "alice", "who": "alice"}
RIGHT, WRONG = Password(b"alice", b"secret"), Password(b"alice", b"guess")


class IPage(Interface):
    """What a web page would ask for."""


@implementer(IRealm)
class Pages:
    """Opens a page for whoever was let in."""

    def __init__(self) -> None:
        self.logouts: list[str] = []
        self.asked: list[Any] = []
        self.trouble: Exception | None = None

    def requestAvatar(self, avatar_id: Any, mind: object, *interfaces: object) -> Any:
        self.asked.append(interfaces)
        if self.trouble is not None:
            raise self.trouble
        return IPage, avatar_id, lambda: self.logouts.append(avatar_id)


def as_it_is(_interface: object, avatar: Any) -> Any:
    return avatar


class Place:
    """A door, and visits to it."""

    def __init__(self, adapt: Any = as_it_is, **options: Any) -> None:
        self.clock = Clock()
        self.realm = Pages()
        portal = Portal(self.realm, [InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret", bob=b"secret")])
        self.door = Door(portal, Throttle(self.clock, 2), interfaces=(IPage,), adapt=adapt, **options)

    def visit(self) -> Visit:
        return Visit(self.door, "192.0.2.1")

    def log_in(self, visit: Visit, credentials: Any = RIGHT) -> list[Any]:
        return heard(maybeDeferred(visit.log_in, credentials, Mind(visit.peer, tls=True, listener="web")))


def heard(answer: Deferred[Any]) -> list[Any]:
    found: list[Any] = []
    answer.addBoth(found.append)
    return found


def test_whoever_is_let_in_gets_what_the_door_makes_of_his_avatar_and_owes_a_logout() -> None:
    place = Place(lambda interface, avatar: (interface, b"page of " + avatar))
    visit = place.visit()
    assert place.log_in(visit) == [(IPage, b"page of alice")]
    assert place.realm.asked == [(IPage,)]
    assert (visit.user, visit.principal) == ("alice", "")
    visit.log_out(FACTS)
    visit.log_out(FACTS)
    assert place.realm.logouts == [b"alice"]


def test_a_wrong_secret_holds_back_the_next_attempt_and_its_turn_comes() -> None:
    place = Place()
    visit = place.visit()
    (failure,) = place.log_in(visit, WRONG)
    with capturedLogs() as events:
        refusal = visit.refuse(failure, FACTS, b"PASS")
    assert isinstance(refusal, AuthenticationFailed)
    assert [event["event"] for event in events] == ["pop3.login_failed"]
    page = place.log_in(visit)
    assert page == []
    place.clock.advance(2)
    assert page == [b"alice"]


def test_a_login_that_comes_too_soon_had_the_right_secret_and_is_logged() -> None:
    place = Place()
    first, early = place.visit(), place.visit()
    first.refuse(place.log_in(first, WRONG)[0], FACTS)
    place.clock.advance(2)
    place.realm.trouble = LoginTooSoon(40)
    (failure,) = place.log_in(early)
    with capturedLogs() as events:
        refusal = early.refuse(failure, FACTS, b"PASS")
    assert refusal.line.startswith(b"[LOGIN-DELAY] ")
    assert [(event["event"], event["left"]) for event in events] == [("pop3.login_delayed", 40)]
    place.realm.trouble = None
    place.door.attempt("198.51.100.1", "alice").failed()
    assert place.log_in(place.visit()) == [b"alice"], "the network is known, as after any right secret"


def test_whose_turn_is_given_up_is_held_and_nothing_is_verified() -> None:
    place = Place()
    first, second = place.visit(), place.visit()
    first.refuse(place.log_in(first, WRONG)[0], FACTS)
    waiting = place.log_in(second)
    second.give_up_turn()
    (failure,) = waiting
    assert failure.check(HeldTooLong)
    with capturedLogs() as events:
        assert isinstance(second.refuse(failure, FACTS, b"PASS"), HeldTooLong)
    assert [event["event"] for event in events] == ["pop3.login_held"]
    assert place.realm.asked == []


def test_an_answer_that_is_cancelled_after_its_client_has_left_takes_no_turn() -> None:
    place = Place()
    first, second = place.visit(), place.visit()
    first.refuse(place.log_in(first, WRONG)[0], FACTS)
    answer = second.log_in(RIGHT, Mind(second.peer, tls=True, listener="web"))
    second.leave()
    answer.cancel()
    (failure,) = heard(answer)
    assert failure.check(CancelledError)
    place.clock.advance(PATIENCE_SECONDS)
    assert place.realm.asked == []
    assert place.clock.getDelayedCalls() == []


def test_a_login_whose_turn_has_come_is_cancelled_as_one_that_had_not_to_wait() -> None:
    cancelled: list[Any] = []
    place = Place(lambda _interface, _avatar: Deferred(cancelled.append))
    first, second = place.visit(), place.visit()
    first.refuse(place.log_in(first, WRONG)[0], FACTS)
    answer = second.log_in(RIGHT, Mind(second.peer, tls=True, listener="web"))
    place.clock.advance(2)
    second.leave()
    answer.cancel()
    assert len(cancelled) == 1
    assert heard(answer)[0].check(CancelledError)
    second.log_out(FACTS)
    assert place.realm.logouts == [b"alice"]


def test_an_avatar_that_cannot_be_adapted_is_given_back() -> None:
    def in_use(_interface: object, _avatar: object) -> None:
        raise MaildropInUse("by somebody")

    place = Place(in_use)
    visit = place.visit()
    (failure,) = place.log_in(visit)
    visit.refuse(failure, FACTS, b"PASS")
    assert place.realm.logouts == [b"alice"]
    assert place.door.attempt("192.0.2.1", "alice").granted.called  # his secret was right


@implementer(ICredentialsChecker)
class Masters:
    """Lets everybody act for everybody."""

    credentialInterfaces = (IActingFor,)  # noqa: N815 - ICredentialsChecker names it so

    def requestAvatarId(self, credentials: Any) -> Any:
        return credentials.authzid


def test_who_acts_for_another_is_told_apart_from_him() -> None:
    place = Place()
    place.door = Door(Portal(place.realm, [Masters()]), Throttle(place.clock, 2), interfaces=(IPage,), adapt=as_it_is)
    visit = place.visit()
    assert place.log_in(visit, ActingFor(RIGHT, b"bob")) == [b"bob"]
    assert (visit.user, visit.principal) == ("bob", "alice")


@implementer(ICredentialsChecker)
class Tickets:
    """Lets in whoever has a ticket."""

    credentialInterfaces = (IKerberosIdentity,)  # noqa: N815 - ICredentialsChecker names it so

    def requestAvatarId(self, credentials: Any) -> Any:
        return credentials.username or b"alice"


class Naming(Pages):
    """Tells whose page it opened."""

    def requestAvatar(self, avatar_id: Any, mind: Any, *interfaces: object) -> Any:
        mind.user = avatar_id.decode()
        return super().requestAvatar(avatar_id, mind, *interfaces)


@pytest.mark.parametrize(("named", "user"), [(b"", "alice"), (b"bob", "bob")])
def test_a_ticket_that_names_no_user_is_the_user_s_whom_the_realm_finds(named: bytes, user: str) -> None:
    place = Place()
    portal = Portal(Naming(), [Tickets()])
    place.door = Door(portal, Throttle(place.clock, 2), interfaces=(IPage,), adapt=as_it_is)
    visit = place.visit()
    assert place.log_in(visit, KerberosIdentity("alice@EXAMPLE.ORG", named)) == [user.encode()]
    assert (visit.user, visit.principal) == (user, "alice@EXAMPLE.ORG")


class Oracle:
    """Answers at once, and keeps the questions."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.asked: list[object] = []
        self.askers: list[str | None] = []

    def ask(self, request: object) -> Deferred[object]:
        self.asked.append(request)
        self.askers.append(asker())
        return succeed(self.answer)


def test_a_question_about_a_secret_waits_for_its_turn_and_one_about_a_ticket_does_not() -> None:
    oracle: Any = Oracle("keys")
    place = Place(oracle=oracle)
    visit = place.visit()
    visit.refuse(place.log_in(visit, WRONG)[0], FACTS)
    answer = heard(visit.ask(VerifierOf(b"alice", b"SCRAM-SHA-256")))
    assert oracle.asked == []
    assert heard(place.visit().ask("a ticket")) == ["keys"]
    place.clock.advance(2)
    assert answer == ["keys"]
    assert oracle.askers == ["192.0.2.1"] * 2  # whose share of the threads it is


@implementer(ICredentialsChecker)
class Curious:
    """Lets all in, and keeps who they are."""

    credentialInterfaces = (IUsernamePassword,)  # noqa: N815 - ICredentialsChecker names it so

    def __init__(self) -> None:
        self.clients: list[tuple[str | None, Mind | None]] = []

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        self.clients.append((asker(), client()))
        return succeed(credentials.username)


def test_a_checker_can_ask_which_client_logs_in() -> None:
    curious, place = Curious(), Place()
    place.door = Door(Portal(Pages(), [curious]), Throttle(place.clock, 2), interfaces=(IPage,), adapt=as_it_is)
    place.log_in(place.visit())
    assert curious.clients == [("192.0.2.1", Mind("192.0.2.1", tls=True, listener="web"))]
    assert client() is None


@pytest.mark.parametrize("bad", [None, LoginRefused("expired")])
def test_a_bad_token_is_a_failed_attempt(bad: object) -> None:
    place = Place(oracle=Oracle(bad))
    visit = place.visit()
    assert heard(visit.ask(BearerToken(b"token", b"alice"))) == [bad]
    place.log_in(visit, KerberosIdentity("bob@EXAMPLE.ORG", b"bob"))  # a proof of somebody else takes nothing back
    assert not place.door.attempt("192.0.2.1", "alice").granted.called


def test_a_question_without_an_oracle_is_a_temporary_failure() -> None:
    refused: list[Any] = []
    make_factory().door.ask(object()).addErrback(refused.append)
    assert refused[0].value.code == b"SYS/TEMP"
