"""SIGKILL at every step of a delivery to two users, one of whom has no Maildir yet: the next server stands by the answers.

`tests.store` kills deposits alone. ``CRASH_RUNS`` takes all of the steps here, and not only some of them.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from itertools import count
from random import Random

from tests.crash.clients import Died
from tests.crash.fed import Fed
from tests.crash.feeders import Mailer
from tests.crash.model import letter
from tests.crash.receiving import RECEIVING, address
from tests.rawlmtp import stuffed
from tests.servers import Server, Site

STRIDE = 1 if "CRASH_RUNS" in os.environ else 5
PROGRAM = (sys.executable, "-P", "-m", "tests.crash.dying")


def test_a_kill_at_any_step_of_a_delivery_leaves_what_the_sender_was_told() -> None:
    tally, random = Counter[str](), Random(2033)
    drops: list[Fed] = []
    with Site() as site:
        for step in count(1 + random.randrange(STRIDE), STRIDE):
            before, drops = (
                drops,
                [
                    Fed(site.account(f"{step}-alice"), tally),
                    Fed(site.account(f"{step}-bob", extra="userdb_quota_message_count=9"), tally),
                ],
            )
            shutil.rmtree(drops[1].account.maildir)
            program = (*PROGRAM, f"{site.folder}/mail/{step}-", str(step), "--log-format=json", "mailserver")
            server = Server(site, program=program, **RECEIVING)
            server.start()
            try:
                for drop in before:
                    drop.check(server.pop3_port)
                if deliver(server.ports["lmtp"], drops, letter(random)):
                    break
            finally:
                server.kill()
                assert not [event for event in server.events if "fault" in event.get("event", "")], server.log()
    assert tally["answered deliveries"] == 2, "not killed, both have it"
    assert tally["unanswered deliveries, done"] > 0, "killed behind the name"
    assert tally["unanswered deliveries, not done"] > 5, "killed before it"


def deliver(port: int, drops: list[Fed], message: bytes) -> bool:
    """Whether the server outlived it."""
    try:
        with Mailer(port) as mailer:
            replies = mailer.begin([address(drop.account) for drop in drops])
            assert all(reply.startswith(b"250") for reply in replies), replies
            mailer.ok(b"DATA")
            for drop in drops:
                drop.sends(message)
            mailer.send(stuffed(message))
            for drop in drops:
                assert (reply := mailer.reply()).startswith(b"250"), reply
                drop.answered(message, delivered=True)
    except Died:
        return False
    return True
