"""KPOP over a transport: what is written when, how long it may take, and what the log says."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import eventAsText
from zope.interface.verify import verifyObject

from mailserver.credentials import KerberosIdentity
from mailserver.interfaces import IAcceptor, Mind
from mailserver.net.kpop import KPOPServerFactory
from mailserver.net.listener import Limits
from mailserver.protocol.kpop import AP_REQ_LIMIT, WITHOUT_KERBEROS
from tests.net.sessions import Maildrop, Talk, portal_of
from tests.net.tickets import (
    ACCEPTED,
    AP_REP,
    DETAIL,
    GREETING,
    HELLO,
    MUTUAL,
    TICKET,
    Acceptor,
    kpop_factory,
    piece,
)
from tests.protocol import der

LOGIN = b"USER alice\r\nPASS krb_ticket\r\n"
REFUSED = b"-ERR [AUTH] authentication failed\r\n"


class KpopTalk(Talk):
    def __init__(self, factory: Any = None, **options: Any) -> None:
        super().__init__(factory or kpop_factory(**options), logged_in=False)

    def after(self, seconds: float) -> bytes:
        """What comes within so many seconds, of which the factory's sweep sees each."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
        return self.heard()


def named(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event.get("event") == name]


def test_the_fake_acceptor_is_one():
    assert verifyObject(IAcceptor, Acceptor())


# What is written.


def test_the_server_waits_for_the_client_to_speak():
    assert KpopTalk().heard() == b""


def test_acceptance_ap_rep_and_greeting_leave_in_one_write():
    talk = KpopTalk()
    talk.say(HELLO)
    assert talk.heard() == b"\0"
    talk.say(MUTUAL)
    assert talk.wire.writes == [ACCEPTED + AP_REP + GREETING]


def test_the_same_when_the_verification_takes_its_time():
    talk = KpopTalk()
    talk.factory.acceptor.waiting = waiting = Deferred[None]()
    talk.say(HELLO + MUTUAL)
    assert talk.heard() == b"\0"
    waiting.callback(None)
    assert talk.wire.writes == [ACCEPTED + AP_REP + GREETING]


def test_a_client_that_waits_for_nothing_gets_all_answers_in_one_write():
    talk = KpopTalk(maildrop=Maildrop([b"a\r\n"]))
    talk.say(HELLO + TICKET + LOGIN + b"STAT\r\n")
    first = b"\0" + ACCEPTED + GREETING + b"+OK send PASS\r\n"
    assert talk.wire.writes == [first + b"+OK maildrop has 1 messages (3 octets)\r\n+OK 1 3\r\n"]


def test_what_comes_while_a_ticket_is_verified_is_read_after_it():
    talk = KpopTalk()
    talk.factory.acceptor.waiting = waiting = Deferred[None]()
    talk.say(HELLO + TICKET + b"USER al")
    talk.say(b"ice\r\n")
    assert talk.heard() == b"\0"
    waiting.callback(None)
    assert talk.heard() == ACCEPTED + GREETING + b"+OK send PASS\r\n"


def test_reading_does_not_stop_within_the_longest_ap_req():
    talk = KpopTalk()
    talk.say(HELLO + AP_REQ_LIMIT.to_bytes(4, "big") + b"x" * (AP_REQ_LIMIT - 1))
    assert talk.wire.producerState == "producing"
    talk.say(b"x")
    assert talk.heard() == b"\0" + ACCEPTED + GREETING


def test_reading_stops_when_too_much_waits_for_the_verification():
    talk = KpopTalk()
    talk.factory.acceptor.waiting = waiting = Deferred[None]()
    talk.say(HELLO + TICKET + b"USER alice\r\n" * 10_000)
    assert talk.wire.producerState == "paused"
    talk.heard()
    waiting.callback(None)
    assert talk.turns() == ACCEPTED + GREETING + b"+OK send PASS\r\n" * 10_000
    assert talk.wire.producerState == "producing"


# Who gets in, and where.


def test_a_portal_that_knows_no_principals_is_an_error_at_once():
    with pytest.raises(ValueError, match="a checker for principals"):
        KPOPServerFactory(portal_of(Maildrop(())), Acceptor(), clock=Clock())


def test_the_portal_is_asked_for_the_maildrop_of_a_principal_and_never_sees_the_password():
    talk = KpopTalk()
    talk.say(HELLO + TICKET + b"USER alice\r\nPASS my real password\r\n")
    assert talk.factory.checker.seen == [KerberosIdentity("alice@KPOP.TEST", b"alice")]
    assert talk.factory.portal.realm.minds == [Mind("", False, "kpop")]


def test_a_maildrop_that_is_not_the_principal_s_is_refused_as_a_wrong_password_is(events):
    talk = KpopTalk()
    talk.say(HELLO + TICKET + b"USER bob\r\nPASS krb_ticket\r\n")
    assert talk.heard() == b"\0" + ACCEPTED + GREETING + b"+OK send PASS\r\n" + REFUSED
    (event,) = named(events, "pop3.login_failed")
    assert (event["user"], event["principal"], event["mechanism"]) == ("bob", "alice@KPOP.TEST", "KPOP")
    assert eventAsText(event).endswith(
        "failed login of 'bob (alice@KPOP.TEST)' from  by KPOP: refused without a reason"
    )


def test_tls_may_be_required_and_then_must_be_there():
    with pytest.raises(ValueError, match="needs a certificate"):
        kpop_factory(require_tls=True)
    talk = KpopTalk(require_tls=True, tls=object())
    talk.say(HELLO + TICKET)
    talk.heard()
    talk.say(b"CAPA\r\n")
    assert b"\r\nSTLS\r\n" in talk.wire.value()
    assert b"\r\nUSER\r\n" not in talk.heard()
    talk.say(LOGIN)
    assert talk.heard().startswith(b"-ERR send STLS first")


def test_cleartext_is_about_passwords_and_so_not_about_kpop():
    talk = KpopTalk(cleartext="tls")
    talk.say(HELLO + TICKET + LOGIN)
    assert talk.heard().endswith(b"+OK maildrop has 0 messages (0 octets)\r\n")


def test_one_line_tells_what_a_session_did_and_for_whom(events):
    talk = KpopTalk(maildrop=Maildrop([b"a\r\n"]))
    talk.say(HELLO + TICKET + LOGIN + b"RETR 1\r\nQUIT\r\n")
    talk.lose()
    (event,) = named(events, "pop3.session")
    fields = ("user", "principal", "listener", "retrieved")
    assert [event[field] for field in fields] == ["alice", "alice@KPOP.TEST", "kpop", 1]
    assert " of 'alice (alice@KPOP.TEST)' from" in eventAsText(event)
    assert event["octets_out"] == len(talk.wire.value())


# Refusals.


def refused(answer: bytes) -> Any:
    assert answer[1:] == piece(answer[5:])
    return der.error(answer[5:])


def test_a_refused_ticket_is_told_by_its_code_and_to_the_operator_by_its_cause(events):
    talk = KpopTalk(now=lambda: 1_795_404_259.25)
    talk.say(HELLO + piece(b"replay"))
    error = refused(talk.heard())
    assert error == {
        "time": b"20261123032419Z",
        "microseconds": 250_000,
        "code": 34,
        "realm": b"",
        "server": [b"pop", b"h"],
        "text": b"the request was used before\0",
    }
    assert talk.closed
    assert [event["reason"] for event in named(events, "kerberos.refused")] == [DETAIL]


def test_refused_tickets_make_nobody_wait():
    talk = KpopTalk()
    for _ in range(5):
        again = KpopTalk(talk.factory)
        again.say(HELLO + piece(b"replay"))
        assert refused(again.heard())
    assert talk.factory.door.attempt("", "alice").granted.called


def test_strangers_who_guess_make_no_ticket_wait():
    talk = KpopTalk()
    for n in range(5):
        talk.factory.door.attempt(f"192.0.2.{n}", "alice")
        talk.factory.door.attempt("", f"user{n}")
    talk.say(HELLO + TICKET + b"USER bob\r\nPASS x\r\nUSER alice\r\nPASS x\r\n")
    assert REFUSED + b"+OK send PASS\r\n+OK maildrop has " in talk.heard()


def test_too_many_verifications_are_the_server_s_trouble(events):
    talk = KpopTalk()
    talk.say(HELLO + piece(b"busy"))
    assert refused(talk.heard())["code"] == 60
    assert talk.closed
    assert not named(events, "fault")


def test_a_fault_is_logged_and_told_as_one_that_has_no_code(events):
    talk = KpopTalk()
    talk.say(HELLO + piece(b"fault"))
    assert refused(talk.heard())["code"] == 60
    assert talk.closed
    assert "a fault of ours" in named(events, "fault")[0]["log_failure"].getErrorMessage()


@pytest.mark.parametrize("hello", [b"AUTHV0.1KPOPV0.1", b"\x16\x03\x01\x02\x00\x01", b"CAPA\r\n", b"\0\0\0\0"])
def test_strangers_get_a_line_and_are_closed(hello, events):
    talk = KpopTalk()
    talk.say(hello)
    assert talk.heard() == WITHOUT_KERBEROS
    assert talk.closed
    assert named(events, "kpop.turned_away")[0]["reason"].startswith("no sendauth")


def test_two_gigabytes_are_not_waited_for(events):
    talk = KpopTalk()
    talk.say(HELLO + b"\x7f\xff\xff\xff")
    assert talk.heard() == b"\0"
    assert talk.closed
    assert named(events, "kpop.turned_away")[0]["reason"] == "no AP-REQ has 2147483647 octets"


# Time.


def test_a_silent_client_hears_after_30_seconds_what_it_may_be_missing():
    talk = KpopTalk()
    assert talk.after(29) == b""
    assert talk.after(6) == WITHOUT_KERBEROS
    assert talk.closed


@pytest.mark.parametrize("begun", [b"\0", HELLO[:30], HELLO, HELLO + TICKET[:8]])
def test_a_client_that_dribbles_has_30_seconds_in_all(begun):
    talk = KpopTalk()
    talk.say(begun)
    talk.heard()
    talk.after(20)
    talk.say(b"\0\n")
    assert talk.after(9) == b""
    assert not talk.closed
    assert talk.after(6) == b""
    assert talk.closed


def test_a_verification_that_hangs_ends_after_30_seconds_too():
    talk = KpopTalk()
    talk.factory.acceptor.waiting = waiting = Deferred[None]()
    talk.say(HELLO + TICKET)
    talk.heard()
    talk.after(36)
    assert talk.wire.disconnected
    talk.lose()
    waiting.callback(None)
    assert talk.heard() == b""


def test_the_time_for_the_login_counts_from_the_connection_on():
    talk = KpopTalk(limits=Limits(login_seconds=60))
    talk.after(20)
    talk.say(HELLO + TICKET)
    talk.heard()
    assert talk.after(35) == b""
    assert not talk.closed
    assert talk.after(10) == b""
    assert talk.closed


# Ends.


def test_the_result_is_dropped_when_the_client_leaves_while_it_is_verified(events):
    talk = KpopTalk()
    talk.factory.acceptor.waiting = waiting = Deferred[None]()
    talk.say(HELLO + TICKET + LOGIN)
    talk.heard()
    talk.lose()
    waiting.callback(None)
    assert talk.heard() == b""
    assert not talk.factory.checker.seen
    assert not [event for event in events if str(event.get("event", "")).startswith("pop3.")]
    assert talk.factory.drain().called


def test_a_ticket_of_a_client_that_left_is_forgotten(events):
    gone = []
    talk = KpopTalk()
    talk.factory.acceptor.waiting = waiting = Deferred[None](gone.append)
    talk.say(HELLO + TICKET)
    talk.heard()
    talk.lose()
    assert gone == [waiting]
    assert talk.heard() == b""
    assert not named(events, "kerberos.refused")
    assert not named(events, "fault")


def test_a_server_that_stops_has_no_words_for_a_client_in_the_preamble():
    talk = KpopTalk()
    talk.say(HELLO)
    talk.heard()
    talk.factory.drain()
    assert talk.heard() == b""
    assert talk.closed


def test_a_ticket_under_way_is_still_answered_when_the_server_stops():
    talk = KpopTalk()
    talk.factory.acceptor.waiting = waiting = Deferred[None]()
    talk.say(HELLO + TICKET)
    talk.heard()
    talk.factory.drain()
    waiting.callback(None)
    assert talk.heard() == ACCEPTED + GREETING + b"-ERR [SYS/TEMP] the server is stopping\r\n"
    assert talk.closed


def test_the_limits_are_those_of_every_listener():
    factory = kpop_factory(limits=Limits(connections_per_address=1))
    peer = IPv4Address("TCP", "192.0.2.1", 1)
    first = Talk(factory, peer, logged_in=False)
    assert first.heard() == b""
    assert Talk(factory, peer, logged_in=False).heard() == b"-ERR [SYS/TEMP] too many connections\r\n"
