"""SIGKILL at every step of a session: the scan of its maildrop, the index, the commit.

`tests.store` kills these alone. Here a client is told things over the wire, and the next server must stand by them.
"""

from __future__ import annotations

import sys
from collections import Counter
from random import Random

from tests.corpus import canonical
from tests.crash.clients import Client, Died
from tests.crash.model import Drop
from tests.servers import Server, Site

MOST = 60
"""Steps of a session, and half as many again as there are: the loop ends when a session outlives its server's doom."""


def test_a_kill_at_any_step_leaves_what_the_client_was_told() -> None:
    tally, random = Counter[str](), Random(1939)
    told = []
    with Site() as site:
        drop = None
        while told[-1:] != [b"QUIT"]:
            assert len(told) < MOST
            before, drop = drop, Drop(site.account(f"user{len(told)}"), tally)
            for _ in range(4):
                drop.deliver(random)
            drop.move(random)
            told.append(killed(site, before, drop, len(told) + 1))
    assert {b"", b"PASS", b"QUIT"} >= set(told), "the last that was answered; no step lies between the login and QUIT"
    assert told.count(b"PASS") > 10, "steps of a commit"
    assert tally["answered QUITs"] == 1
    assert tally["unanswered QUITs, done"] > 5, "steps after the promise"
    assert tally["unanswered QUITs, not done"] > 2, "steps before it"


def killed(site: Site, before: Drop | None, drop: Drop, step: int) -> bytes:
    """Run a server until its death at `step` on `drop`, and first look at what the one before has left of `before`."""
    program = (sys.executable, "-P", "-m", "tests.crash.dying", f"{drop.account.maildir}/", str(step))
    server = Server(site, program=(*program, "--log-format=json", "mailserver"))
    server.start()
    try:
        if before is not None:
            before.check(server.pop3_port)
        return session(server.pop3_port, drop)
    finally:
        server.kill()
        assert not [event for event in server.events if "fault" in event.get("event", "")], server.log()


def session(port: int, drop: Drop) -> bytes:
    """Retrieve, delete and quit; the last of PASS, DELE and QUIT that was answered."""
    answered = b""
    try:
        with Client(port) as client:
            begun = drop.begin()
            client.login(drop.account.name, drop.account.password)
            answered = b"PASS"
            uidls = [uidl for _, uidl in client.listing(b"UIDL")]
            drop.saw(uidls, begun)
            assert client.fetch(b"RETR 1") == canonical(drop.alive[uidls[0]])
            doubt = drop.quits({uidls[0], uidls[2]})
            client.send(b"DELE 1\r\nDELE 3\r\nQUIT\r\n")
            assert [client.line()[:3] for _ in range(3)] == [b"+OK"] * 3
            answered = b"QUIT"
            drop.promised(doubt)
    except Died:
        pass
    return answered
