"""A database that is killed, frozen, locked, or lies: users are told that it cannot tell, and nothing hangs with it."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, gatherResults
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import LoopingCall
from twisted.logger import capturedLogs

from mailserver.auth.sql import mysql, postgresql, sqlite
from mailserver.auth.sql.checker import SqlUsers
from mailserver.credentials import Password
from mailserver.errors import TemporaryFailure
from tests.auth.outages import only_in_threads, password, weather
from tests.auth.sql.cases import InMariaDB, InPostgreSQL, SqlCase
from tests.auth.sql.sites import SqlSite

NAMES = [f"user{number}" for number in range(20)]
SHORT: dict[str, Any] = {"connect_seconds": 0.4, "query_seconds": 0.4}
"""Seconds that nobody measures here; they are what the tests take."""


class Weather:
    """Outages that every server must bear."""

    site: SqlSite
    started: Any
    link: Any

    def breakdowns(self) -> list[AbstractContextManager[object]]:
        database = self.site.database
        assert database is not None
        return [database.frozen(), database.down(), database.down(gently=True)]

    async def test_nobody_is_wrongly_refused_or_let_in_and_nothing_blocks(self) -> None:
        self.site.insert(
            "users", [{"username": name, "password": "{PLAIN}" + password(name).decode()} for name in NAMES]
        )
        checker = await self.started(**SHORT)
        methods = [(self.link, name) for name in ("open", "ask", "columns", "close")]
        for breakdown in self.breakdowns():
            with only_in_threads(*methods) as calls, capturedLogs() as events:
                tally = await weather(checker, NAMES, lambda breakdown=breakdown: breakdown)
            tally.check()
            assert {"open", "ask"} <= set(calls)
            told = [event["event"] for event in events if event.get("event", "").startswith("auth.")]
            assert told.count("auth.sql.down") <= 1, told
        with only_in_threads(*methods) as calls, capturedLogs() as events:
            await checker.stop()
        assert set(calls) <= {"close"}  # a thread that was late may have closed all
        assert not [event for event in events if event.get("event") == "pool.hanging"]


class PostgreSQLWeatherTests(Weather, InPostgreSQL):
    link = postgresql.PostgreSQLLink


class MariaDBWeatherTests(Weather, InMariaDB):
    link = mysql.MySQLLink


class SQLiteWeatherTests(Weather, SqlCase):
    link = sqlite.SQLiteLink

    def breakdowns(self) -> list[AbstractContextManager[object]]:
        return [self.site.locked()]


class Restarts:
    """A restart between two logins."""

    site: SqlSite
    started: Any

    async def test_a_restart_costs_no_login(self) -> None:
        self.site.add("alice", "{PLAIN}x")
        checker = await self.started(connections=3)
        logins = [checker.requestAvatarId(Password(b"alice", b"x")) for _ in range(3)]
        await gatherResults(logins)  # so that all connections are there
        assert self.site.database is not None
        with self.site.database.down(gently=True):
            pass
        for _ in range(4):
            assert await checker.requestAvatarId(Password(b"alice", b"x")) == b"alice"

    async def test_a_slow_statement_ends(self) -> None:
        self.site.add("alice", "{PLAIN}x")
        slow = "pg_sleep(60)::text" if self.site.kind == "postgresql" else "sleep(60)"
        q = self.site.quote
        checker = await self.started(
            query_seconds=0.7,  # enough for all else on a busy machine
            queries={"user": f"SELECT username AS {q}user{q}, {slow} AS password FROM users WHERE username = {{user}}"},
        )
        link = postgresql.PostgreSQLLink if self.site.kind == "postgresql" else mysql.MySQLLink
        with capturedLogs() as events, only_in_threads((link, "close")) as closed:
            for _ in range(2):
                with pytest.raises(TemporaryFailure):
                    await checker.requestAvatarId(Password(b"alice", b"x"))
        assert len(closed) == 2  # what is still to come over them would be the answer to another question
        assert [event["event"] for event in events if "event" in event] == ["auth.sql.down"]
        assert await checker.lookup("bob") is None

    async def test_those_who_leave_are_not_asked_for(self) -> None:
        self.site.add("alice", "{PLAIN}x")
        checker = await self.started(connections=1)
        asked = [checker.requestAvatarId(Password(b"alice", b"x")) for _ in range(5)]
        for each in asked[1:]:
            each.cancel()
            each.addErrback(lambda _: None)
        assert await asked[0] == b"alice"


class PostgreSQLRestartsTests(Restarts, InPostgreSQL):
    pass


class MariaDBRestartsTests(Restarts, InMariaDB):
    pass


class Impostor(Protocol):
    """A server that lies: it says something else, or its beginning without an end."""

    def connectionMade(self) -> None:
        says: bytes | None = self.factory.says  # type: ignore[union-attr]
        if says is not None:
            self.transport.write(says)  # type: ignore[union-attr]
            self.transport.loseConnection()  # type: ignore[union-attr]
            return
        self.transport.write(b"\xff\xff\x00\x00")  # type: ignore[union-attr]  # MariaDB's packet of 64 KiB, or nothing of PostgreSQL's
        self.drip = LoopingCall(self.transport.write, b"x")  # type: ignore[union-attr]
        self.drip.start(0.01)

    def connectionLost(self, *_: object) -> None:
        if hasattr(self, "drip") and self.drip.running:
            self.drip.stop()


class LiesTests(SqlCase):
    async def test_a_server_that_lies_is_a_temporary_failure(self) -> None:
        for says in (
            b"",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"\x00" * 100,
            b"\xff" * 100_000,
            b"E\x00\x00\x00\x08oops",
            None,
        ):
            factory = Factory.forProtocol(Impostor)
            factory.says = says  # type: ignore[attr-defined]
            port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
            for kind in ("postgresql", "mysql"):
                checker = await self.started(
                    **SHORT, kind=kind, host="127.0.0.1", port=port.getHost().port, user="x", password="x", database="x"
                )
                with pytest.raises(TemporaryFailure):
                    await checker.requestAvatarId(Password(b"alice", b"x"))
                left = checker.requestAvatarId(Password(b"alice", b"x"))
                left.cancel()
                left.addErrback(lambda failure: failure.trap(CancelledError, TemporaryFailure))
                with capturedLogs() as events:
                    await checker.stop()
                assert not [event for event in events if event.get("event") == "pool.hanging"]
            await port.stopListening()

    async def test_a_start_that_is_broken_off_leaves_nothing(self) -> None:
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Factory.forProtocol(Protocol))
        self.addCleanup(port.stopListening)
        mute = {"kind": "mysql", "host": "127.0.0.1", "port": port.getHost().port, "user": "x", "database": "x"}
        start = SqlUsers(self.site.write(**SHORT, **mute)).start(reactor)
        start.cancel()
        with pytest.raises(CancelledError):
            await start
        assert not [each.name for each in threading.enumerate() if each.name.startswith("database-mysql")]
