"""Abusers of several workers, who gain nothing from the number of them, and nothing from the death of one."""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import ExitStack
from typing import Final

from mailserver.net.throttle import LONGEST_SECONDS
from tests.abuse.conftest import Serve
from tests.abuse.measures import descriptors, reset
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site
from tests.waiting import eventually

WORKERS: Final = 4
GUESSERS: Final = 200
ADDRESSES: Final = 50
GUESS: Final = "an open question"


def workers(server: Server) -> list[int]:
    """The processes that serve, by their numbers: the last of each number that said so."""
    told = re.findall(r"worker (\d+) serves \(pid (\d+)\)", server.log())
    return list({number: int(pid) for number, pid in told}.values())


def replace(server: Server, pid: int) -> None:
    """Kill a worker, and wait for its successor."""
    before = len(server.told("worker.serving"))
    os.kill(pid, signal.SIGKILL)
    server.wait_for("worker.serving", before + 1)
    server.events[:] = [event for event in server.events if event.get("event") != "worker.ended"]  # it is no fault


def test_two_hundred_guesses_come_to_one_and_the_owner_gets_in_though_workers_die(site: Site, serve: Serve) -> None:
    alice = site.account("alice", messages=[b"hello\n"])
    site.hide("alice", GUESS)
    server = serve(workers=WORKERS, limits={"failure_delay_seconds": LONGEST_SECONDS})
    RawPOP3(server.pop3_port).login(alice.name, alice.password).quit()
    idle = {pid: descriptors(pid) for pid in workers(server)}
    began = time.monotonic()
    with ExitStack() as stack:
        guessers = [
            stack.enter_context(RawPOP3(server.pop3_port, source=f"127.0.1.{number % ADDRESSES + 1}"))
            for number in range(GUESSERS)
        ]
        assert sum(descriptors(pid) > before for pid, before in idle.items()) > 1, "they came to one worker alone"
        for guesser in guessers:
            guesser.send(b"USER alice\r\nPASS " + GUESS.encode() + b"\r\n")
            assert guesser.line().startswith(b"+OK")
        server.wait_for("pop3.login_failed", 1)
        for pid in workers(server):
            with RawPOP3(server.pop3_port).login(alice.name, alice.password) as client:
                client.quit()
            replace(server, pid)
        with RawPOP3(server.pop3_port).login(alice.name, alice.password) as client:
            assert client.fetch(b"RETR 1") == b"hello\r\n"
            client.quit()
        most = 1 + (time.monotonic() - began) // LONGEST_SECONDS  # 1, unless this machine is very slow
        assert len(server.told("pop3.login_failed")) <= most, "some worker has looked at another guess"
        for guesser in guessers:
            reset(guesser)


def test_the_connections_of_an_address_count_in_all_workers_and_a_dead_one_s_come_back(
    site: Site, serve: Serve
) -> None:
    most = 6
    server = serve(workers=WORKERS, limits={"connections_per_address": most})

    def connected(client: RawPOP3) -> bool:
        return client.greeting.startswith(b"+OK")

    with ExitStack() as stack:
        clients = [stack.enter_context(RawPOP3(server.pop3_port, source="127.0.1.9")) for _ in range(most)]
        assert all(map(connected, clients))
        for _ in range(WORKERS):
            with RawPOP3(server.pop3_port, source="127.0.1.9") as refused:
                assert not connected(refused)
        with RawPOP3(server.pop3_port, source="127.0.1.10") as other:
            assert connected(other)
        for pid in workers(server):
            replace(server, pid)
        clients = [stack.enter_context(RawPOP3(server.pop3_port, source="127.0.1.9")) for _ in range(most)]
        assert all(map(connected, clients))
        with RawPOP3(server.pop3_port, source="127.0.1.9") as refused:
            assert not connected(refused)
        clients.pop().quit()

        def free() -> bool:
            with RawPOP3(server.pop3_port, source="127.0.1.9") as again:
                return connected(again)

        eventually(free, server.log)


def test_a_login_delay_is_kept_by_all_workers(site: Site, serve: Serve) -> None:
    site.account("alice")
    site.account("bob")
    server = serve(workers=WORKERS, retention={"login_delay_seconds": 3600})
    RawPOP3(server.pop3_port).login("alice", "sesame of alice").quit()
    for _ in range(3 * WORKERS):
        with RawPOP3(server.pop3_port) as client:
            client.ok(b"USER alice")
            told = client.command(b"PASS sesame of alice")
            assert re.fullmatch(rb"-ERR \[LOGIN-DELAY\] .* (35|36)\d\d seconds\r\n", told)
            assert client.command(b"PASS guess").startswith(b"-ERR")
    with RawPOP3(server.pop3_port) as client:
        client.ok(b"USER alice")
        assert client.command(b"PASS guess") == b"-ERR [AUTH] authentication failed\r\n"
    RawPOP3(server.pop3_port).login("bob", "sesame of bob").quit()
    server.wait_for("pop3.login_delayed", 3 * WORKERS)
