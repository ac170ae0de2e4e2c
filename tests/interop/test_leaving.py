"""Clients with tickets that reset while the server is at work for them, over real sockets: nothing of them stays."""

from __future__ import annotations

import socket
import struct
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable
from operator import le
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from mailserver.auth.kerberos.gssapi import GssapiAcceptor
from mailserver.auth.kerberos.krb5 import Krb5
from mailserver.auth.kerberos.tickets import KerberosAcceptor
from mailserver.auth.portal import MailboxRealm, make_portal
from mailserver.net.places import Places
from mailserver.store import open_store
from tests.gss import GssClient
from tests.interop.kerberos import MESSAGE, TEXT, KerberosCase, talk
from tests.net.tickets import HELLO, piece
from tests.rawpop3 import RawPOP3
from tests.realm import ap_req

LOGIN = b"USER alice\r\nPASS krb_ticket\r\n"
OPENED = b"+OK maildrop has 1 messages (%d octets)\r\n" % len(TEXT.replace(b"\n", b"\r\n"))
SECONDS = 60
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: to close is to reset."""


class Gate:
    """A function of a thread's that waits at a gate, which is open at first, and says that it has come there."""

    def __init__(self, patch: Callable[..., None], owner: Any, name: str, *, early: bool = False) -> None:
        """`early`: the client's first response leads to it, not the last."""
        self.early = early
        self.entered, self.open = threading.Event(), threading.Event()
        self.open.set()
        function = getattr(owner, name)

        def held(*arguments: Any) -> Any:
            self.entered.set()
            assert self.open.wait(SECONDS)
            return function(*arguments)

        patch(owner, name, held)

    def shut(self) -> None:
        self.entered.clear()
        self.open.clear()


class LeavingTest(KerberosCase):
    def setUp(self) -> None:
        super().setUp()
        folder = self.folder()
        for name in ("new", "cur", "tmp"):
            (folder / "alice" / name).mkdir(parents=True)
        (folder / "alice" / "new" / "1700000000.M1P1.host").write_bytes(MESSAGE)
        self.store = open_store(f"maildir:{folder}/{{user}}", self.reactor)
        self.addCleanup(self.store.stop)
        self.portal = make_portal(MailboxRealm(self.store), [self.checker])
        self.places = Places()
        self.parts: list[Any] = []

    async def test_kpop_while_the_ticket_is_verified(self) -> None:
        gate = Gate(self.monkeypatch.setattr, Krb5, "accept")
        port = await self.kpop(places=self.places)
        await self.leaves_nothing(self.by_kpop, port, gate, lambda: self.part(KerberosAcceptor)._pool._pool)

    async def test_kpop_while_it_is_asked_whose_maildrop_it_opens(self) -> None:
        gate = Gate(self.monkeypatch.setattr, Krb5, "local_name")
        port = await self.kpop(places=self.places)
        await self.leaves_nothing(self.by_kpop, port, gate, lambda: self.checker._pool._pool)

    async def test_gssapi_while_the_ticket_is_verified(self) -> None:
        gate = Gate(self.monkeypatch.setattr, GssapiAcceptor, "_step", early=True)
        port = (await self.gssapi(places=self.places))["plain"]
        await self.leaves_nothing(self.by_gssapi, port, gate, lambda: self.part(GssapiAcceptor)._pool)

    async def test_gssapi_while_it_is_asked_whose_maildrop_it_opens(self) -> None:
        gate = Gate(self.monkeypatch.setattr, Krb5, "local_name")
        port = (await self.gssapi(places=self.places))["plain"]
        await self.leaves_nothing(self.by_gssapi, port, gate, lambda: self.checker._pool._pool)

    async def started(self, part: Any) -> Any:
        self.parts.append(part)
        return await super().started(part)

    def part(self, kind: type) -> Any:
        return next(part for part in self.parts if isinstance(part, kind))

    async def leaves_nothing(
        self, log_in: Callable[..., bytes], port: int, gate: Gate, pool: Callable[[], Any]
    ) -> None:
        """Log in; reset at the gate; log in again: all is as after the first time."""
        self.addCleanup(gate.open.set)
        assert await deferToThread(log_in, port) == OPENED
        await self.sessions(1)
        before = self.state()
        gate.shut()
        await deferToThread(log_in, port, gate)
        while self.places.taken:
            await self.turn()
        assert pool().has("127.0.0.1"), "it is still at work"
        gate.open.set()
        while pool().has("127.0.0.1"):
            await self.turn()
        self.nothing_more_than(before)
        assert await deferToThread(log_in, port) == OPENED
        await self.sessions(2)
        self.nothing_more_than(before)
        assert self.named("pop3.login_failed") == self.named("kerberos.refused") == []

    def nothing_more_than(self, before: tuple[int, ...]) -> None:
        """What an earlier test had left may have gone meanwhile."""
        now = self.state()
        assert all(map(le, now, before)), (now, before)

    def state(self) -> tuple[int, int, int, int]:
        """Descriptors, threads (but for those of the tests' own clients), and places."""
        threads = [each for each in threading.enumerate() if not each.name.startswith("PoolThread-")]
        return (
            len(list(Path("/proc/self/fd").iterdir())),
            len(threads),
            self.places.taken,
            sum(self.places.by_address.values()),
        )

    def by_kpop(self, port: int, gate: Gate | None = None) -> bytes:
        """The reply to PASS; with a `gate`, reset where the server is there. For a thread."""
        request = HELLO + piece(ap_req(self.realm, mutual=False)) + LOGIN
        if gate is None:
            return talk(port, request + b"QUIT\r\n").splitlines(keepends=True)[-2]
        with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
            connection.sendall(request)
            reset(connection, gate)
        return b""

    def by_gssapi(self, port: int, gate: Gate | None = None) -> bytes:
        """The reply to the last response; with a `gate`, reset where the server is there. For a thread."""
        client = GssClient(self.realm, mutual=False)
        with RawPOP3(port) as wire:
            wire.command(b"AUTH GSSAPI")
            wire.send(b64encode(client.first) + b"\r\n")
            if gate is not None and gate.early:
                return reset(wire.socket, gate)
            client.unwrap(b64decode(wire.line()[2:]))
            wire.send(b64encode(client.wrap(b"\1\0\0\0alice")) + b"\r\n")
            if gate is not None:
                return reset(wire.socket, gate)
            reply = wire.line()
            wire.command(b"QUIT")
            return reply


def reset(connection: socket.socket, gate: Gate) -> bytes:
    assert gate.entered.wait(SECONDS)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()
    return b""
