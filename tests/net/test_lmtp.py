"""The LMTP connection: what it hands over, what it tells, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import connectionDone
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from mailserver.errors import MaildropUnavailable, NoRoom, OverQuota, QuotaExceeded, TemporaryFailure
from mailserver.incoming import Sender
from mailserver.net.connection import UNREAD_LIMIT
from mailserver.net.listener import SWEEP_SECONDS
from tests.net.deliveries import ENVELOPE, HELLO, MESSAGE, Deliveries, Delivering, make_lmtp

PEER = IPv4Address("TCP", "192.0.2.7", 4711)
TEXT = MESSAGE + b".\r\n"


@pytest.fixture
def events() -> Iterator[list[dict[str, Any]]]:
    seen: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(seen.append)
    yield seen
    globalLogPublisher.removeObserver(seen.append)


def named(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event.get("event") == name]


def told(event: dict[str, Any]) -> str:
    return str(event["log_format"].format(**event))


# What is handed over.


def test_a_message_is_handed_over_with_its_envelope_and_its_sender() -> None:
    talk = Delivering(make_lmtp(), PEER)
    talk.say(
        b"MAIL FROM:<bob@example.net> SIZE=25\r\nRCPT TO:<alice@h> ORCPT=rfc822;a+2Bb@h\r\nRCPT TO:<carol>\r\nDATA\r\n"
    )
    talk.say(TEXT)
    assert talk.codes() == [b"250", b"250", b"250", b"354", b"250", b"250"]
    (kept,) = talk.deliveries.begun
    assert kept.sender == Sender(
        path=b"bob@example.net",
        host=b"client.example.org",
        peer="192.0.2.7",
        protocol=b"LMTP",
        tls="",
        session=talk.server.name,
        size=25,
    )
    assert kept.recipients == [(b"alice@h", b"a+b@h"), (b"carol", b"")]
    assert (kept.text, kept.ended) == (MESSAGE, "commit")


def test_the_protocol_of_the_trace_field_follows_from_the_transaction() -> None:
    talk = Delivering(make_lmtp(), PEER)
    talk.say(ENVELOPE + b"RSET\r\nMAIL FROM:<bob@x> SMTPUTF8\r\nRCPT TO:<\xc3\xbc>\r\n")
    assert [kept.sender.protocol for kept in talk.deliveries.begun] == [b"LMTP", b"UTF8LMTP"]


def test_the_reply_names_the_session_which_the_log_has() -> None:
    talk = Delivering(make_lmtp(), PEER)
    talk.say(ENVELOPE + b"DATA\r\n" + TEXT)
    assert f"250 2.0.0 delivered as {talk.server.name}\r\n".encode() in talk.heard()


def test_each_recipient_has_an_answer_of_its_own(events: Any) -> None:
    deliveries = Deliveries()
    deliveries.commits = lambda _: succeed([None, QuotaExceeded("of /home/bob"), OverQuota(), ZeroDivisionError()])
    talk = Delivering(make_lmtp(deliveries), PEER)
    talk.say(b"MAIL FROM:<>\r\n" + b"".join(b"RCPT TO:<u%d>\r\n" % n for n in range(4)) + b"DATA\r\n" + TEXT)
    lines = talk.heard().splitlines()[-4:]
    assert [line[:9] for line in lines] == [b"250 2.0.0", b"452 4.2.2", b"452 4.2.2", b"451 4.3.0"]
    assert b"home" not in b"".join(lines)
    assert [event["event"] for event in events if event.get("user")] == ["fault"], (
        "the rest was told by who found it out"
    )


def test_an_unknown_recipient_is_refused_and_the_others_get_the_message() -> None:
    talk = Delivering(make_lmtp(), PEER)
    talk.say(b"MAIL FROM:<>\r\nRCPT TO:<nobody>\r\nRCPT TO:<alice>\r\nDATA\r\n" + TEXT)
    assert talk.codes() == [b"250", b"550", b"250", b"354", b"250"]
    assert talk.deliveries.begun[0].recipients == [(b"alice", b"")]


def test_a_delivery_that_fails_as_a_whole_is_told_of_all() -> None:
    deliveries = Deliveries()
    deliveries.commits = lambda _: fail(NoRoom())
    talk = Delivering(make_lmtp(deliveries), PEER)
    talk.say(b"MAIL FROM:<>\r\nRCPT TO:<a>\r\nRCPT TO:<b>\r\nDATA\r\n" + TEXT)
    assert talk.codes()[-2:] == [b"452", b"452"]
    talk.say(ENVELOPE)
    assert talk.codes() == [b"250", b"250"]


def test_a_database_that_is_down_is_told_as_temporary_and_the_session_goes_on(events: Any) -> None:
    deliveries = Deliveries()
    deliveries.lookups = lambda _: fail(TemporaryFailure())
    talk = Delivering(make_lmtp(deliveries), PEER)
    talk.say(ENVELOPE)
    assert talk.codes() == [b"250", b"451"]
    deliveries.lookups = lambda _: fail(ZeroDivisionError())
    talk.say(b"RCPT TO:<alice>\r\n")
    assert talk.codes() == [b"451"]
    (fault,) = named(events, "fault")
    assert fault["user"] == "alice"


def test_lookups_are_asked_for_one_after_the_other() -> None:
    deliveries, asked = Deliveries(), []
    waiting: list[Deferred[None]] = []

    def lookups(address: bytes) -> Deferred[None]:
        asked.append(address)
        waiting.append(Deferred())
        return waiting[-1]

    deliveries.lookups = lookups
    talk = Delivering(make_lmtp(deliveries), PEER)
    talk.say(b"MAIL FROM:<>\r\nRCPT TO:<a>\r\nRCPT TO:<b>\r\nNOOP\r\n")
    assert asked == [b"a"]
    waiting[0].callback(None)
    assert asked == [b"a", b"b"]
    waiting[1].callback(None)
    assert talk.codes() == [b"250", b"250", b"250", b"250"]


def test_two_messages_come_in_two_transactions() -> None:
    talk = Delivering(make_lmtp(), PEER)
    talk.say((ENVELOPE + b"DATA\r\n" + TEXT) * 2 + b"QUIT\r\n")
    assert [kept.ended for kept in talk.deliveries.begun] == ["commit", "commit"]
    assert talk.closed


@pytest.mark.parametrize("end", [b"RSET\r\n", HELLO, b"QUIT\r\n"])
def test_a_transaction_that_is_given_up_is_aborted(end: bytes) -> None:
    talk = Delivering(make_lmtp(), PEER)
    talk.say(ENVELOPE + end)
    if talk.closed:
        talk.lose()
    assert talk.deliveries.begun[0].ended == "abort"


def test_a_message_that_is_too_big_is_aborted_read_to_its_end_and_refused(events: Any) -> None:
    talk = Delivering(make_lmtp(rules={"max_octets": 65_536}), PEER)
    talk.say(ENVELOPE + b"DATA\r\n")
    for _ in range(3):
        talk.say(b"x" * 30_000 + b"\r\n")
    assert talk.deliveries.begun[0].ended == "abort"
    talk.say(b".\r\nNOOP\r\n")
    assert talk.codes() == [b"250", b"250", b"354", b"552", b"250"]
    assert named(events, "lmtp.given_up")[0]["ended"] == "refusal: the message is too big"


def test_chunks_are_handed_over_as_they_come() -> None:
    talk = Delivering(make_lmtp(), PEER)
    talk.say(ENVELOPE + b"BDAT 6\r\n.\r\n.\r\nBDAT 4 LAST\r\nend")
    assert talk.codes() == [b"250", b"250", b"250"]
    talk.say(b"\n")
    assert talk.codes() == [b"250"]
    assert talk.deliveries.begun[0].text == b".\r\n.\r\nend\n"


# Back-pressure.


def test_nothing_is_read_beyond_the_limit_while_the_disk_is_behind() -> None:
    deliveries = Deliveries()
    behind: Deferred[None] = Deferred()
    deliveries.writes = lambda _: behind
    talk = Delivering(make_lmtp(deliveries), PEER)
    talk.say(ENVELOPE + b"DATA\r\n")
    segments = 0
    while talk.wire.producerState == "producing":
        talk.say(b"x" * 16_384)
        segments += 1
    assert UNREAD_LIMIT < segments * 16_384 <= UNREAD_LIMIT + 3 * 16_384
    assert len(deliveries.begun[0].written) == 1
    deliveries.writes = lambda _: None
    behind.callback(None)
    assert talk.wire.producerState == "producing"
    assert talk.server.core.unread < UNREAD_LIMIT
    assert sum(map(len, deliveries.begun[0].written)) >= segments * 16_384 - 5


def test_fifty_megabytes_pass_in_bounded_memory() -> None:
    """Whatever a disk leaves open: the octets that are held are counted, those fed and not yet written."""
    deliveries = Deliveries()
    waiting: list[Deferred[None]] = []
    kept = 0

    def writes(data: bytes) -> Deferred[None] | None:
        nonlocal kept
        kept += len(data)
        deliveries.begun[0].written.clear()
        if kept // 1_000_000 == (kept - len(data)) // 1_000_000:
            return None
        waiting.append(Deferred())  # once in a megabyte, the disk is behind
        return waiting[-1]

    deliveries.writes = writes
    talk = Delivering(make_lmtp(deliveries), PEER)
    talk.say(ENVELOPE + b"DATA\r\n")
    line = b"x" * 998 + b"\r\n"
    segment = line * 64
    fed = peak = 0
    while fed < 50_000_000:
        if talk.wire.producerState == "producing":
            talk.say(segment)
            fed += len(segment)
            peak = max(peak, fed - kept, talk.server.core.unread)
        else:
            waiting.pop().callback(None)
    while waiting:
        waiting.pop().callback(None)
    talk.say(b".\r\n")
    assert talk.codes()[-1] == b"250"
    assert kept == fed
    assert peak <= UNREAD_LIMIT + 2 * len(segment)


def test_a_client_that_reads_no_replies_is_not_read_either() -> None:
    talk = Delivering(make_lmtp(), PEER)
    talk.wire.hold()
    for _ in range(20):
        talk.say(b"NOOP\r\n" * 1000)
    assert talk.wire.producerState == "paused"
    assert talk.heard() == b""
    talk.wire.go()
    assert talk.turns().startswith(b"250")


# The time.


def later(talk: Delivering, seconds: float) -> None:
    """Let time pass, as it does: in small steps."""
    until = talk.clock.seconds() + seconds
    while talk.clock.seconds() < until and not talk.closed:
        talk.clock.advance(min(SWEEP_SECONDS, until - talk.clock.seconds()))


def test_a_client_that_is_idle_is_told_so_and_closed(events: Any) -> None:
    talk = Delivering(make_lmtp(), PEER)
    later(talk, 295)
    assert not talk.closed
    later(talk, 10)
    assert talk.closed
    assert talk.heard() == b"421 4.4.2 timeout, closing the connection\r\n"
    talk.lose()
    assert named(events, "lmtp.session")[0]["ended"] == "idle timeout"


def test_within_a_message_octets_without_line_ends_keep_it_alive() -> None:
    talk = Delivering(make_lmtp(), PEER)
    talk.say(ENVELOPE + b"DATA\r\n")
    for _ in range(5):
        later(talk, 250)
        talk.say(b"x")
    assert not talk.closed
    later(talk, 310)
    assert talk.closed


def test_octets_that_end_no_command_keep_nothing_alive() -> None:
    talk = Delivering(make_lmtp(), PEER)
    for _ in range(4):
        later(talk, 100)
        talk.say(b"x")
    assert talk.closed


def test_a_message_that_trickles_is_cut_when_its_time_is_up(events: Any) -> None:
    talk = Delivering(make_lmtp(rules={"transaction_seconds": 600}), PEER)
    talk.say(ENVELOPE + b"DATA\r\n")
    for _ in range(20):
        later(talk, 40)
        talk.say(b"x")
    assert talk.closed
    assert 600 <= talk.clock.seconds() <= 620
    talk.lose()
    assert talk.deliveries.begun[0].ended == "abort"
    assert named(events, "lmtp.given_up")[0]["ended"] == "transaction timeout"


def test_a_transaction_of_commands_that_trickle_is_cut_as_well() -> None:
    talk = Delivering(make_lmtp(rules={"transaction_seconds": 600}), PEER)
    talk.say(ENVELOPE)
    for _ in range(20):
        later(talk, 40)
        talk.say(b"NOOP\r\n")
    assert talk.closed


def test_many_messages_over_one_connection_may_take_longer_than_one() -> None:
    talk = Delivering(make_lmtp(rules={"transaction_seconds": 600}), PEER)
    for _ in range(20):
        talk.say(ENVELOPE)
        later(talk, 40)
        talk.say(b"DATA\r\n")
        later(talk, 40)
        talk.say(TEXT)
    assert not talk.closed
    assert [kept.ended for kept in talk.deliveries.begun] == ["commit"] * 20


@pytest.mark.parametrize("what", ["lookups", "writes", "commits"])
def test_what_the_server_takes_for_its_work_is_not_the_client_s_idleness(what: str) -> None:
    deliveries = Deliveries()
    waiting: Deferred[Any] = Deferred()
    setattr(deliveries, what, lambda _: waiting)
    talk = Delivering(make_lmtp(deliveries), PEER)
    talk.say(ENVELOPE + (b"" if what == "lookups" else b"DATA\r\n" + TEXT))
    later(talk, 1000)
    assert not talk.closed
    waiting.callback([None] if what == "commits" else None)
    later(talk, 290)
    assert not talk.closed
    assert talk.codes()[-1] == b"250"
    later(talk, 20)
    assert talk.closed


def test_after_a_disk_that_was_behind_the_client_has_its_whole_time() -> None:
    deliveries = Deliveries()
    waiting: Deferred[None] = Deferred()
    deliveries.writes = lambda _: waiting
    talk = Delivering(make_lmtp(deliveries), PEER)
    talk.say(ENVELOPE + b"DATA\r\nhalf")
    later(talk, 1000)
    waiting.callback(None)
    later(talk, 290)
    assert not talk.closed


def test_a_delivery_that_takes_its_time_is_not_cut() -> None:
    deliveries = Deliveries()
    waiting: Deferred[Any] = Deferred()
    deliveries.commits = lambda _: waiting
    talk = Delivering(make_lmtp(deliveries, rules={"transaction_seconds": 60}), PEER)
    talk.say(ENVELOPE)
    later(talk, 10)
    talk.say(b"DATA\r\n" + TEXT)
    later(talk, 600)
    assert not talk.closed
    waiting.callback([None])
    assert talk.codes()[-1] == b"250"


def test_a_lookup_that_never_answers_ends_with_its_transaction() -> None:
    deliveries = Deliveries()
    cancelled: list[Deferred[None]] = []
    deliveries.lookups = lambda _: Deferred(cancelled.append)
    talk = Delivering(make_lmtp(deliveries, rules={"transaction_seconds": 600}), PEER)
    talk.say(ENVELOPE)
    later(talk, 590)
    assert not talk.closed
    later(talk, 60)
    assert talk.closed
    talk.lose()
    assert len(cancelled) == 1


# Lost connections.


def test_a_connection_that_is_lost_within_a_message_aborts_it(events: Any) -> None:
    talk = Delivering(make_lmtp(), PEER)
    talk.say(ENVELOPE + b"DATA\r\nhalf of a li")
    talk.lose()
    assert talk.deliveries.begun[0].ended == "abort"
    (event,) = named(events, "lmtp.given_up")
    assert (event["ended"], event["octets"], event["recipients"]) == ("client's close", 12, 1)
    assert named(events, "lmtp.delivered") == []


def test_a_lookup_is_cancelled_with_its_connection() -> None:
    deliveries, cancelled = Deliveries(), []
    deliveries.lookups = lambda address: Deferred(lambda _: cancelled.append(address))
    talk = Delivering(make_lmtp(deliveries), PEER)
    talk.say(ENVELOPE)
    talk.lose()
    assert cancelled == [b"alice"]
    assert deliveries.begun[0].ended == "abort"


@pytest.mark.parametrize("outcome", [None, QuotaExceeded("full")])
def test_a_delivery_that_has_begun_goes_on_without_its_client(events: Any, outcome: Exception | None) -> None:
    deliveries, cancelled = Deliveries(), []
    waiting: Deferred[Any] = Deferred(cancelled.append)
    deliveries.commits = lambda _: waiting
    talk = Delivering(make_lmtp(deliveries), PEER)
    talk.say(ENVELOPE + b"DATA\r\n" + TEXT)
    talk.lose()
    assert (cancelled, deliveries.begun[0].ended, named(events, "lmtp.session")) == ([], "commit", [])
    waiting.callback([outcome])
    (event,) = named(events, "lmtp.delivered")
    assert event["ended"] == "connection lost before the answer"
    assert event["delivered"] == (outcome is None)
    assert len(named(events, "lmtp.session")) == 1
    assert named(events, "fault") == []


def test_a_write_that_ends_after_the_connection_hurts_nobody(events: Any) -> None:
    deliveries = Deliveries()
    waiting: Deferred[None] = Deferred()
    deliveries.writes = lambda _: waiting
    talk = Delivering(make_lmtp(deliveries), PEER)
    talk.say(ENVELOPE + b"DATA\r\n" + TEXT)
    talk.lose()
    waiting.callback(None)
    assert deliveries.begun[0].ended == "abort"
    assert named(events, "fault") == []


def test_a_fault_of_the_deliveries_ends_the_session_and_aborts(events: Any) -> None:
    deliveries = Deliveries()

    def broken(_: bytes) -> None:
        raise ZeroDivisionError

    deliveries.writes = broken
    talk = Delivering(make_lmtp(deliveries), PEER)
    talk.say(ENVELOPE + b"DATA\r\n" + TEXT)
    assert talk.codes()[-1] == b"421"
    assert talk.closed
    talk.lose()
    assert deliveries.begun[0].ended == "abort"
    assert len(named(events, "fault")) == 1


@pytest.mark.parametrize("outcomes", [[], [None, None]])
def test_outcomes_that_fit_no_recipients_are_a_fault_and_no_success(events: Any, outcomes: list[None]) -> None:
    deliveries = Deliveries()
    deliveries.commits = lambda _: succeed(outcomes)
    talk = Delivering(make_lmtp(deliveries), PEER)
    talk.say(ENVELOPE + b"DATA\r\n" + TEXT)
    assert talk.codes()[-1] == b"421"
    talk.lose()
    assert len(named(events, "fault")) == len(named(events, "lmtp.session")) == 1


def test_a_client_that_half_closes_after_its_message_gets_its_answers() -> None:
    deliveries = Deliveries()
    waiting: Deferred[Any] = Deferred()
    deliveries.commits = lambda _: waiting
    talk = Delivering(make_lmtp(deliveries), PEER)
    talk.say(ENVELOPE + b"DATA\r\n" + TEXT + b"QUIT\r\n")
    talk.server.readConnectionLost()
    assert not talk.closed
    waiting.callback([None])
    assert talk.codes()[-2:] == [b"250", b"221"]
    assert talk.closed


def test_a_half_close_within_a_message_aborts_it() -> None:
    talk = Delivering(make_lmtp(), PEER)
    talk.say(ENVELOPE + b"DATA\r\nhalf")
    talk.server.readConnectionLost()
    assert talk.closed
    talk.lose()
    assert talk.deliveries.begun[0].ended == "abort"


# The drain.


def test_a_drain_says_421_between_transactions() -> None:
    factory = make_lmtp()
    talk = Delivering(factory, PEER)
    drained = factory.drain()
    assert talk.heard() == b"421 4.3.0 the server is stopping\r\n"
    assert talk.closed
    talk.lose()
    assert drained.called


@pytest.mark.parametrize("at", [b"", b"RCPT TO:<bob>\r\n", b"DATA\r\n", b"DATA\r\nhalf"])
def test_a_drain_lets_a_transaction_finish_and_no_other_begin(at: bytes) -> None:
    factory = make_lmtp()
    talk = Delivering(factory, PEER)
    talk.say(ENVELOPE + at)
    factory.drain()
    assert not talk.closed
    talk.heard()
    talk.say((b"" if b"DATA" in at else b"DATA\r\n") + TEXT + ENVELOPE + b"DATA\r\n" + TEXT)
    lines = talk.heard().splitlines()
    assert lines[-1] == b"421 4.3.0 the server is stopping"
    assert lines[-2][:9] == b"250 2.0.0"
    assert talk.closed
    assert [kept.ended for kept in talk.deliveries.begun] == ["commit"]


def test_what_is_said_in_a_transaction_is_answered_at_once_during_a_drain() -> None:
    factory = make_lmtp()
    talk = Delivering(factory, PEER)
    talk.say(ENVELOPE)
    factory.drain()
    talk.heard()
    talk.say(b"RCPT TO:<bob>\r\n")
    assert talk.codes() == [b"250"]


def test_a_drain_ends_with_a_transaction_that_is_given_up() -> None:
    factory = make_lmtp()
    talk = Delivering(factory, PEER)
    talk.say(ENVELOPE)
    factory.drain()
    talk.heard()
    talk.say(b"RSET\r\n" + ENVELOPE)
    assert talk.heard() == b"250 2.0.0 ok\r\n421 4.3.0 the server is stopping\r\n"
    assert talk.closed
    assert len(talk.deliveries.begun) == 1


def test_a_drain_waits_for_a_delivery() -> None:
    deliveries = Deliveries()
    waiting: Deferred[Any] = Deferred()
    deliveries.commits = lambda _: waiting
    factory = make_lmtp(deliveries)
    talk = Delivering(factory, PEER)
    talk.say(ENVELOPE + b"DATA\r\n" + TEXT)
    factory.drain()
    assert not talk.closed
    waiting.callback([None])
    assert talk.codes()[-2:] == [b"250", b"421"]
    assert talk.closed


# What the log says.


def test_a_message_is_one_line_with_its_totals(events: Any) -> None:
    deliveries = Deliveries()
    deliveries.commits = lambda _: succeed([None, OverQuota()])
    talk = Delivering(make_lmtp(deliveries), PEER)
    talk.say(b"MAIL FROM:<bob@x>\r\nRCPT TO:<nobody>\r\nRCPT TO:<alice>\r\nRCPT TO:<carol@x>\r\n")
    talk.clock.advance(2)
    talk.say(b"DATA\r\n" + TEXT)
    (event,) = named(events, "lmtp.delivered")
    assert told(event) == (
        "message of 'bob@x' from 192.0.2.7 delivered to 1 of 2 recipients, 1 refused: 25 octets, 2.0 s, "
        "NOT to carol@x: 452 4.2.2 the maildrop is full"
    )
    facts = {"session": talk.server.name, "listener": "lmtp", "peer": "192.0.2.7", "tls": False}
    assert facts.items() <= event.items()


def test_over_a_unix_socket_the_log_says_so(events: Any) -> None:
    talk = Delivering(make_lmtp(), UNIXAddress(None))
    talk.say(ENVELOPE + b"DATA\r\n" + TEXT)
    talk.lose()
    lines = [told(event) for event in (*named(events, "lmtp.delivered"), *named(events, "lmtp.session"))]
    assert [" over a Unix socket " in line for line in lines] == [True, True]


def test_a_hundred_failures_make_no_endless_line(events: Any) -> None:
    deliveries = Deliveries()
    deliveries.commits = lambda kept: succeed([MaildropUnavailable("no")] * len(kept.recipients))
    talk = Delivering(make_lmtp(deliveries), PEER)
    talk.say(b"MAIL FROM:<>\r\n" + b"".join(b"RCPT TO:<user%d@x>\r\n" % n for n in range(100)) + b"DATA\r\n" + TEXT)
    assert talk.turns().count(b"\r\n451 ") == 100
    (event,) = named(events, "lmtp.delivered")
    assert event["failed"].endswith("user4@x: 451 4.3.0 temporary failure, please try again later; and 95 others")


def test_what_a_client_sends_can_forge_no_line(events: Any) -> None:
    talk = Delivering(make_lmtp(), PEER, hello=False)
    talk.say("LHLO [x]\r\nMAIL FROM:<ü\x85\u202e@x> SMTPUTF8\r\nRCPT TO:<alice>\r\nDATA\r\n".encode() + TEXT)
    talk.lose()
    for event in (*named(events, "lmtp.delivered"), *named(events, "lmtp.session")):
        assert told(event).isprintable()


def test_a_question_for_an_address_leaves_the_session_s_line_alone(events: Any) -> None:
    talk = Delivering(make_lmtp(), PEER)
    talk.say(ENVELOPE + b"RSET\r\nQUIT\r\n")
    talk.lose()
    session, octets_in, octets_out = talk.server.name, talk.server.octets_in, talk.server.octets_out
    (line,) = [told(event) for event in events if str(event.get("event", "")).startswith("lmtp.")]
    assert line == (
        f"session {session} of 'client.example.org' from 192.0.2.7 (lmtp, no TLS) ended by QUIT: 0 messages, "
        f"{octets_in} octets in, {octets_out} out, 0.0 s"
    )


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        (b"\x16\x03\x01\x00\xc8\r\n", "STARTTLS"),
        (b"GET / HTTP/1.1\r\n", "HTTP"),
        (HELLO + b"XCLIENT ADDR=198.51.100.9\r\n", "delivery.xclients"),
        (HELLO + b"Subject: hello\r\n", "smuggle"),
        (HELLO + b"MAIL FROM:<> SIZE=99999999\r\n", "delivery.max_octets"),
        (HELLO + ENVELOPE + b"BDAT 99999999 LAST\r\n", "delivery.max_octets"),
        (HELLO + b"FOO\r\n", ""),
    ],
)
def test_what_an_operator_can_mend_is_told(events: Any, said: bytes, hint: str) -> None:
    talk = Delivering(make_lmtp(), PEER, hello=False)
    talk.say(said)
    talk.lose()
    remarks = named(events, "lmtp.remark")
    assert len(remarks) == bool(hint)
    assert all(
        hint in told(event) and told(event).startswith("a sender from 192.0.2.7 heard from lmtp: ") for event in remarks
    )


# Who it is.


@pytest.mark.parametrize(
    ("peer", "networks", "trusted"),
    [
        (PEER, (), False),
        (PEER, ("192.0.2.0/24",), True),
        (PEER, ("127.0.0.0/8", "::/0"), False),
        (IPv6Address("TCP", "2001:db8::1", 1), ("2001:db8::/32",), True),
        (IPv6Address("TCP", "fe80::1%lo", 1), ("fe80::/10",), True),
        (IPv6Address("TCP", "::ffff:192.0.2.7", 1), ("192.0.2.7/32",), True),
        (UNIXAddress(None), (), False),
        (UNIXAddress(None), ("127.0.0.1/32",), True),
        (UNIXAddress(None), ("192.0.2.0/24",), False),
    ],
)
def test_xclient_is_believed_of_those_alone_who_are_named(peer: Any, networks: Any, trusted: bool) -> None:
    rules = {"xclients": tuple(map(ip_network, networks))}
    talk = Delivering(make_lmtp(rules=rules), peer, hello=False)
    talk.say(HELLO)
    assert (b"XCLIENT" in talk.heard()) is trusted
    talk.say(b"XCLIENT ADDR=198.51.100.9 HELO=there.example\r\n")
    assert talk.codes() == ([b"220"] if trusted else [b"550"])
    if trusted:
        talk.say(HELLO + ENVELOPE)
        sender = talk.deliveries.begun[0].sender
        assert (sender.peer, sender.host) == ("198.51.100.9", b"there.example")
        assert talk.server.facts()["peer"] == "198.51.100.9"


def test_a_client_whom_nobody_knows_has_no_address() -> None:
    talk = Delivering(make_lmtp(rules={"xclients": (ip_network("192.0.2.0/24"),)}), PEER)
    talk.say(b"XCLIENT ADDR=[UNAVAILABLE]\r\n" + HELLO + ENVELOPE)
    assert talk.deliveries.begun[0].sender.peer == ""
    assert talk.server.road == "from an unknown address"


def test_the_place_of_a_client_that_speaks_for_another_is_its_own() -> None:
    factory = make_lmtp(rules={"xclients": (ip_network("192.0.2.0/24"),)})
    talk = Delivering(factory, PEER)
    talk.say(b"XCLIENT ADDR=198.51.100.9\r\n")
    talk.lose()
    assert (factory.places.taken, dict(factory.places.by_address)) == (0, {})


def test_a_lost_connection_is_told_with_its_cause(events: Any) -> None:
    talk = Delivering(make_lmtp(), PEER)
    talk.server.connectionLost(Failure(ConnectionResetError()))
    other = Delivering(make_lmtp(), PEER)
    other.server.connectionLost(connectionDone)
    assert [event["ended"] for event in named(events, "lmtp.session")] == ["connection lost", "client's close"]
