"""Sessions that operators follow: whose dialog they see, what of it, and what it costs the others."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock

from mailserver.net import Limits
from mailserver.net import tracing as module
from mailserver.net.pop3 import POP3Server
from mailserver.net.tracing import Tapped, Trace, Tracing
from mailserver.protocol.pop3 import Session
from mailserver.protocol.redacted import RESPONSE
from tests.net.deliveries import ENVELOPE, MESSAGE, Delivering, make_lmtp
from tests.net.sessions import LOGIN, Maildrop, Realm, Talk, make_factory
from tests.net.test_calls import calls
from tests.net.tickets import HELLO as KPOP_HELLO
from tests.net.tickets import MUTUAL, kpop_factory
from tests.protocol.test_redacted import DIGEST

ALICE = IPv4Address("TCP", "192.0.2.1", 1)
OTHER = IPv4Address("TCP", "192.0.2.2", 1)
NO_WAITING = Limits(failure_delay_seconds=0)


class Free(Realm):
    """A maildrop that any number of sessions may open."""

    def requestAvatar(self, *asked: Any) -> Any:
        self.held = False
        return super().requestAvatar(*asked)


class Watch:
    """A listener, and an operator who follows something there."""

    def __init__(self, factory: Any = None, name: str = "alice") -> None:
        messages = [b"Subject: hidden\r\n\r\nhidden\r\n"] * 30
        self.factory = factory or make_factory(Maildrop(messages), clock=Clock(), limits=NO_WAITING)
        self.tracing = Tracing(self.factory.clock.seconds)
        self.rows: list[dict[str, Any]] = []
        self.trace = self.begin(name)

    def begin(self, name: str) -> Trace:
        trace = self.tracing.begin(name, self.rows.append)
        self.look(trace)
        return trace

    def look(self, trace: Trace) -> None:
        list(self.tracing.watch(trace, [self.factory]))

    def talk(self, *data: bytes, peer: IPv4Address = ALICE) -> Talk:
        talk = Talk(self.factory, peer, logged_in=False)
        for each in data:
            talk.say(each)
        return talk

    @property
    def said(self) -> list[str]:
        return [f"{row['from']}: {row['text']}" for row in self.rows]


def test_the_dialog_is_shown_from_its_beginning_when_the_user_is_known() -> None:
    watch = Watch()
    talk = watch.talk(b"CAPA\r\n", b"USER alice\r\n")
    assert watch.rows == []
    talk.say(b"PASS secret\r\n")
    assert watch.said[:3] == ["-: pop3 from 192.0.2.1", "S: +OK h POP3 server ready", "C: CAPA"]
    assert watch.said[-5:] == [
        "C: USER alice",
        "S: +OK send PASS",
        "C: PASS ***",
        "-: logged in as alice",
        "S: +OK maildrop has 30 messages (810 octets)",
    ]
    talk.say(b"STAT\r\nRETR 1\r\nTOP 2 1\r\nDELE 1\r\nQUIT\r\n")
    talk.lose()
    assert watch.said[-15:] == [
        "C: STAT",
        "S: +OK 30 810",
        "C: RETR 1",
        "S: +OK 27 octets",
        "S: (27 octets of a message)",
        "S: .",
        "C: TOP 2 1",
        "S: +OK top of message follows",
        "S: (a message's head and 1 lines)",
        "S: .",
        "C: DELE 1",
        "S: +OK message 1 deleted",
        "C: QUIT",
        "S: +OK signing off",
        "-: ended by QUIT after 0.0 s: 1 retrieved, 1 marked, 68 octets in, 341 out",
    ]
    assert watch.rows[-1]["ended"] == "QUIT"
    assert {row["session"] for row in watch.rows} == {talk.server.name}
    assert "hidden" not in str(watch.rows)


def test_of_a_listing_the_first_lines_are_shown_and_the_rest_is_counted() -> None:
    watch = Watch()
    watch.talk(LOGIN, b"UIDL\r\n")
    assert watch.said[-23:] == [
        "S: +OK unique-id listing follows",
        *(f"S: {number} u{number}" for number in range(1, 21)),
        "S: (10 lines more; 222 octets in all)",
        "S: .",
    ]


def test_a_long_listing_is_counted_whole() -> None:
    watch = Watch(make_factory(Maildrop([b"x\r\n"] * 1500), limits=NO_WAITING))
    watch.talk(LOGIN, b"LIST\r\n").turns()
    assert watch.said[-3:] == ["S: 20 3", "S: (1,480 lines more; 10,893 octets in all)", "S: ."]


def test_a_failed_login_is_shown_with_its_refusal() -> None:
    watch = Watch()
    watch.talk(b"USER alice\r\nPASS guess\r\n")
    assert watch.said[-2:] == ["C: PASS ***", "S: -ERR [AUTH] authentication failed"]


def test_sasl_s_lines_are_not_shown() -> None:
    watch = Watch(name="192.0.2.0/24")
    watch.talk(b"AUTH PLAIN\r\n", b"AGFsaWNlAGd1ZXNz\r\n", b"AUTH LOGIN\r\n", b"*\r\n")
    assert watch.said[2:] == [
        "C: AUTH PLAIN",
        "S: + ***",
        f"C: {RESPONSE}",
        "S: -ERR [AUTH] authentication failed",
        "C: AUTH LOGIN",
        "S: + ***",
        "C: *",
        "S: -ERR authentication cancelled",
    ]


def test_other_users_sessions_are_not_shown_and_run_as_ever_from_their_login_on() -> None:
    watch = Watch()
    talk = watch.talk(b"USER bob\r\n")
    assert isinstance(talk.server, Tapped)
    talk.say(b"PASS secret\r\n")
    assert type(talk.server) is POP3Server
    assert type(talk.server.session) is Session
    talk.say(b"STAT\r\nRETR 1\r\nQUIT\r\n")
    assert talk.heard().endswith(b"+OK signing off\r\n")
    assert watch.rows == []
    assert watch.tracing.kept == 0


def test_an_address_is_followed_from_the_greeting_and_no_other() -> None:
    watch = Watch(name="192.0.2.1")
    watch.talk(b"CAPA\r\n", peer=OTHER)
    assert watch.rows == []
    watch.talk(peer=ALICE)
    assert watch.said == ["-: pop3 from 192.0.2.1", "S: +OK h POP3 server ready"]


def test_a_name_is_shown_once_it_is_known_for_one_which_is_after_the_login() -> None:
    watch = Watch(name="192.0.2.1")
    talk = watch.talk(b"USER bob\r\nPASS guess\r\n")
    assert "bob" not in str(watch.rows)
    talk.say(b"USER bob\r\nPASS secret\r\n")
    assert "-: logged in as bob" in watch.said
    assert [row["user"] for row in watch.rows][-2:] == ["bob", "bob"]


def test_a_session_that_is_open_is_followed_by_its_name() -> None:
    watch = Watch(name="nobody")
    talk = watch.talk(LOGIN)
    watch.factory.clock.advance(7)
    watch.begin(talk.server.name)
    talk.say(b"NOOP\r\n")
    late = "; it began 7.0 s ago, and what was said before is not shown"
    assert watch.said == ["-: pop3 from 192.0.2.1" + late, "C: NOOP", "S: +OK"]


def test_a_session_of_earlier_is_not_shown_to_an_operator_who_comes_after_its_login() -> None:
    watch = Watch()
    talk = watch.talk(LOGIN)
    watch.tracing.end(watch.trace)
    seen = len(watch.rows)
    watch.begin("alice")
    talk.say(b"NOOP\r\n")
    assert len(watch.rows) == seen
    assert type(talk.server) is POP3Server


def test_a_session_that_is_followed_already_is_followed_by_its_name_as_any_other() -> None:
    watch = Watch()
    talk = watch.talk(LOGIN)
    second: list[Any] = []
    other = watch.tracing.begin(talk.server.name, second.append)
    watch.look(other)
    talk.say(b"NOOP\r\n")
    late = "; it began 0.0 s ago, and what was said before is not shown"
    assert [row["text"] for row in second] == ["pop3 from 192.0.2.1" + late, "NOOP", "+OK"]


def test_who_has_not_logged_in_yet_is_followed_from_now_on() -> None:
    watch = Watch(name="nobody")
    watch.tracing.end(watch.trace)
    talk = watch.talk(b"USER alice\r\n")
    watch.begin("alice")
    talk.say(b"PASS secret\r\n")
    assert watch.said[1:] == ["C: PASS ***", "-: logged in as alice", "S: +OK maildrop has 30 messages (810 octets)"]
    assert "what was said before is not shown" in watch.said[0]


def test_two_operators_see_each_what_they_want() -> None:
    watch = Watch(name="alice")
    second: list[Any] = []
    other = watch.tracing.begin("192.0.2.0/24", second.append)
    watch.look(other)
    watch.talk(LOGIN).lose()
    watch.tracing.end(watch.trace)
    watch.talk(LOGIN, b"QUIT\r\n")
    assert len(watch.rows) == 8
    assert len(second) == 16 + 1


def test_tls_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailserver.net.connection.start_tls", lambda transport, *_, **__: transport)
    factory = make_factory(Maildrop([]), tls=object(), limits=NO_WAITING)
    watch = Watch(factory, "192.0.2.1")
    watch.talk(b"STLS\r\n")
    assert watch.said[-3:] == ["C: STLS", "S: +OK begin TLS", "-: TLS begins"]


def test_a_ticket_is_not_shown() -> None:
    watch = Watch(kpop_factory(), "alice@KPOP.TEST")
    watch.talk(KPOP_HELLO + MUTUAL, b"USER alice\r\nPASS krb_ticket\r\n")
    assert watch.said[:2] == [
        "-: kpop from 192.0.2.1",
        "-: what is said before POP3 begins, with a Kerberos ticket, is not shown",
    ]
    assert "C: PASS ***" in watch.said
    assert "AP-REP" not in str(watch.rows)


def test_a_client_that_leaves_before_its_ticket_is_told() -> None:
    watch = Watch(kpop_factory(), "192.0.2.1")
    watch.talk(KPOP_HELLO).lose()
    assert watch.said[-1].startswith("-: ended by client's close after ")
    assert watch.tracing.kept == 0


def test_the_reply_that_ends_a_session_is_shown() -> None:
    watch = Watch()
    talk = watch.talk(LOGIN)
    talk.server.kick()
    assert watch.said[-1] == "S: -ERR [SYS/TEMP] an operator has ended this session"


# Mail that comes in.


def deliver(watch: Watch, *data: bytes) -> Delivering:
    talk = Delivering(watch.factory, ALICE)
    for each in data:
        talk.say(each)
    return talk


def test_a_delivery_to_the_user_is_shown_and_no_other_of_the_connection() -> None:
    watch = Watch(make_lmtp())
    talk = deliver(watch, b"MAIL FROM:<eve@example.net>\r\nRCPT TO:<carol>\r\nDATA\r\n", MESSAGE + b".\r\n")
    assert watch.rows == []
    talk.say(ENVELOPE + b"DATA\r\n")
    talk.say(MESSAGE + b".\r\n")
    assert watch.said[0] == "-: lmtp from 192.0.2.1"
    assert watch.said[1:4:2] == ["C: MAIL FROM:<bob@example.net>", "C: RCPT TO:<alice>"]
    assert watch.said[-4] == f"S: {watch.said[-4][3:]}"
    assert watch.said[-3:-1] == [
        f"C: ({len(MESSAGE)} octets of a message)",
        f"S: 250 2.0.0 delivered as {talk.server.name}",
    ]
    assert watch.rows[-1]["ended"] == "the delivery is over"
    seen = len(watch.rows)
    talk.say(b"MAIL FROM:<eve@example.net>\r\nRCPT TO:<carol@alice>\r\nRSET\r\n")
    assert len(watch.rows) == seen
    assert "world" not in str(watch.rows)
    talk.lose()


@pytest.mark.parametrize("size", [9999, 60, 1])
def test_of_deliveries_that_come_in_one_read_the_user_s_alone_is_shown(size: int) -> None:
    watch = Watch(make_lmtp())
    other = b"MAIL FROM:<%b@example.net>\r\nRCPT TO:<carol>\r\n"
    chunks = b"BDAT 4\r\nMAILBDAT 2 LAST\r\nTO"
    mail = b"MAIL FROM:<bob@example.net>\r\nRCPT TO:<alice>\r\n" + chunks
    parts = [
        other % b"eve",
        b"RSET\r\n",
        other % b"mallory",
        chunks,
        mail,
        other % b"peggy",
        b"LHLO h\r\n",
        mail,
        other % b"trent",
    ]
    data = b"".join(parts)
    talk = deliver(watch, *(data[at : at + size] for at in range(0, len(data), size)))
    talk.turns()
    said = [text for text in watch.said if text[0] != "S"]
    one = [
        "C: MAIL FROM:<bob@example.net>",
        "C: RCPT TO:<alice>",
        "C: BDAT 4",
        "C: (4 octets of a message)",
        "C: BDAT 2 LAST",
    ]
    whole = ["-: lmtp from 192.0.2.1", *one, "C: (2 octets of a message)", "-: the delivery is over"]
    assert said == whole * 2
    talk.lose()


@pytest.mark.parametrize("address", [b"alice@example.org", b"alice"])
def test_a_delivery_is_the_user_s_by_his_address(address: bytes) -> None:
    watch = Watch(make_lmtp())
    deliver(watch, b"MAIL FROM:<>\r\nRCPT TO:<%b>\r\n" % address)
    assert f"C: RCPT TO:<{address.decode()}>" in watch.said


def test_many_recipients_are_each_looked_at_once_and_anew_in_the_next_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[bytes] = []
    monkeypatch.setattr(Trace, "wants_mail", lambda _, recipients: looked_at.extend(recipients))
    watch = Watch(make_lmtp(), "nobody")
    names = [b"<%d>" % number for number in range(50)]
    mail = b"MAIL FROM:<>\r\n" + b"".join(b"RCPT TO:%b\r\n" % name for name in names)
    talk = deliver(watch, mail + b"RSET\r\n" + mail)
    talk.turns()
    assert looked_at == [name[1:-1] for name in names] * 2


def test_chunks_are_counted() -> None:
    watch = Watch(make_lmtp(), "192.0.2.1")
    deliver(watch, ENVELOPE, b"BDAT 4\r\nabcd", b"BDAT 3 LAST\r\nef\n")
    assert [text for text in watch.said if "octets" in text][:1] == ["C: (4 octets of a message)"]
    assert "abcd" not in str(watch.rows)


# What it costs.


def session_of(factory: Any) -> Callable[[], None]:
    def session() -> None:
        talk = Talk(factory, OTHER, logged_in=False)
        for line in (b"USER bob\r\n", b"PASS secret\r\n", b"STAT\r\nLIST\r\n", b"RETR 1\r\n", b"QUIT\r\n"):
            talk.say(line)
        talk.lose()

    return session


def test_it_costs_no_call_while_nobody_follows_and_after_the_login_none_while_somebody_follows_another() -> None:
    factory = make_factory(Maildrop([b"a: b\r\n\r\nx\r\n"]), clock=Clock(), limits=NO_WAITING)
    session = session_of(factory)
    session()

    def after_the_login() -> int:
        talk = Talk(factory, OTHER, logged_in=False)
        talk.say(b"USER bob\r\nPASS secret\r\n")
        found = calls(lambda: talk.say(b"STAT\r\nLIST\r\nRETR 1\r\nNOOP\r\n"))
        talk.lose()
        return found

    before = calls(session), after_the_login()
    watch = Watch(factory)
    assert calls(session) > before[0]
    assert after_the_login() == before[1]
    watch.tracing.end(watch.trace)
    assert (calls(session), after_the_login()) == before
    assert "connection" not in vars(factory)


def test_connections_are_let_be_when_the_operator_has_gone() -> None:
    watch = Watch()
    stranger, followed = watch.talk(b"USER bob\r\n"), watch.talk(LOGIN)
    watch.tracing.end(watch.trace)
    for talk in (stranger, followed):
        talk.say(b"CAPA\r\n")
        assert type(talk.server) is POP3Server
        assert "tap" not in vars(talk.server)
    seen = len(watch.rows)
    followed.say(b"STAT\r\n")
    assert len(watch.rows) == seen
    assert watch.tracing.kept == 0


def test_a_session_in_the_middle_of_a_line_goes_on_when_it_is_followed_and_when_it_is_not_any_more() -> None:
    watch = Watch(name="nobody")
    talk = watch.talk(LOGIN, b"LI")
    trace = watch.begin(talk.server.name)
    talk.say(b"ST 1\r\nUI")
    watch.tracing.end(trace)
    watch.tracing.end(watch.trace)
    talk.heard()
    talk.say(b"DL 1\r\nNO")
    talk.say(b"OP\r\n")
    assert talk.heard() == b"+OK 1 u1\r\n+OK\r\n"
    assert type(talk.server) is POP3Server


def test_what_is_kept_of_a_stranger_is_bounded_and_what_is_left_out_is_told() -> None:
    watch = Watch()
    talk = watch.talk(*[b"CAPA\r\n"] * 30)
    tap = talk.server.tap
    assert len(tap._kept) == module.KEPT_LINES
    talk.say(LOGIN)
    assert watch.said[1].endswith(" lines are left out)")
    assert "C: USER alice" in watch.said


def test_what_is_kept_of_all_strangers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_OCTETS", 1000)
    watch = Watch()
    talks = [watch.talk(b"CAPA\r\n") for _ in range(50)]
    assert watch.tracing.kept <= 1000
    for talk in talks:
        talk.lose()
    assert watch.tracing.kept == 0


def test_of_what_is_kept_all_counts_that_it_takes_and_not_its_letters_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_OCTETS", 50_000)
    watch = Watch()
    talks = [watch.talk(b"CAPA\r\n") for _ in range(50)]
    rows = [row for talk in talks for row in talk.server.tap._kept]
    taken = sum(sys.getsizeof(each) for row in rows for each in (row, row["at"], row["text"]))
    assert 20_000 < taken <= 50_000


def test_listeners_that_come_later_are_watched_too() -> None:
    watch = Watch()
    other = make_factory(Maildrop([]), clock=watch.factory.clock, limits=NO_WAITING)
    list(watch.tracing.watch(watch.trace, [watch.factory, other]))
    Talk(other, ALICE)
    assert watch.said[-1] == "S: +OK maildrop has 0 messages (0 octets)"
    watch.tracing.end(watch.trace)
    assert "connection" not in vars(other)


def test_many_connections_are_tapped_in_slices() -> None:
    watch = Watch(name="nobody")
    watch.tracing.end(watch.trace)
    factory = make_factory(Maildrop([]), limits=Limits(connections_per_address=1000))
    for _ in range(500):
        Talk(factory, ALICE, logged_in=False)
    trace = watch.tracing.begin("alice", watch.rows.append)
    steps = watch.tracing.watch(trace, [factory])
    next(steps)
    assert sum(isinstance(each, Tapped) for each in factory.connections) == module.SLICE
    watch.tracing.end(trace)
    assert list(steps) == []
    assert sum(isinstance(each, Tapped) for each in factory.connections) == module.SLICE


# Secrets.

SECRET = "ξψω"
"""A password of letters that stand nowhere else."""

_S = SECRET.encode()
_B64 = base64.b64encode(b"\0alice\0" + _S)
_LINES = [
    b"PASS %b",
    b"pass  %b",
    b" PASS %b",
    b"PASS%b",
    b"PASS\t%b",
    b"%b",
    b"USER alice %b",
    b"USER alice:%b",
    b"USER alice\r%b",
    b"USER  %b alice",
    b"APOP alice %b",
    b"APOP %b " + DIGEST,
    b"USER %b",
    b"USER alice@%b",
    b"AUTH PLAIN\r\n" + base64.b64encode("\0ξψω\0guess".encode()),
    b"APOP alice %b " + DIGEST,
    b"APOP alice " + DIGEST + b" %b",
    b"AUTH PLAIN %b",
    b"AUTH %b",
    b"AUTH PLAIN %b %b",
    b"RETR %b",
    b"RETR 1 %b",
    b"TOP 1 %b",
    b"*ENV %b",
    b"QUIT %b",
    b"CAPA %b",
    b"STLS %b",
    b"GET /%b HTTP/1.1",
    b"\x16\x03\x01%b",
    b"+OK %b",
    b"* %b",
    b"\0%b\0",
    b"x" * 300 + b"%b",
    b"%b" + b"x" * 300,
]
_SECRET_LINES = st.sampled_from(_LINES).map(lambda line: line.replace(b"%b", _S))
_OTHER_LINES = st.sampled_from(
    [
        *(
            b"AUTH PLAIN",
            b"AUTH LOGIN",
            b"AUTH CRAM-MD5",
            b"AUTH PLAIN " + _B64,
            _B64,
            base64.b64encode(_S),
            b"*",
            b"=",
        ),
        *(
            b"USER alice",
            b"USER bob",
            b"PASS secret",
            b"APOP alice " + DIGEST,
            b"CAPA",
            b"STAT",
            b"UIDL",
            b"LIST",
            b"NOOP",
        ),
        *(b"RETR 1", b"TOP 1 0", b"DELE 1", b"RSET", b""),
    ]
)
_NOISE = st.binary(max_size=8).map(lambda noise: noise + _S)
_PIECES = st.lists(
    st.tuples(st.one_of(_SECRET_LINES, _OTHER_LINES, _NOISE), st.sampled_from([b"\r\n", b"\n", b"\r\n\r\n", b""])),
    max_size=12,
)


def shown_nowhere(rows: list[dict[str, Any]]) -> None:
    text = str(rows)
    octets = text + ascii(text)
    for secret in (*SECRET, *(f"\\x{octet:02x}" for octet in _S), DIGEST.decode()[:6], _B64.decode()[-6:]):
        assert secret not in text, (secret, text)
    assert "secret" not in octets


@given(_PIECES, st.lists(st.integers(1, 40), max_size=20), st.sampled_from(["192.0.2.1", "alice"]))
@example([(b"USER alice", b"\r\n"), (b"PASS " + _S, b"\r\n")], [14, 3], "192.0.2.1")
@example([(b"USER alice", b""), (b"PASS" + _S, b"\r\n"), (b"PASS x", b"\r\n")], [], "192.0.2.1")
@example([(b"AUTH PLAIN", b"\r\n"), (_B64, b"\r\n")], [], "192.0.2.1")
@example([(b"USER alice", b"\r\n"), (b"PASS secret", b"\r\n"), (b"PASS " + _S, b"\r\n")], [], "alice")
def test_no_octet_of_a_secret_is_shown_whatever_a_client_sends_and_however_it_is_split(
    pieces: list[tuple[bytes, bytes]], cuts: list[int], name: str
) -> None:
    watch = Watch(name=name)
    talk = watch.talk()
    data = b"".join(line + end for line, end in pieces)
    for size in (*cuts, len(data)):
        if talk.closed:
            break
        talk.say(data[:size])
        talk.turns()
        data = data[size:]
    talk.lose()
    shown_nowhere(watch.rows)
