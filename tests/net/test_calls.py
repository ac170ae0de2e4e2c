"""What a session costs on the hot road: calls of our functions, which no noise of the machine touches.

A figure that rises has to be paid by every session of every user. Python 3.12 counts fewer: there a comprehension is no call.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock

import mailserver
from mailserver.net import Limits, POP3ServerFactory
from tests.net.sessions import Maildrop, Talk, portal_of

OURS = str(Path(mailserver.__file__).parent)
ALICE = IPv4Address("TCP", "192.0.2.1", 1)
NO_WAITING = Limits(failure_delay_seconds=0)
IN, OUT = [b"USER alice\r\n", b"PASS secret\r\n"], [b"QUIT\r\n"]


def calls(act: Callable[[], object]) -> int:
    found = 0

    def look(frame: FrameType, event: str, _: Any) -> None:
        nonlocal found
        found += event == "call" and frame.f_code.co_filename.startswith(OURS)

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
        ([*IN, b"STAT\r\n", *OUT], 216),
        ([*IN, b"LIST\r\n", b"UIDL\r\n", *OUT], 252),
        ([*IN, *(b"RETR %d\r\n" % number for number in range(1, 21)), *OUT], 1116),
        ([*IN, b"".join(b"RETR %d\r\n" % number for number in range(1, 21)), *OUT], 869),
        ([*IN, b"NOOP\r\n" * 20, *OUT], 347),
        ([b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n", *OUT], 201),
        ([b"USER alice\r\n", b"PASS guess\r\n", *OUT], 188),
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
