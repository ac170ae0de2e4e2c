from __future__ import annotations

import time
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.address import IPv4Address
from twisted.internet.defer import fail
from twisted.internet.error import ConnectionLost
from twisted.logger import capturedLogs, eventAsText
from twisted.python.failure import Failure

from mailserver.errors import LoginRefused, OutcomeUnknown
from mailserver.net import Limits, POP3ServerFactory
from mailserver.net.story import Fetches
from mailserver.refusals import login_refused
from mailserver.snapshot import Renewed
from tests.net.sessions import Maildrop, Talk, make_factory

HERE = IPv4Address("TCP", "192.0.2.1", 110)
MAIL = [b"one\r\n", b"two\r\n"]


def told(said: bytes, end: Any = None, maildrop: Maildrop | None = None, **options: Any) -> dict[str, Any]:
    """The line of a session that said this and then ended like that."""
    with capturedLogs() as events:
        talk = Talk(make_factory(maildrop or Maildrop(MAIL), **options))
        talk.say(said)
        if end is not None:
            end(talk)
        if not talk.server.lost:
            talk.lose()
    (event,) = [event for event in events if event.get("event") == "pop3.session"]
    return event


def lose(why: Exception) -> Any:
    return lambda talk: talk.server.connectionLost(Failure(why))


def wait(talk: Talk) -> None:
    talk.clock.pump([5] * 125)


@pytest.mark.parametrize(
    ("said", "end", "ended"),
    [
        (b"QUIT\r\n", None, "QUIT"),
        (b"", None, "client's close"),
        (b"", lose(ConnectionLost()), "connection lost"),
        (b"", lose(SSL.Error([("SSL routines", "", "decryption failed")])), "TLS error"),
        (b"", wait, "idle timeout"),
        (b"", lambda talk: talk.factory.drain(), "server stop"),
        (b"", lambda talk: talk.factory.abort(), "server stop"),
        (b"x" * 300, None, "refusal: line too long"),
    ],
)
def test_the_line_of_a_session_says_how_it_ended(said: bytes, end: Any, ended: str) -> None:
    event = told(said, end)
    assert event["ended"] == ended
    assert f"ended by {ended}" in eventAsText(event)


def test_a_fault_of_ours_ends_a_session_as_such() -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError

    maildrop = Maildrop(MAIL)
    maildrop.answer = broken
    assert told(b"RETR 1\r\n", maildrop=maildrop)["ended"] == "fault"


@pytest.mark.parametrize(("said", "marked"), [(b"DELE 1\r\nDELE 2\r\n", 2), (b"DELE 1\r\nRSET\r\n", 0), (b"", 0)])
def test_marks_that_were_lost_are_told(said: bytes, marked: int) -> None:
    event = told(said)
    assert (event["marked"], event["deleted"]) == (marked, 0)
    assert (f"{marked} marked but NOT deleted" in eventAsText(event)) is (marked > 0)


def test_what_quit_removed_is_not_called_lost() -> None:
    event = told(b"DELE 1\r\nQUIT\r\n")
    assert (event["marked"], event["deleted"]) == (0, 1)
    assert "NOT deleted" not in eventAsText(event)


def test_deletions_that_wait_for_the_next_login_are_not_called_lost() -> None:
    maildrop = Maildrop(MAIL)
    maildrop.commits = lambda: fail(OutcomeUnknown("no space"))
    event = told(b"DELE 1\r\nQUIT\r\n", maildrop=maildrop)
    assert event["ended"] == "QUIT, to be finished by the next login"
    assert "NOT deleted" not in eventAsText(event)


def visits(factory: POP3ServerFactory, *sessions: bytes, peer: Any = HERE) -> list[bool]:
    """Of each session, whether it fetched again what its client had."""
    with capturedLogs() as events:
        for said in sessions:
            talk = Talk(factory, peer)
            talk.say(said + b"QUIT\r\n")
            talk.lose()
    return [event["uidl_all"] for event in events if event.get("event") == "pop3.session"]


ALL, FIRST, NONE = b"RETR 1\r\nRETR 2\r\n", b"RETR 1\r\n", b""


@pytest.mark.parametrize(
    ("sessions", "again"),
    [
        ((ALL, ALL), [False, True]),
        ((ALL, NONE, ALL), [False, False, True]),
        ((FIRST, ALL), [False, True]),
        ((ALL, FIRST), [False, False]),
        ((NONE, ALL), [False, False]),
        ((ALL + b"DELE 1\r\nDELE 2\r\n", ALL), [False, False]),
        ((ALL + b"DELE 2\r\n", ALL), [False, True]),
    ],
)
def test_a_client_that_fetches_all_again_is_told(sessions: tuple[bytes, ...], again: list[bool]) -> None:
    assert visits(make_factory(Maildrop(MAIL)), *sessions) == again


def test_a_second_client_of_the_same_user_has_fetched_nothing_yet() -> None:
    factory = make_factory(Maildrop(MAIL))
    assert visits(factory, ALL) == [False]
    assert visits(factory, ALL, peer=IPv4Address("TCP", "192.0.2.2", 110)) == [False]
    assert visits(factory, ALL) == [True]


def test_the_memory_of_fetches_has_an_end() -> None:
    factory = make_factory(Maildrop(MAIL), fetches=Fetches(2))
    for host in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        visits(factory, ALL, peer=IPv4Address("TCP", host, 110))
    assert visits(factory, ALL) == [False]
    assert len(factory.fetches._last) == 2


@pytest.mark.parametrize(
    ("said", "event", "field", "value"),
    [
        (b"\x16\x03\x01\x02\x00", "pop3.wrong_protocol", "spoken", "TLS"),
        (b"GET / HTTP/1.1\r\n", "pop3.wrong_protocol", "spoken", "HTTP"),
        (b"USER al ice\r\nUSER al ice\r\nQUIT\r\n", "pop3.needs_tls", "name", "al ice"),
        (b"AUTH PLAIN\r\nQUIT\r\n", "pop3.needs_tls", "name", ""),
    ],
)
def test_a_client_that_is_set_up_wrongly_gets_one_line(said: bytes, event: str, field: str, value: str) -> None:
    with capturedLogs() as events:
        talk = Talk(make_factory(cleartext="tls"), HERE, logged_in=False)
        talk.say(said)
        talk.lose()
    (found,) = events
    assert (found["event"], found[field], found["peer"]) == (event, value, "192.0.2.1")


def test_every_event_of_a_session_names_it() -> None:
    maildrop = Maildrop(MAIL)
    maildrop.commits = lambda: fail(OutcomeUnknown("no space"))
    with capturedLogs() as events:
        for _ in range(2):
            talk = Talk(make_factory(maildrop, limits=Limits(failure_delay_seconds=0)), HERE, logged_in=False)
            talk.say(b"USER alice\r\nPASS wrong\r\n")
            talk.clock.advance(1)
            talk.say(b"USER alice\r\nPASS secret\r\nDELE 1\r\nQUIT\r\n")
            talk.lose()
    assert [event["event"] for event in events] == ["pop3.login_failed", "store", "pop3.session"] * 2
    names = [event["session"] for event in events]
    assert names == [names[0]] * 3 + [names[3]] * 3
    assert names[0] != names[3]


def test_no_two_sessions_of_a_listener_share_a_name_and_the_realm_hears_it() -> None:
    factory = make_factory(Maildrop(MAIL))
    names = []
    for _ in range(3):
        talk = Talk(factory, HERE)
        names.append(talk.server.name)
        talk.lose()
    assert len(set(names)) == 3
    assert [mind.session for mind in factory.portal.realm.minds] == names


def test_a_name_cannot_forge_the_rest_of_its_line() -> None:
    with capturedLogs() as events:
        talk = Talk(make_factory(), HERE, logged_in=False)
        talk.say(b"USER bob' from 198.51.100.9 by PLAIN\r\nPASS x\r\n")
    assert 'failed login of "bob\' from 198.51.100.9 by PLAIN" from 192.0.2.1' in eventAsText(events[-1])


@pytest.mark.parametrize(
    ("refused", "text"),
    [
        (LoginRefused("wrong password"), "by USER: wrong password"),
        (LoginRefused("unknown user", "'al' is known", known=False), "by USER: unknown user ('al' is known)"),
        (UnauthorizedLogin(), "by USER: refused without a reason"),
    ],
)
def test_a_failed_login_tells_the_operator_why_and_the_client_nothing(refused: Exception, text: str) -> None:
    factory = make_factory(limits=Limits(failure_delay_seconds=0))
    factory.portal.checkers[IUsernamePassword].requestAvatarId = lambda _: fail(refused)
    with capturedLogs() as events:
        talk = Talk(factory, HERE, logged_in=False)
        talk.heard()
        talk.say(b"USER alice\r\nPASS hunter2\r\n")
        talk.clock.advance(1)
    assert talk.heard() == b"+OK send PASS\r\n-ERR [AUTH] authentication failed\r\n"
    (event,) = [event for event in events if event.get("event") == "pop3.login_failed"]
    assert text in eventAsText(event)
    assert (event["reason"], event["hint"]) == (login_refused(refused).reason, login_refused(refused).hint)
    assert "hunter2" not in repr(event)


def test_a_failed_login_tells_how_long_it_was_held_back() -> None:
    factory = make_factory(limits=Limits(failure_delay_seconds=2))
    with capturedLogs() as events:
        for _ in range(2):
            talk = Talk(factory, HERE, logged_in=False)
            talk.say(b"USER alice\r\nPASS wrong\r\n")
        talk.clock.advance(2)
    found = [event for event in events if event.get("event") == "pop3.login_failed"]
    assert [event["waited"] for event in found] == [0, 2]
    assert ["of waiting" in eventAsText(event) for event in found] == [False, True]


def renewed(*visitors: tuple[bytes, str], days: float = 0.0, memory: int = 9) -> list[tuple[str, int, int]]:
    """The alarms of sessions, each of which says this from this address, after the unique-ids changed so many days ago."""
    maildrop = Maildrop([*MAIL, b"three\r\n"])
    maildrop.messages.renewed = Renewed("format changed", int(time.time() - days * 86_400))
    factory = make_factory(maildrop, fetches=Fetches(memory))
    with capturedLogs() as events:
        for said, host in visitors:
            talk = Talk(factory, IPv4Address("TCP", host, 110))
            talk.say(said)
            talk.lose()
    alarms = [event for event in events if event.get("event") == "pop3.fetched_again"]
    assert all("unique-ids have changed: format changed" in eventAsText(event) for event in alarms)
    assert all(event["user"] == "alice" for event in alarms)
    return [(event["peer"], event["retrieved"], event["messages"]) for event in alarms]


A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"


def test_a_client_that_fetches_most_after_a_change_of_unique_ids_is_told_once() -> None:
    assert renewed((ALL, A), (ALL, A), (ALL, B)) == [(A, 2, 3), (B, 2, 3)]


def test_one_that_fetches_less_is_not() -> None:
    assert (
        renewed((FIRST, A), (b"QUIT\r\n", A), (b"RETR 1\r\nRETR 1\r\nRETR 1\r\n", A), (b"TOP 1 0\r\nTOP 2 0\r\n", A))
        == []
    )


def test_after_a_week_it_is_no_news() -> None:
    assert len(renewed((ALL, A), days=6.9)) == 1
    assert renewed((ALL, A), days=7.1) == []


def test_the_memory_of_those_who_were_told_has_an_end() -> None:
    assert [peer for peer, _, _ in renewed((ALL, A), (ALL, B), (ALL, C), (ALL, A), memory=2)] == [A, B, C, A]
