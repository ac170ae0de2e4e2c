"""Whatever a sender says, however it comes, and whenever the world answers: each transaction ends once, and nothing is left."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from mailserver.errors import MaildropUnavailable, TemporaryFailure
from mailserver.net.connection import UNREAD_LIMIT
from mailserver.smtp_errors import UnknownRecipient
from tests.net.deliveries import ENVELOPE, HELLO, MESSAGE, Deliveries, Delivering, Kept, make_lmtp

PEER = IPv4Address("TCP", "192.0.2.7", 4711)

NAMES = (b"alice", b"carol", b"dave")
TEXT = MESSAGE + b".\r\n"
WHOLE = ENVELOPE + b"DATA\r\n" + TEXT
SAID = st.sampled_from(
    [
        *[WHOLE, ENVELOPE, ENVELOPE + b"DATA\r\n", WHOLE + WHOLE, TEXT, b"x" * 40_000] * 3,
        *[b"DATA\r\n", MESSAGE, b".\r\n", b"\r", b"\n", b"RCPT TO:<carol>\r\nRCPT TO:<dave>\r\n"],
        *[b"BDAT 3\r\nabc", b"BDAT 40000\r\n", b"BDAT 0 LAST\r\n", b"RSET\r\n", HELLO, b"FOO\r\n", b"QUIT\r\n"],
    ]
)
SAY = st.tuples(st.just("say"), SAID, st.sampled_from([7, 1000, 50_000, 50_000]))
ANSWER = st.tuples(st.just("answer"), st.sampled_from([None, None, None, UnknownRecipient(), TemporaryFailure()]))
SELDOM = st.sampled_from([("now",), ("now",), ("wait",), ("half",), ("drain",), ("hold",), ("go",), ("go",), ("go",)])
STEPS = st.lists(
    st.one_of(SAY, SAY, SAY, ANSWER, ANSWER, ANSWER, ANSWER, st.just(("later",)), SELDOM), min_size=5, max_size=30
)
"""Steps of the sender and of the world, which answers when it is told to, and at once after "now"."""


class World(Deliveries):
    """Deliveries that answer at once, or when they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: list[tuple[Deferred[Any], Any]] = []
        self.at_once = False
        self.lookups = self.commits = self._asked
        self.writes = self._write

    def _write(self, data: bytes) -> Deferred[None] | None:
        assert not any(isinstance(what, bytes) and not answer.called for answer, what in self.pending), (
            "one after the other"
        )
        return None if self.at_once else self._asked(data)

    def _asked(self, what: Any) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred(self._cancelled)
        self.pending.append((answer, what))
        if self.at_once:
            self.answer(None)
        return answer

    def _cancelled(self, answer: Deferred[Any]) -> None:
        (what,) = [what for pending, what in self.pending if pending is answer]
        assert what in NAMES, "only a lookup is"

    def answer(self, error: Exception | None) -> None:
        answer, what = self.pending.pop(0)
        if answer.called:  # cancelled with its connection
            return
        if isinstance(what, Kept):
            answer.callback([error and MaildropUnavailable("no")] * len(what.recipients))
        elif error is None or what in self.begun[-1].written:  # a write never fails
            answer.callback(None)
        else:
            answer.errback(error)


def run(steps: list[Any]) -> tuple[World, list[Any]]:
    world = World()
    factory = make_lmtp(world, rules={"max_octets": 65_536})
    with capturedLogs() as events:
        talk = Delivering(factory, PEER)
        for step in steps:
            if talk.closed:
                break
            perform(step, talk, world)
            assert talk.server.core.unread <= UNREAD_LIMIT + 50_000
        if not talk.wire.disconnected:
            talk.lose()
        while world.pending:
            world.answer(None)
        talk.turns()
    assert factory.places.taken == 0
    return world, events


def perform(step: Any, talk: Delivering, world: World) -> None:
    what = step[0]
    if what == "say" and talk.wire.producerState == "producing":
        data, size = step[1], step[2]
        for at in range(0, len(data), size):
            if talk.wire.producerState == "producing" and not talk.closed:
                talk.say(data[at : at + size])
    elif what == "answer" and world.pending:
        world.answer(step[1])
    elif what in ("now", "later"):
        world.at_once = what == "now"
    elif what == "wait":
        talk.clock.advance(60)
    elif what == "half":
        talk.server.readConnectionLost()
    elif what == "drain":
        talk.factory.drain()
    elif what in ("hold", "go"):
        getattr(talk.wire, what)()


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_each_transaction_ends_once_and_nothing_is_a_fault(steps: list[Any]) -> None:
    world, events = run(steps)
    assert {kept.ended for kept in world.begun} <= {"commit", "abort"}
    assert [event for event in events if event.get("event") == "fault"] == []
    assert len([event for event in events if event.get("event") == "lmtp.session"]) == 1
