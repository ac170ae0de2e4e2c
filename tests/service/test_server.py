"""The end of a process's share of the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from mailserver.auth import PasswordFile
from mailserver.config.problems import Problems
from mailserver.config.reading import decode
from mailserver.errors import ConfigError
from mailserver.interfaces import IPart
from mailserver.service import listeners
from mailserver.service.server import Server
from mailserver.store import Router

SETTINGS: dict[str, Any] = {
    "hostname": "mail.example.org",
    "listen": {"pop3": ["tcp:0"]},
    "auth": {"checkers": ["memory:alice:wonderland"], "cleartext": "always"},
    "store": {"url": "memory:"},
}


class DeafTransport(StringTransport):
    """To a client that reads nothing, so that it can only be aborted."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class StallingTransport(StringTransport):
    """To a client that says nothing more. Its end is told in a turn of its own, as Twisted does it."""

    def __init__(self, protocol: Any) -> None:
        super().__init__()
        self.connection = protocol

    def abortConnection(self) -> None:
        reactor.callLater(0, self.connection.connectionLost, Failure(ConnectionAborted()))  # type: ignore[attr-defined]  # it is a reactor


@implementer(IPart)
class Last:
    """A part that says when it is let go."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def start(self, _reactor: object) -> Deferred[None]:
        return succeed(None)

    def reload(self) -> Deferred[None]:
        return succeed(None)

    def stop(self) -> Deferred[None]:
        self.told.append("the last")
        return succeed(None)


class DrainTests(TestCase):
    def setUp(self) -> None:
        self.users = Path(self.mktemp()).absolute()
        self.users.write_text("alice:{PLAIN}wonderland\n")

    async def test_a_session_that_does_not_end_in_time_is_cut_and_all_else_is_let_go(self) -> None:
        told: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(told.append)
        self.addCleanup(globalLogPublisher.removeObserver, told.append)
        server = Server(decode(SETTINGS), reactor, Problems())
        let_go: list[str] = []
        server.parts._parts.insert(0, (Last(let_go), "tls"))
        await server.start()
        connection = server.factory("pop3", "tcp:0").buildProtocol(None)
        transport = DeafTransport()
        connection.makeConnection(transport)
        self.addCleanup(lambda: [call.cancel() for call in reactor.getDelayedCalls()])  # its limits of time
        self.patch(listeners, "DRAIN_SECONDS", 0.01)
        await server.stop()
        assert transport.aborted
        assert let_go == ["the last"]
        assert [event["event"] for event in told if "event" in event] == ["service.cut"]

    async def test_a_message_whose_sender_stalls_is_cut_with_its_file_and_told_before_the_store_stops(self) -> None:
        told: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(told.append)
        self.addCleanup(globalLogPublisher.removeObserver, told.append)
        home = self.users.with_name("home")
        home.mkdir()
        self.users.write_text(f"alice:{{PLAIN}}wonderland::::{home}::\n")
        given = {
            "listen": {"lmtp": ["tcp:0:interface=127.0.0.1"]},
            "auth": {"checkers": [f"passwd-file:{self.users}"]},
            "store": {"url": "maildir:{home}/Maildir"},
        }
        server = Server(decode({**SETTINGS, **given}), reactor, Problems())
        await server.start()
        factory = server.factory("lmtp", "tcp:0:interface=127.0.0.1")
        connection: Any = factory.buildProtocol(None)
        connection.makeConnection(StallingTransport(connection))
        connection.dataReceived(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<alice>\r\nDATA\r\n")
        while not connection.session.receiving:
            await deferLater(reactor, 0)
        for _ in range(20):
            connection.dataReceived(b"x" * 65536)
        while not (written := list(home.rglob("tmp/*"))) or connection.session.busy:
            await deferLater(reactor, 0.01)
        assert len(written) == 1
        self.patch(listeners, "DRAIN_SECONDS", 0.01)
        await server.stop()
        assert list(home.rglob("tmp/*")) == []
        assert [event["event"] for event in told if str(event.get("event")).startswith("lmtp.")] == [
            "lmtp.given_up",
            "lmtp.session",
        ]

    async def test_nothing_that_a_session_needs_stops_before_the_sessions_have_ended(self) -> None:
        checkers = {"checkers": [f"passwd-file:{self.users}"], "cleartext": "always"}
        drained: Deferred[None] = Deferred()
        stopped: list[str] = []
        stop_store, stop_checker = Router.stop, PasswordFile.stop
        self.patch(listeners.Listeners, "stop", lambda _: drained)
        self.patch(Router, "stop", lambda store: stopped.append("store") or stop_store(store))
        self.patch(PasswordFile, "stop", lambda checker: stopped.append("checker") or stop_checker(checker))
        server = Server(decode({**SETTINGS, "auth": checkers}), reactor, Problems())
        await server.start()
        ended = Deferred.fromCoroutine(server.stop())
        assert stopped == []
        drained.callback(None)
        await ended
        assert stopped == ["store", "checker"]


class EndpointTests(TestCase):
    async def test_an_endpoint_may_announce_mechanisms_of_its_own(self) -> None:
        auth = {**SETTINGS["auth"], "endpoint_mechanisms": {"tcp:0": ["LOGIN"]}}
        server = Server(decode({**SETTINGS, "auth": auth, "listen": {"pop3": ["tcp:0", "tcp:1"]}}), reactor, Problems())
        await server.start()
        said = {}
        for endpoint in ("tcp:0", "tcp:1"):
            connection = server.factory("pop3", endpoint).buildProtocol(None)
            transport = StringTransport()
            connection.makeConnection(transport)
            connection.dataReceived(b"AUTH\r\n")
            said[endpoint] = transport.value().split(b"\r\n")[2:-2]
            connection.connectionLost()
        await server.stop()
        assert said["tcp:0"] == [b"LOGIN"]
        assert {b"PLAIN", b"LOGIN"} <= set(said["tcp:1"])

    async def test_settings_that_nobody_has_checked_are_served_by_no_less_than_their_kind_needs(self) -> None:
        server = Server(decode(SETTINGS), reactor, Problems())
        await server.start()
        self.addCleanup(server.stop)
        for kind, needed in (("pop3s", "a certificate"), ("kpop", "a keytab")):
            with pytest.raises(ConfigError, match=f"listen.{kind}: .* needs {needed}"):
                server.factory(kind, "tcp:0")
