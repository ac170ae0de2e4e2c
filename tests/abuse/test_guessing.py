"""Clients that guess names and passwords, and names that would climb."""

from __future__ import annotations

import base64
import select
import time
from contextlib import ExitStack

import pytest

from mailserver.net.throttle import LONGEST_SECONDS
from tests.abuse.conftest import Serve
from tests.abuse.measures import Files, reset
from tests.rawpop3 import RawPOP3
from tests.servers import Site

REFUSED = b"-ERR [AUTH] authentication failed\r\n"
GUESS = "an open question"

NAMES = [
    *(b"..", b".", b"../..", b"../../../../../../etc/passwd", b"/etc/passwd", b"alice/../bob", b"alice/", b"./alice"),
    *(b"..\\..\\alice", b"%2e%2e%2falice", b"~root", b"alice@..", b"../x@example.org", b"@", b"alice@", b".alice"),
    *(b"alice\0", b"\0alice", b"al\0ice", b"alice\t", b"al\rice", b"\x1b[2Jalice", b"\x7f", b"\x01\x02\x03"),
    *(
        b"\xff\xfe",
        b"al\xc0\xafice",
        b"\xc3",
        b"\xed\xa0\x80",
        "alice\u202e".encode(),
        "a\u0301lice".encode(),
        b"\x80" * 40,
    ),
    *(b"a" * 240, b"a/" * 100, b"../" * 60, b"nobody", b"root", b"Alice", b"{user}", b"{home}", b"alice:x", b"*", b"-"),
]


def test_no_name_gets_another_answer_than_a_wrong_password_or_leaves_a_trace(site: Site, serve: Serve) -> None:
    alice = site.account("alice", messages=[b"hello\n"])
    lines = ""
    for name in ("..", "../climber", "../../climber", "x/../climber", ".hidden", "climber\x01"):
        lines += f"{name}:{{PLAIN}}{GUESS}\n"  # the right password: only the name is in the way
    with site.users.open("a", encoding="utf-8") as users:
        users.write(lines)
    site.hide("alice", GUESS)
    server = serve(
        store={"url": f"maildir:{site.folder}/mail/{{user}}/Maildir"},
        limits={"failures_per_connection": 1000, "failure_delay_seconds": 0},
    )
    files = Files(site.folder)
    with RawPOP3(server.pop3_port) as client:
        for name in [b"alice", *NAMES, b"../climber", b"../../climber", b"x/../climber", b".hidden", b"climber\x01"]:
            assert client.command(b"USER " + name) == b"+OK send PASS\r\n", name
            assert client.command(b"PASS " + GUESS.encode()) == REFUSED, name
        in_base64 = [name for name in [b"alice", *NAMES] if b"\0" not in name]  # which PLAIN puts between its parts
        for name in [*in_base64, b"al\nice", b"alice\r\n+OK", b"a" * 40_000, b"../" * 10_000]:
            response = base64.b64encode(b"\0%b\0%b" % (name, GUESS.encode()))
            assert client.command(b"AUTH PLAIN " + response) == REFUSED, name
    assert files.new == set()
    assert not any((site.folder.parent / name).exists() for name in ("climber", "Maildir"))
    server.wait_for("pop3.login_failed", 1 + len(NAMES) + 5 + len(in_base64) + 4)
    assert b"\x1b[2J" not in server.raw
    assert len(alice.files()) == 1


def test_guessers_wait_without_holding_up_the_owner(site: Site, serve: Serve) -> None:
    alice = site.account("alice", messages=[b"hello\n"])
    site.hide("alice", GUESS)
    server = serve(limits={"failure_delay_seconds": LONGEST_SECONDS})  # so that none is over before the session
    RawPOP3(server.pop3_port).login(alice.name, alice.password).quit()
    began = time.monotonic()
    with ExitStack() as stack:
        guessers = [stack.enter_context(RawPOP3(server.pop3_port, source="127.0.0.9")) for _ in range(50)]
        for guesser in guessers:
            guesser.send(b"USER alice\r\nPASS " + GUESS.encode() + b"\r\n")
            assert guesser.line().startswith(b"+OK")
        assert guessers[0].line() == REFUSED
        with RawPOP3(server.pop3_port).login(alice.name, alice.password) as client:
            assert client.fetch(b"RETR 1") == b"hello\r\n"
            client.ok(b"DELE 1")
            client.quit()
        silent = not select.select([guesser.socket for guesser in guessers], [], [], 0)[0]
        assert silent or time.monotonic() - began >= LONGEST_SECONDS
        for guesser in guessers:
            reset(guesser)
    server.wait_for("pop3.login_failed", 1)
    assert alice.files() == []


def test_each_failure_of_an_address_holds_back_its_next_attempt(site: Site, serve: Serve) -> None:
    site.account("alice")
    site.hide("alice", GUESS)
    server = serve(limits={"failure_delay_seconds": 0.25})
    began = time.monotonic()
    with ExitStack() as stack:
        guessers = [stack.enter_context(RawPOP3(server.pop3_port, source="127.0.0.9")) for _ in range(6)]
        for number, guesser in enumerate(guessers):
            guesser.send(b"USER user%d\r\nPASS %b\r\n" % (number, GUESS.encode()))
            assert guesser.line().startswith(b"+OK")
        for guesser in guessers[:3]:
            assert guesser.line() == REFUSED
        with RawPOP3(server.pop3_port, source="127.0.0.10") as newcomer:
            newcomer.ok(b"USER alice")
            assert newcomer.command(b"PASS " + GUESS.encode()) == REFUSED
        # The third was looked at after 0.75 s; the others have their turns 1, 3 and 7 seconds later.
        silent = not select.select([guessers[-1].socket], [], [], 0)[0]
        assert silent or time.monotonic() - began >= 7.75
        for guesser in guessers:
            reset(guesser)


@pytest.mark.parametrize("verb", ["PASS", "APOP", "AUTH"])
def test_three_failures_end_the_connection(site: Site, serve: Serve, verb: str) -> None:
    site.account("alice")
    site.hide("alice", GUESS)
    server = serve()
    attempt = {
        "PASS": [b"USER alice", b"PASS " + GUESS.encode()],
        "APOP": [b"APOP alice " + b"0" * 32],
        "AUTH": [b"AUTH PLAIN " + base64.b64encode(b"\0alice\0" + GUESS.encode())],
    }[verb]
    with RawPOP3(server.pop3_port) as client:
        client.send(b"".join(line + b"\r\n" for line in attempt * 5))
        for _ in range(3):
            assert [client.line() for _ in attempt][-1] == REFUSED
        assert client.rest() == b""
