"""The end of several things, each by itself."""

import os
import pwd
import signal
import socket
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import TestCase

from mailserver.service.closing import close_ports, stop_all
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site


class ClosingTests(TestCase):
    async def listen(self, endpoint):
        return await serverFromString(reactor, endpoint).listen(Factory())

    async def test_a_socket_that_cannot_be_removed_is_closed_and_told_and_the_others_are_closed(self):
        path = Path(self.mktemp())
        first = await self.listen(f"unix:{path}")
        second = await self.listen("tcp:0:interface=127.0.0.1")
        os.unlink(path)  # noqa: PTH108 - nobody waits for it
        os.mkdir(path)  # noqa: PTH102
        with capturedLogs() as events:
            await close_ports([first, second])
        (told,) = [event for event in events if event.get("event") == "service.left_behind"]
        assert told["path"] == str(path)
        assert told["errno"] == 21
        assert told["log_level"] is LogLevel.info  # the next start removes it
        assert not first.connected
        assert not second.connected

    async def test_a_port_with_a_fault_of_its_own_is_told_as_one(self):
        class Odd:
            connected = False

            def stopListening(self):
                return fail(ZeroDivisionError())

        second = await self.listen("tcp:0:interface=127.0.0.1")
        await close_ports([Odd(), second])
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1
        assert not second.connected

    async def test_a_part_that_cannot_be_stopped_keeps_no_other(self):
        called = []
        late = Deferred()
        stops = [lambda: called.append("first"), lambda: 1 / 0, lambda: fail(OSError()), lambda: late]
        stopped = Deferred.fromCoroutine(stop_all(stops))
        assert called == []
        late.callback(None)
        await stopped
        assert (called, stops) == (["first"], [])
        assert len(self.flushLoggedErrors(ZeroDivisionError, OSError)) == 2
        await stop_all([lambda: succeed(None)])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_unix_socket_that_the_serving_user_cannot_remove_ends_no_drain():
    with Site() as site:
        alice = site.account("alice", "wonderland")
        alice.deliver(b"Subject: long\n\n" + b"x" * 70 + b"\n" * 4_000_000)
        nobody = pwd.getpwnam("nobody")
        roots = site.folder / "run"
        for path in (site.folder, *site.folder.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        roots.mkdir()
        listen = {"pop3": [f"unix:{roots}/pop3", "tcp:0:interface=127.0.0.1"]}
        with Server(site, user="nobody", listen=listen) as server, RawPOP3(server.pop3_port) as busy:
            busy.login("alice", "wonderland").ok(b"RETR 1")
            server.process.send_signal(signal.SIGTERM)
            assert b"\r\n.\r\n-ERR " in busy.rest()
            assert server.wait() == -signal.SIGTERM
            told = server.told("service.left_behind")
            assert [(event["path"], event["errno"]) for event in told] == [(f"{roots}/pop3", 13)]
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
            client.connect(f"{roots}/pop3")
