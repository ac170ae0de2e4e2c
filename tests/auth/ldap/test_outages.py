"""A real directory that is killed or frozen while 200 users log in."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from mailserver.credentials import Password
from tests.auth.ldap.checkers import BIND, COMPARE, SEARCH, CheckerOf
from tests.auth.ldap.slapd import person
from tests.auth.outages import password, weather

NAMES = [f"user{number}" for number in range(20)]
SHORT = "logins = 25\nconnect_seconds = 0.2\noperation_seconds = 0.2\nretry_seconds = 0.1\n"
"""Seconds that nobody measures; they are what a frozen directory takes."""


class WeatherTests(CheckerOf, TestCase):
    def people(self) -> str:
        base = self.slapd.people({})
        self.slapd.add(*(person(base, name, password(name), dn=f"uid={name},{base}") for name in NAMES))
        return base

    async def test_nobody_is_wrongly_refused_or_let_in(self) -> None:
        base = self.people()
        url = f"ldap://127.0.0.1:{self.slapd.port}"
        for settings, servers in (
            (SEARCH, ()),
            (SEARCH, (url,)),
            (COMPARE, ()),
            (BIND.replace("employeeNumber", "uid"), (url, self.slapd.ldapi)),
        ):
            checker = self.configured(base, servers, SHORT + "start_tls = false\n", settings)
            for breakdown in (self.slapd.frozen, self.slapd.down, lambda: self.slapd.down(gently=True)):
                with capturedLogs() as events:
                    tally = await weather(checker, NAMES, breakdown)
                tally.check()
                told = [event["event"] for event in events if event.get("event", "").startswith("auth.")]
                assert told.count("auth.ldap.down") <= 2 * max(1, len(servers)), told
            await checker.stop()

    async def test_the_reactor_goes_on_while_the_directory_is_frozen(self) -> None:
        checker = self.configured(self.people(), more=SHORT)
        assert await checker.requestAvatarId(Password(b"user0", password("user0"))) == b"user0"
        with self.slapd.frozen():
            waiting = checker.requestAvatarId(Password(b"user0", password("user0")))
            turns = 0
            while not waiting.called:
                turns += 1
                turn: Deferred[None] = Deferred()
                reactor.callLater(0, turn.callback, None)
                await turn
            waiting.addErrback(lambda _: None)
        assert turns > 1  # a client that blocks answers within the first; a busy machine has few
