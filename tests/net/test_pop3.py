from __future__ import annotations

import base64
from typing import Any

import pytest
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail
from twisted.logger import capturedLogs, eventAsText, formatEvent

from mailserver.errors import MessageGone, OutcomeUnknown
from mailserver.interfaces import Terms
from mailserver.protocol.weights import TURN_OCTETS
from mailserver.snapshot import BLOCK, Message, Snapshot
from tests.net.sessions import GREETING, LOGIN, Maildrop, Realm, Talk, make_factory

FAILED = b"-ERR [AUTH] authentication failed\r\n"
TEMPORARY = b"-ERR [SYS/TEMP] temporary failure, please try again later\r\n"
FIELDS = {
    "app",
    "user",
    "who",
    "principal",
    "peer",
    "tls",
    "security",
    "retrieved",
    "deleted",
    "octets_in",
    "octets_out",
    "seconds",
    "session",
    "ended",
    "marked",
    "remarks",
    "uidl_all",
    "listener",
}


def named(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event.get("event") == name]


def test_one_line_tells_what_a_session_did(events: list[dict[str, Any]]) -> None:
    talk = Talk(make_factory(Maildrop([b"a\r\n", b".b\n"])), logged_in=False)
    talk.clock.advance(1.5)
    talk.say(LOGIN + b"TOP 1 0\r\nRETR 1\r\nRETR 2\r\nDELE 2\r\nQUIT\r\n")
    talk.lose()
    (event,) = named(events, "pop3.session")
    assert {key for key in event if not key.startswith("log_")} == FIELDS | {"event"}
    assert [event[key] for key in ("user", "peer", "tls", "listener")] == ["alice", "", False, "pop3"]
    assert [event[key] for key in ("retrieved", "deleted", "seconds")] == [2, 1, 1.5]
    assert event["octets_in"] == len(LOGIN + b"TOP 1 0\r\nRETR 1\r\nRETR 2\r\nDELE 2\r\nQUIT\r\n")
    assert event["octets_out"] == len(talk.wire.value())
    assert "alice" in eventAsText(event)


def test_a_connection_without_a_login_leaves_no_line(events: list[dict[str, Any]]) -> None:
    talk = Talk(make_factory(), logged_in=False)
    talk.say(b"QUIT\r\n")
    talk.lose()
    assert not events


@pytest.mark.parametrize(
    ("name", "logged"),
    [
        (b"al\x1b[2Jice", r"al\x1b[2Jice"),
        (b"\xff\xfe", r"\xff\xfe"),
        ("alićė".encode(), "alićė"),
        ("a\u202eb".encode(), r"a\u202eb"),
        (b"a\0b\nc", r"a\x00b\nc"),
    ],
)
def test_a_name_cannot_draw_on_the_operators_terminal(events: list[dict[str, Any]], name: bytes, logged: str) -> None:
    talk = Talk(make_factory(), logged_in=False)
    talk.say(b"AUTH PLAIN " + base64.b64encode(b"\0%b\0x" % name.replace(b"\0", b"")) + b"\r\n")
    if b"\0" not in name:
        assert [event["user"] for event in named(events, "pop3.login_failed")] == [logged]


def test_a_name_too_long_for_anybody_fills_neither_log_nor_memory(events: list[dict[str, Any]]) -> None:
    talk = Talk(make_factory(), logged_in=False)
    talk.say(b"AUTH PLAIN " + base64.b64encode(b"\0%b\0x" % (b"n" * 40_000)) + b"\r\n")
    (event,) = named(events, "pop3.login_failed")
    assert len(event["user"]) < 300
    assert all(len(str(key)) < 300 for key in talk.factory.throttle._lanes)


def test_no_secret_is_in_any_event(events: list[dict[str, Any]]) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("fault")

    for break_it in (False, True):
        factory = make_factory()
        talk = Talk(factory, logged_in=False)
        talk.say(b"USER alice\r\nPASS hunter2\r\n")
        talk.clock.advance(2)
        if break_it:
            factory.portal.realm.requestAvatar = broken
        talk.say(b"AUTH PLAIN " + base64.b64encode(b"\0alice\0secret") + b"\r\nQUIT\r\n")
        talk.lose()
    text = "".join(f"{event!r} {eventAsText(event)}" for event in events)
    assert "fault" in text
    assert "alice" in text
    assert "hunter2" not in text
    assert "secret" not in text.replace("'secrets'", "")


@pytest.mark.parametrize("name", [b"alice", b"nobody"])
def test_a_failed_login_does_not_tell_who_exists(name: bytes, events: list[dict[str, Any]]) -> None:
    talk = Talk(make_factory(), logged_in=False)
    talk.heard()
    talk.say(b"USER %b\r\nPASS wrong\r\nCAPA\r\n" % name)
    assert talk.heard().startswith(b"+OK send PASS\r\n" + FAILED + b"+OK capabilities follow")
    (event,) = named(events, "pop3.login_failed")
    assert (event["mechanism"], event["tls"], event["listener"]) == ("USER", False, "pop3")


def test_a_maildrop_in_use_is_said_to_be() -> None:
    factory = make_factory()
    first, second = Talk(factory), Talk(factory, logged_in=False)
    second.heard()
    second.say(LOGIN)
    assert second.heard() == b"+OK send PASS\r\n-ERR [IN-USE] maildrop is in use by another session\r\n"
    first.lose()
    second.say(LOGIN)
    assert second.heard().endswith(b"+OK maildrop has 0 messages (0 octets)\r\n")


def test_dele_without_quit_removes_nothing() -> None:
    maildrop = Maildrop([b"a"])
    talk = Talk(make_factory(maildrop))
    talk.say(b"DELE 1\r\n")
    talk.lose()
    assert maildrop.told == ["release"]


def test_once_quit_was_read_the_commit_is_done_though_the_client_has_gone(events: list[dict[str, Any]]) -> None:
    committing: Deferred[int] = Deferred()
    maildrop = Maildrop([b"a", b"b"])
    maildrop.commits = lambda: committing
    talk = Talk(make_factory(maildrop))
    talk.say(b"DELE 1\r\nDELE 2\r\nQUIT\r\n")
    talk.lose()
    assert maildrop.told == [("commit", [1, 2])]
    assert not named(events, "pop3.session")
    committing.callback(1)
    assert maildrop.told == [("commit", [1, 2]), "release"]
    assert [event["deleted"] for event in named(events, "pop3.session")] == [1]


def test_a_kick_within_the_commit_leaves_it_whole_and_in_the_log(events: list[dict[str, Any]]) -> None:
    committing: Deferred[int] = Deferred()
    maildrop = Maildrop([b"a", b"b"])
    maildrop.commits = lambda: committing
    talk = Talk(make_factory(maildrop))
    talk.say(b"DELE 1\r\nDELE 2\r\nQUIT\r\n")
    talk.heard()
    talk.server.kick()
    talk.lose()
    assert talk.heard() == b""
    committing.callback(0)
    assert maildrop.told == [("commit", [1, 2]), "release"]
    (event,) = named(events, "pop3.session")
    assert (event["ended"], event["deleted"]) == ("QUIT", 2)


@pytest.mark.parametrize("twice", [False, True])
def test_a_kick_at_rest_deletes_nothing_and_says_why(twice: bool, events: list[dict[str, Any]]) -> None:
    maildrop = Maildrop([b"a"])
    talk = Talk(make_factory(maildrop))
    talk.say(b"DELE 1\r\n")
    talk.heard()
    talk.server.kick()
    if twice:
        talk.server.kick()
    assert talk.heard() == b"-ERR [SYS/TEMP] an operator has ended this session\r\n"
    assert talk.closed
    talk.lose()
    assert maildrop.told == ["release"]
    assert [(each["ended"], each["marked"]) for each in named(events, "pop3.session")] == [("operator", 1)]


@pytest.mark.parametrize("gone", [False, True])
def test_a_commit_that_fails_is_told_and_ends_the_session(gone: bool, events: list[dict[str, Any]]) -> None:
    committing: Deferred[int] = Deferred()
    maildrop = Maildrop([b"a"])
    maildrop.commits = lambda: committing
    talk = Talk(make_factory(maildrop))
    talk.say(b"DELE 1\r\nQUIT\r\nNOOP\r\n")
    talk.heard()
    if gone:
        talk.lose()
    committing.errback(OutcomeUnknown("/var/mail: no space"))
    if not gone:
        assert talk.heard() == TEMPORARY
        assert talk.closed
        talk.lose()
    assert maildrop.told[-1:] == ["release"]
    assert maildrop.told.count("release") == 1
    assert [event["deleted"] for event in named(events, "pop3.session")] == [0]


@pytest.mark.parametrize("late", [False, True])
def test_a_message_that_is_gone_is_refused_and_the_session_goes_on(late: bool) -> None:
    def gone(body: Any) -> Any:
        if late:
            return fail(MessageGone("/var/mail/1"))
        raise MessageGone("/var/mail/1")

    maildrop = Maildrop([b"a"])
    maildrop.answer = gone
    talk = Talk(make_factory(maildrop))
    talk.say(b"RETR 1\r\nNOOP\r\n")
    assert talk.heard() == b"-ERR message is no longer available\r\n+OK\r\n"


def test_a_fetch_answered_after_the_client_has_gone_is_closed() -> None:
    class Body:
        closed = 0

        def close(self) -> None:
            self.closed += 1

    opening: Deferred[Any] = Deferred()
    maildrop, body = Maildrop([b"a"]), Body()
    maildrop.answer = lambda _: opening
    talk = Talk(make_factory(maildrop))
    talk.say(b"RETR 1\r\n")
    talk.lose()
    opening.callback(body)
    assert body.closed == 1
    assert maildrop.told == ["release"]


def test_a_fault_in_a_command_ends_the_connection_without_its_text(events: list[dict[str, Any]]) -> None:
    def broken(body: Any) -> Any:
        raise RuntimeError("/var/mail/1")

    maildrop = Maildrop([b"a"])
    maildrop.answer = broken
    talk = Talk(make_factory(maildrop))
    talk.say(b"NOOP\r\nRETR 1\r\nNOOP\r\n")
    assert talk.heard() == b"+OK\r\n" + TEMPORARY
    assert talk.closed
    (event,) = named(events, "fault")
    assert event["log_failure"].check(RuntimeError)


@pytest.mark.parametrize("gone", [False, True])
def test_a_store_that_answers_nonsense_is_a_fault(gone: bool, events: list[dict[str, Any]]) -> None:
    opening: Deferred[Any] = Deferred()
    maildrop = Maildrop([b"a"])
    maildrop.answer = lambda _: opening
    talk = Talk(make_factory(maildrop))
    talk.say(b"RETR 1\r\n")
    talk.heard()
    if gone:
        talk.lose()
    opening.callback(None)  # no body
    assert named(events, "fault")
    assert talk.closed is not gone
    assert b"AttributeError" not in talk.heard()


def test_a_row_that_cannot_be_mended_is_a_fault_after_the_whole_message() -> None:
    def broken(number: int, octets: int) -> None:
        raise RuntimeError("/var/mail")

    maildrop = Maildrop([b"a\r\n"])
    maildrop.sent = broken  # type: ignore[method-assign]
    talk = Talk(make_factory(maildrop))
    talk.say(b"RETR 1\r\nNOOP\r\n")
    assert talk.heard() == b"+OK 3 octets\r\na\r\n.\r\n" + TEMPORARY
    assert talk.closed


def test_the_store_hears_what_was_sent_whole_and_of_top_nothing() -> None:
    maildrop = Maildrop([b"a\n.b"])
    talk = Talk(make_factory(maildrop))
    talk.say(b"RETR 1\r\nTOP 1 9\r\n")
    assert maildrop.told == [("sent", 1, 7)]


@pytest.mark.parametrize("state", ["idle", "waiting", "paused", "together"])
def test_who_half_closes_gets_all_answers(state: str) -> None:
    opening: Deferred[Any] = Deferred()
    maildrop = Maildrop([b"a\r\n"] * 2)
    body = maildrop.fetch(1)
    talk = Talk(make_factory(maildrop))
    commands = b"RETR 1\r\nNOOP\r\nRETR 2\r\nDELE 1\r\nQUI"
    if state == "waiting":
        maildrop.answer = lambda _: opening
    if state == "paused":
        talk.wire.hold()
    talk.say(commands)
    talk.server.readConnectionLost()
    if state == "waiting":
        assert not talk.closed
        maildrop.answer = lambda body: body
        opening.callback(body)
    if state == "paused":
        assert talk.heard() == b""
        assert not talk.closed
        talk.wire.go()
    assert talk.heard() == b"+OK 3 octets\r\na\r\n.\r\n+OK\r\n+OK 3 octets\r\na\r\n.\r\n+OK message 1 deleted\r\n"
    assert talk.wire.disconnecting
    talk.lose()
    assert maildrop.told[2:] == ["release"]


def test_who_half_closes_while_others_have_their_turn_gets_all_answers() -> None:
    maildrop = Maildrop([b"%b\r\n" % (b"x" * 998) * 300])
    talk = Talk(make_factory(maildrop))
    talk.say(b"RETR 1\r\nNOOP\r\nDELE 1\r\nQUIT\r\n")
    assert talk.heard().endswith(b"x\r\n.\r\n")  # whole, and so much that others come next
    talk.server.readConnectionLost()
    assert talk.turns() == b"+OK\r\n+OK message 1 deleted\r\n+OK signing off\r\n"
    assert ("commit", [1]) in maildrop.told


def test_a_long_listing_lets_others_run_between_its_blocks() -> None:
    maildrop = Maildrop(())
    rows = 10 * BLOCK
    maildrop.messages = Snapshot.of([Message(b"u%d" % n, 5, True) for n in range(rows)])
    talk = Talk(make_factory(maildrop))
    talk.say(b"LIST\r\nNOOP\r\n")
    assert not talk.wire.value().endswith(b"+OK\r\n")
    talk.clock.advance(0)
    writes = talk.wire.writes
    assert len(writes) > 1
    assert max(map(len, writes)) < TURN_OCTETS + len(maildrop.messages.scan_block(9)) + 100
    assert talk.heard().endswith(b"10000 5\r\n.\r\n+OK\r\n")


def test_a_listing_ends_with_its_connection() -> None:
    maildrop = Maildrop(())
    maildrop.messages = Snapshot.of([Message(b"u%d" % n, 5, True) for n in range(3 * BLOCK)])
    talk = Talk(make_factory(maildrop))
    talk.say(b"LIST\r\n")
    talk.lose()
    assert talk.clock.getDelayedCalls() == []


def test_a_greeting_leaves_in_one_write() -> None:
    assert Talk(make_factory(), logged_in=False).wire.writes == [GREETING]


def test_an_oracle_is_asked_and_its_answer_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from twisted.cred.credentials import IUsernamePassword

    from mailserver.credentials import Password
    from mailserver.exchange import Ask, Done
    from mailserver.interfaces import Census
    from mailserver.net import pop3_listener

    class Asking:
        name, cleartext, credentials, asks = b"ASKING", False, IUsernamePassword, b"ASKING"

        def fits(self, context: Any) -> bool:
            return True

        def begin(self, context: Any) -> Any:
            return self

        def step(self, response: bytes | None) -> Any:
            return Ask(b"who?")

        def answer(self, value: object) -> Any:
            assert value == "alice"
            return Done(Password(b"alice", b"secret"))

    class Oracle:
        def __init__(self) -> None:
            self.asked: list[Any] = []

        def mechanisms(self) -> frozenset[bytes]:
            return frozenset({b"ASKING"})

        def census(self) -> Census:
            return Census()

        def ask(self, request: object) -> Any:
            self.asked.append((request, Deferred()))
            return self.asked[-1][1]

    monkeypatch.setattr(pop3_listener, "MECHANISMS", (Asking(),))
    oracle = Oracle()
    talk = Talk(make_factory(oracle=oracle), logged_in=False)
    talk.heard()
    talk.say(b"AUTH ASKING\r\n" * 2)
    oracle.asked[0][1].errback(RuntimeError("/etc/shadow"))
    assert talk.heard() == TEMPORARY
    oracle.asked[1][1].callback("alice")
    assert talk.heard() == b"+OK maildrop has 0 messages (0 octets)\r\n"
    assert [request for request, _ in oracle.asked] == [b"who?"] * 2


class OnTerms(Realm):
    """A realm that tells the session its user's terms."""

    def __init__(self, maildrop: Any, terms: Terms) -> None:
        super().__init__(maildrop)
        self.terms = terms

    def requestAvatar(self, avatar_id: object, mind: Any, *interfaces: object) -> Any:
        mind.terms = self.terms
        return super().requestAvatar(avatar_id, mind, *interfaces)


def on_terms(terms: Terms, **options: Any) -> tuple[Maildrop, Talk]:
    maildrop = Maildrop([b"a: b\r\n\r\nx\r\n"])
    portal = Portal(OnTerms(maildrop, terms), [InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret")])
    return maildrop, Talk(make_factory(portal=portal, **options))


def test_a_read_only_maildrop_marks_nothing_as_seen_and_loses_nothing() -> None:
    maildrop, talk = on_terms(Terms(read_only=True))
    talk.say(b"RETR 1\r\nDELE 1\r\nQUIT\r\n")
    assert talk.heard().endswith(b".\r\n-ERR this maildrop is read-only\r\n+OK signing off\r\n")
    assert maildrop.told == [("commit", [])]
    maildrop, talk = on_terms(Terms())
    talk.say(b"RETR 1\r\n")
    assert maildrop.told == [("sent", 1, 11)]


def test_what_capa_says_of_the_user_comes_with_the_maildrop() -> None:
    _, talk = on_terms(Terms(login_delay=5, expire_days=9), login_delay=60, longest_login_delay=900)
    talk.say(b"CAPA\r\n")
    assert b"\r\nLOGIN-DELAY 5\r\nEXPIRE 9\r\n" in talk.heard()
    stranger = Talk(talk.factory, logged_in=False)
    stranger.say(b"CAPA\r\n")
    assert b"\r\nLOGIN-DELAY 900 USER\r\n.\r\n" in stranger.heard()


@pytest.mark.parametrize("secret", ["", "phone"])
def test_the_line_of_a_session_names_the_app_password(secret: str) -> None:
    _, talk = on_terms(Terms(secret=secret))
    with capturedLogs() as events:
        talk.say(b"QUIT\r\n")
        talk.lose()
    (event,) = (each for each in events if each["event"] == "pop3.session")
    assert event["app"] == secret
    assert ("by the app password 'phone'" in formatEvent(event)) is bool(secret)
