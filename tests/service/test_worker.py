"""A worker process, as far as it can be watched from within; test_workers.py has real ones."""

from __future__ import annotations

import signal
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailserver.config.reading import decode, plain
from mailserver.service import worker
from mailserver.service.server import Server
from mailserver.tls.tickets import MemoryTickets
from tests.service.test_server import SETTINGS


class Shutdown:
    """The reactor, but what is to run before its shutdown is kept."""

    def __init__(self) -> None:
        self.before: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def addSystemEventTrigger(self, phase: str, event: str, call: Any) -> None:
        assert (phase, event) == ("before", "shutdown")
        self.before.append(call)


class WorkerTests(TestCase):
    async def test_it_accepts_no_connection_while_its_last_sessions_end(self) -> None:
        order: list[str] = []

        async def close(ports: list[Any]) -> None:
            order.append("ports closed")

        stop = Server.stop
        self.patch(worker, "close_ports", close)
        self.patch(worker, "say", order.append)
        self.patch(worker, "common_memory", lambda _spec: None)
        self.patch(signal, "signal", lambda _number, _handler: None)
        self.patch(Server, "stop", lambda server: order.append("server stopped") or stop(server))
        shutdown = Shutdown()
        spec = {
            "config": plain(decode(SETTINGS)),
            "sockets": [],
            "controls": False,
            "number": 1,
            "processes": 1,
            "stderr": False,
            "tickets": MemoryTickets().passed(),
        }
        await worker.serve(spec, shutdown, worker.Lifeline(0, shutdown.stop))
        (ended,) = shutdown.before
        answer = ended()
        assert isinstance(answer, Deferred), "the reactor waits for it"
        await answer
        assert order == ["serving", "ports closed", "server stopped", "ports closed"], "those of pages last"
