"""What a session costs on the hot road: calls of our functions, which no noise of the machine touches.

A figure that rises has to be paid by every session of every user. Python 3.12 counts fewer: there a comprehension is no call.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

import mailserver
from mailserver.counts import Counts
from mailserver.net import Limits, POP3ServerFactory
from tests.net.sessions import Maildrop, Talk, portal_of

OURS = str(Path(mailserver.__file__).parent)
ALICE = IPv4Address("TCP", "192.0.2.1", 1)
NO_WAITING = Limits(failure_delay_seconds=0)
IN, OUT = [b"USER alice\r\n", b"PASS secret\r\n"], [b"QUIT\r\n"]


def ours(code: CodeType) -> bool:
    return code.co_filename.startswith(OURS)


def calls(act: Callable[[], object], counts: Callable[[CodeType], bool] = ours) -> int:
    found = 0

    def look(frame: FrameType, event: str, _: Any) -> None:
        nonlocal found
        found += event == "call" and counts(frame.f_code)

    before = sys.getprofile()
    gc.collect()
    gc.disable()  # what other tests have left may have finalizers of ours
    sys.setprofile(look)
    try:
        act()
    finally:
        sys.setprofile(before)
        gc.enable()
    return found


@pytest.mark.parametrize(
    ("lines", "most"),
    [
        ([*IN, b"STAT\r\n", *OUT], 205),
        ([*IN, b"LIST\r\n", b"UIDL\r\n", *OUT], 239),
        ([*IN, *(b"RETR %d\r\n" % number for number in range(1, 21)), *OUT], 1047),
        ([*IN, b"".join(b"RETR %d\r\n" % number for number in range(1, 21)), *OUT], 838),
        ([*IN, b"NOOP\r\n" * 20, *OUT], 336),
        ([b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n", *OUT], 194),
        ([b"USER alice\r\n", b"PASS guess\r\n", *OUT], 180),
    ],
    ids=["STAT", "LIST, UIDL", "RETR of twenty", "twenty pipelined", "twenty NOOPs", "AUTH PLAIN", "a wrong password"],
)
def test_a_session_makes_so_many_calls_and_no_more(lines: Sequence[bytes], most: int) -> None:
    portal = portal_of(Maildrop([b"a: b\r\n\r\nx\r\n"] * 20))
    factory = POP3ServerFactory(portal, clock=Clock(), hostname="h", cleartext="always", limits=NO_WAITING)

    def session() -> None:
        talk = Talk(factory, ALICE, logged_in=False)
        for line in lines:
            talk.say(line)
        talk.lose()

    calls(session)  # the first one makes what the others find made
    found = calls(session)
    assert most * 0.8 < found <= most, found


def test_a_message_that_is_there_makes_no_deferred(tmp_path: Path) -> None:
    talk = Talk(POP3ServerFactory(portal_of(Maildrop([b"a\n"] * 9, tmp_path)), clock=Clock(), cleartext="always"))

    def retrieve() -> None:
        talk.say(b"RETR 1\r\n" + b"TOP 2 0\r\n" * 4)

    made = Deferred.__init__.__code__
    assert calls(retrieve, lambda code: code is made) == 0
    assert len(talk.wire.writes) == 1
    assert talk.heard().count(b"\r\n.\r\n") == 5


def test_a_session_that_was_ended_leaves_nothing_to_the_garbage_collector() -> None:
    factory = POP3ServerFactory(portal_of(Maildrop([b"a\n"])), clock=Clock(), cleartext="always", limits=NO_WAITING)

    def session() -> None:
        talk = Talk(factory, ALICE)
        talk.say(b"CAPA\r\nRETR 1\r\nQUIT\r\n")
        talk.lose()

    session()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        session()
        gc.collect()
        assert [each for each in gc.garbage if type(each).__module__.startswith("mailserver")] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_counting_a_session_takes_three_calls_more() -> None:
    portal = portal_of(Maildrop([b"a: b\r\n\r\nx\r\n"] * 20))
    plain, counted = (
        POP3ServerFactory(portal, clock=Clock(), hostname="h", cleartext="always", limits=NO_WAITING) for _ in range(2)
    )
    counted.traffic = Counts().of("pop3")

    def session(factory: POP3ServerFactory) -> Callable[[], None]:
        def act() -> None:
            talk = Talk(factory, ALICE, logged_in=False)
            for line in (*IN, b"STAT\r\n", *OUT):
                talk.say(line)
            talk.lose()

        act()
        return act

    clocks = 6  # the reactor's own clock is one of C
    assert calls(session(counted)) - calls(session(plain)) <= 3 + clocks
    counted.traffic.settle()
    assert counted.traffic.sessions == {"quit": 3 - 1}
