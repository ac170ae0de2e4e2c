"""A Dovecot that lies, stalls or breaks: each login ends in time, and nobody gets in by it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from mailserver.asker import asked_by
from mailserver.auth.dovecot.checker import DovecotAuth, DovecotUsers
from mailserver.auth.dovecot.service import ANSWER_SECONDS, MAX_QUESTIONS
from mailserver.auth.outage import QUIET_SECONDS
from mailserver.credentials import Password
from mailserver.errors import LoginRefused, TemporaryFailure, Unusable
from mailserver.interfaces import Mind

GREETING = b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t2\nCOOKIE\t3\nDONE\n"
ALICE = Password(b"alice", b"tanstaaf")


class Fake:
    """A Dovecot in memory, and a checker that asks it."""

    def __init__(self) -> None:
        self.reactor = MemoryReactorClock()
        self.checker = DovecotAuth("/run/auth-client")
        self.started = outcome(self.checker.start(self.reactor))
        self.transport = StringTransport()
        self.protocol: Any = None

    @property
    def attempts(self) -> int:
        return len(self.reactor.unixClients)

    def accept(self, say: bytes = GREETING) -> None:
        self.transport = StringTransport()
        self.protocol = self.reactor.unixClients[-1][1].buildProtocol(None)
        self.protocol.makeConnection(self.transport)
        self.say(say)

    def refuse(self, number: int) -> None:
        _, factory, *_ = self.reactor.unixClients[-1]
        factory.clientConnectionFailed(None, Failure(ConnectError(number)))

    def say(self, octets: bytes) -> None:
        self.protocol.dataReceived(octets)

    def close(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionLost()))

    def log_in(self, credentials: Password = ALICE, mind: Mind | None = None) -> list[Any]:
        return outcome(asked_by("", mind, self.checker.requestAvatarId, credentials))

    @property
    def asked(self) -> list[bytes]:
        return self.transport.value().splitlines()


def outcome(answer: Deferred[Any]) -> list[Any]:
    found: list[Any] = []
    answer.addCallbacks(found.append, lambda failure: found.append(failure.value))
    return found


def kinds(found: list[Any]) -> list[type]:
    return [type(each) for each in found]


@pytest.fixture
def fake() -> Fake:
    made = Fake()
    made.accept()
    assert made.started == [None]
    return made


@pytest.fixture
def told() -> Iterator[list[str]]:
    with capturedLogs() as events:
        names: list[str] = []
        yield names
        names += [event["event"].removeprefix("auth.dovecot.") for event in events]


def test_it_tells_dovecot_of_the_client_and_sends_the_secret_last(fake: Fake) -> None:
    fake.log_in(mind=Mind("2001:db8::1%eth0", tls=True, listener="pop3s", session="s1"))
    fake.log_in(mind=Mind("", tls=False, listener="pop3"))
    version, number, first, second = fake.asked
    assert version == b"VERSION\t1\t1"
    assert number.startswith(b"CPID\t")
    secret = b"resp=AGFsaWNlAHRhbnN0YWFm"
    facts = b"secured=tls rip=2001:db8::1 session=s1"
    assert first.split(b"\t") == [*b"AUTH 1 PLAIN service=pop3 no-penalty".split(), *facts.split(), secret]
    assert second.split(b"\t") == [*b"AUTH 2 PLAIN service=pop3 no-penalty".split(), secret]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"user=alice", "Dovecot refuses the name or the password"),
        (
            b"user=alice\tcode=user_disabled\treason=un\xffpaid",
            "Dovecot says that the user is disabled: 'un\\udcffpaid'",
        ),
        (b"user_disabled", "Dovecot says that the user is disabled"),
        (b"code=pass_expired", "Dovecot says that the password has expired"),
        (b"authz", "Dovecot does not let this user log in for another"),
        (b"code=authz_fail", "Dovecot does not let this user log in for another"),
    ],
)
def test_a_refusal_has_its_reason(fake: Fake, answer: bytes, reason: str) -> None:
    found = fake.log_in()
    fake.say(b"FAIL\t1\t" + answer + b"\n")
    assert isinstance(found[0], LoginRefused)
    assert found[0].reason == reason


@pytest.mark.parametrize("answer", [b"temp", b"code=temp_fail", b"user=alice\ttemp"])
def test_a_fault_of_its_own_database_is_no_refusal(fake: Fake, told: list[str], answer: bytes) -> None:
    found = fake.log_in()
    fake.say(b"FAIL\t1\t" + answer + b"\n")
    assert kinds(found) == [TemporaryFailure]


@pytest.mark.parametrize(
    "lie",
    [
        *(b"OK\t1", b"OK\t1\tuser=", b"OK\t1\tuser=../x", b"OK\t1\tuser=\xff", b"CONT\t1\tuser=alice", b"CONT\t1\t"),
        *(
            b"OK",
            b"OK\t",
            b"OK\tone\tuser=alice",
            b"OK\t-1\tuser=alice",
            b"USER\t1\tuser=alice",
            b"",
            b"\0",
            b"x" * 99999,
        ),
    ],
    ids=lambda lie: repr(lie[:20]),
)
def test_a_lie_lets_nobody_in_and_refuses_nobody(fake: Fake, lie: bytes) -> None:
    found = fake.log_in()
    with capturedLogs() as events:
        fake.say(lie + b"\n")
    assert kinds(found) == [TemporaryFailure]
    assert [event["event"] for event in events] == ["auth.dovecot.down"]
    assert "tanstaaf" not in repr(events)


def test_behind_a_lie_nothing_is_believed(fake: Fake) -> None:
    found = fake.log_in()
    fake.say(b"LIE\t1\nOK\t1\tuser=alice\n")
    assert fake.transport.disconnecting or fake.transport.disconnected
    again = fake.log_in()
    fake.say(b"OK\t2\tuser=alice\n")
    assert kinds(found + again) == [TemporaryFailure]
    old = fake.protocol
    fake.accept()
    old.connectionLost(Failure(ConnectionLost()))
    assert fake.asked[-1].startswith(b"AUTH\t2\t")
    fake.say(b"OK\t2\tuser=alice\n")
    assert again == [b"alice"]


def test_an_answer_goes_to_its_own_question(fake: Fake) -> None:
    first, second = fake.log_in(), fake.log_in(Password(b"bob", b"wrong"))
    fake.say(b"FAIL\t2\tuser=bob\nOK\t7\tuser=mallory\nOK\t1\tuser=alice\nOK\t2\tuser=bob\n")
    assert first == [b"alice"]
    assert kinds(second) == [LoginRefused]


def test_an_answer_may_come_in_pieces(fake: Fake) -> None:
    found = fake.log_in()
    for octet in b"OK\t1\tuser=alice\n":
        assert found == []
        fake.say(bytes([octet]))
    assert found == [b"alice"]


def test_what_it_does_not_answer_in_time_ends_and_another_connection_is_tried(fake: Fake, told: list[str]) -> None:
    first = fake.log_in()
    fake.reactor.advance(ANSWER_SECONDS / 2)
    second = fake.log_in()
    fake.reactor.advance(ANSWER_SECONDS / 2)
    assert kinds(first + second) == [TemporaryFailure] * 2
    third = fake.log_in()
    assert fake.attempts == 2
    fake.accept()
    fake.say(b"OK\t3\tuser=alice\n")
    assert third == [b"alice"]
    assert fake.reactor.getDelayedCalls() == []


def test_one_slow_answer_ends_no_other(fake: Fake, told: list[str]) -> None:
    slow = fake.log_in()
    fake.reactor.advance(ANSWER_SECONDS / 2)
    quick, later = fake.log_in(), fake.log_in()
    fake.say(b"OK\t2\tuser=alice\n")
    fake.reactor.advance(ANSWER_SECONDS / 2)
    assert kinds(slow) == [TemporaryFailure]
    assert (quick, later) == ([b"alice"], [])
    fake.say(b"OK\t1\tuser=alice\nOK\t3\tuser=alice\n")
    assert later == [b"alice"]
    assert len(slow) == 1


def test_trouble_is_told_once_and_its_end_too() -> None:
    fake = Fake()
    with capturedLogs() as events:
        fake.refuse(errno.ENOENT)
        for _ in range(5):
            found = fake.log_in()
            fake.refuse(errno.ECONNREFUSED)
            assert kinds(found) == [TemporaryFailure]
        fake.log_in()
        fake.accept()
        fake.say(b"OK\t6\tuser=alice\n")
        for number in (7, 8):  # trouble that comes and goes is not told for a while
            fake.log_in()
            fake.say(b"FAIL\t%d\ttemp\n" % number)
        fake.reactor.advance(QUIET_SECONDS)
        fake.log_in()
        fake.say(b"FAIL\t9\ttemp\n")
    assert fake.started == [None]
    assert [event["event"].removeprefix("auth.dovecot.") for event in events] == ["down", "up", "down"]
    assert events[0]["reason"] == "no connection (ENOENT): is Dovecot running?"


def test_a_fault_of_its_own_database_is_over_when_somebody_logs_in(fake: Fake) -> None:
    with capturedLogs() as events:
        for number in (1, 2, 3):
            fake.log_in()
            fake.say(b"FAIL\t%d\ttemp\n" % number)
        assert [event["event"] for event in events] == ["auth.dovecot.down"]
        fake.log_in()
        fake.say(b"OK\t4\tuser=alice\n")
    assert [event["event"] for event in events] == ["auth.dovecot.down", "auth.dovecot.up"]


def test_a_connection_that_ends_while_nothing_is_asked_is_no_trouble(fake: Fake) -> None:
    with capturedLogs() as events:
        fake.close()
        found = fake.log_in()
        fake.accept()
        fake.say(b"OK\t1\tuser=alice\n")
    assert (found, events) == ([b"alice"], [])


def test_a_connection_that_breaks_fails_what_was_asked(fake: Fake, told: list[str]) -> None:
    found = fake.log_in()
    fake.close()
    assert kinds(found) == [TemporaryFailure]
    assert fake.reactor.getDelayedCalls() == []


def test_a_client_that_leaves_is_forgotten(fake: Fake) -> None:
    answer = fake.checker.requestAvatarId(ALICE)
    found = outcome(answer)
    answer.cancel()
    fake.say(b"OK\t1\tuser=alice\n")
    assert len(found) == 1
    assert fake.reactor.getDelayedCalls() == []


def test_so_many_wait_and_no_more(fake: Fake) -> None:
    waiting = [fake.log_in() for _ in range(MAX_QUESTIONS)]
    assert kinds(fake.log_in()) == [TemporaryFailure]
    assert waiting == [[]] * MAX_QUESTIONS
    fake.checker.stop()
    assert [kinds(found) for found in waiting] == [[TemporaryFailure]] * MAX_QUESTIONS
    assert fake.reactor.getDelayedCalls() == []


def test_after_a_stop_nothing_is_asked(fake: Fake) -> None:
    fake.checker.stop()
    assert kinds(fake.log_in()) == [TemporaryFailure]
    assert fake.attempts == 1


def test_a_service_that_may_not_be_asked_is_an_error_at_the_start() -> None:
    fake = Fake()
    with capturedLogs():
        fake.refuse(errno.EACCES)
    assert kinds(fake.started) == [Unusable]
    assert "unix_listener" in str(fake.started[0])


def test_one_that_does_not_greet_is_not_waited_for_at_the_start(told: list[str]) -> None:
    fake = Fake()
    fake.accept(b"VERSION\t1\t2\nMECH\tPLAIN\n")
    fake.reactor.advance(ANSWER_SECONDS)
    assert fake.started == [None]


@pytest.mark.parametrize(
    "greeting", [b"VERSION\t2\t0\n", b"+OK hello\n", b"SPID\t1\nDONE\n", b"VERSION\t1\t2\nMECH\tLOGIN\nDONE\n"]
)
def test_what_is_no_service_for_passwords_is_an_error_at_the_start(greeting: bytes) -> None:
    fake = Fake()
    with capturedLogs():
        fake.accept(greeting)
    assert kinds(fake.started) == [Unusable]


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"NOTFOUND\t1", [None]),
        (b"FAIL\t1\treason=x", [TemporaryFailure]),
        (b"USER\t1", [TemporaryFailure]),
        (b"USER\t1\t../x\thome=/home/x", [TemporaryFailure]),
    ],
)
def test_a_userdb_that_cannot_tell_does_not_say_that_nobody_is_there(answer: bytes, found: list[Any]) -> None:
    reactor = MemoryReactorClock()
    checker = DovecotUsers("/run/auth-client", "/run/auth-userdb")
    checker.start(reactor)
    for greeting in (GREETING, b"VERSION\t1\t1\nSPID\t1\n"):
        protocol: Any = reactor.unixClients[-1][1].buildProtocol(None)
        protocol.makeConnection(StringTransport())
        protocol.dataReceived(greeting)
    answered = outcome(checker.lookup("alice"))
    with capturedLogs():
        protocol.dataReceived(answer + b"\n")
    assert [each if each is None else type(each) for each in answered] == found
