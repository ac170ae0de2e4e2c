"""The LMTP listener: places, names, and what it announces."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.logger import capturedLogs

from mailserver.limits import Delivery
from mailserver.net.lmtp_listener import LMTPServerFactory, lmtp_places
from tests.net.deliveries import HELLO, Deliveries, Delivering, make_lmtp

PEER = IPv4Address("TCP", "192.0.2.7", 4711)


def test_the_greeting_and_what_is_announced_follow_from_the_settings() -> None:
    talk = Delivering(make_lmtp(rules={"max_octets": 70_000}), PEER, hello=False)
    assert talk.heard() == b"220 h LMTP server ready\r\n"
    talk.say(HELLO)
    rows = {line[4:] for line in talk.heard().splitlines()}
    assert {b"SIZE 70000", b"PIPELINING", b"8BITMIME", b"SMTPUTF8", b"CHUNKING", b"ENHANCEDSTATUSCODES"} <= rows
    assert not {b"STARTTLS", b"XCLIENT"} & {row.split()[0] for row in rows}


@pytest.mark.parametrize(("peer", "offered"), [(PEER, True), (UNIXAddress(None), False)])
def test_starttls_is_offered_over_tcp(store: Any, peer: Any, offered: bool) -> None:
    talk = Delivering(make_lmtp(tls=store), peer, hello=False)
    talk.say(HELLO)
    assert (b"STARTTLS" in talk.heard()) is offered


def test_recipients_beyond_the_limit_are_left_for_another_transaction() -> None:
    talk = Delivering(make_lmtp(rules={"max_recipients": 100}), PEER)
    talk.say(b"MAIL FROM:<>\r\n" + b"".join(b"RCPT TO:<u%d>\r\n" % n for n in range(101)))
    assert [line[:3] for line in talk.turns().splitlines()] == [b"250"] * 101 + [b"452"]
    assert len(talk.deliveries.begun[0].recipients) == 100


def test_one_mail_server_may_take_every_place_and_who_comes_then_comes_again() -> None:
    factory = make_lmtp(rules={"connections": 3})
    talks = [Delivering(factory, UNIXAddress(None)) for _ in range(3)]
    with capturedLogs() as events:
        late = Delivering(factory, UNIXAddress(None), hello=False)
    assert late.heard() == b"421 4.3.0 too many connections\r\n"
    assert late.closed
    (event,) = [each for each in events if each.get("event") == "lmtp.turned_away"]
    assert event["log_format"].format(**event) == "turned away a sender over a Unix socket: delivery.connections"
    talks[0].lose()
    assert not Delivering(factory, UNIXAddress(None)).closed


def test_the_listeners_of_a_service_share_their_places() -> None:
    places = lmtp_places(Delivery(connections=1))
    first, second = (make_lmtp(places=places) for _ in range(2))
    Delivering(first, PEER)
    assert Delivering(second, PEER, hello=False).closed


def test_who_comes_while_the_server_stops_is_told_so() -> None:
    factory = make_lmtp()
    talk = Delivering(factory, PEER)
    talk.say(b"MAIL FROM:<>\r\n")
    factory.drain()
    assert Delivering(factory, PEER, hello=False).heard() == b"421 4.3.0 the server is stopping\r\n"


def test_everything_has_a_default() -> None:
    factory = LMTPServerFactory(Deliveries())
    assert factory.rules == Delivery()
    assert factory.listener == "lmtp"
