"""The end of a process's share of the work."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import StringTransport
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from mailserver.config.problems import Problems
from mailserver.config.reading import decode
from mailserver.errors import ConfigError
from mailserver.interfaces import IPart
from mailserver.service import listeners
from mailserver.service.checkers import make_checker
from mailserver.service.server import Server

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


@pytest.mark.parametrize("gone", ["crypt", "spwd"])
def test_a_python_without_crypt_says_that_unix_lets_nobody_in(gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "crypt", ModuleType("crypt"))
    monkeypatch.setitem(sys.modules, "spwd", ModuleType("spwd"))
    make_checker("unix")
    monkeypatch.setitem(sys.modules, gone, None)
    with pytest.raises(ConfigError, match=f"unix: Python 3.* has no module {gone} .* so nobody could log in"):
        make_checker("unix")


def test_a_file_checker_without_a_file_is_the_operator_s_error() -> None:
    with pytest.raises(ConfigError, match="file needs the location of a file"):
        make_checker("file:")


class CensusTests(TestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()

    async def started(self, lines: str, **auth: Any) -> tuple[Server, Path, list[str]]:
        path = self.path
        path.write_text(lines)
        told: list[str] = []

        def observe(event: dict[str, Any]) -> None:
            if event.get("event") == "auth.mechanism":
                told.append(f"{event['log_level'].name}: {formatEvent(event)}")

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        checkers = {**SETTINGS["auth"], "checkers": [f"passwd-file:{path}"], **auth}
        server = Server(decode({**SETTINGS, "auth": checkers}), reactor, Problems())
        await server.start()
        self.addCleanup(server.stop)
        return server, path, told

    async def test_how_many_can_use_what_is_not_everybody_s_is_told_and_again_when_it_changes(self) -> None:
        lines = "a:{PLAIN}x\nb:{SHA1}2jmj7l5rSw0yVb/vlWAYkK/YBwk=\n"
        server, path, told = await self.started(lines, mechanisms=["PLAIN", "CRAM-MD5"])
        named = [line for line in told if "CRAM-MD5" in line]
        assert len(told) == 5
        assert named == [
            "warn: 1 of 2 users can use CRAM-MD5, which auth.mechanisms names: clients that choose it fail for all others"
        ]
        assert told[0].startswith("info: 1 of 2 users can use APOP, so it is not announced")
        await server.reload()
        assert len(told) == 5
        path.write_text(lines + "c:{PLAIN}x\n")
        await server.reload()
        assert next(line for line in told[5:] if "CRAM-MD5" in line).startswith("warn: 2 of 3 users")

    async def test_what_everybody_or_nobody_can_use_is_not_told(self) -> None:
        assert (await self.started("a:{PLAIN}x\n"))[2] == []
        assert (await self.started("a:{SHA1}2jmj7l5rSw0yVb/vlWAYkK/YBwk=\n"))[2] == []
