"""What the log says of mechanisms that some users can use and others cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from mailserver.config.problems import Problems
from mailserver.config.reading import decode
from mailserver.errors import ConfigError
from mailserver.service.server import Server
from tests.service.test_server import SETTINGS


class CensusTests(TestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.logged: list[str] = []

    async def started(self, lines: str, **auth: Any) -> tuple[Server, Path, list[str]]:
        path = self.path
        path.write_text(lines)

        def observe(event: dict[str, Any]) -> None:
            if event.get("event") == "auth.mechanism":
                self.logged.append(f"{event['log_level'].name}: {formatEvent(event)}")

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        checkers = {**SETTINGS["auth"], "checkers": [f"passwd-file:{path}"], **auth}
        server = Server(decode({**SETTINGS, "auth": checkers}), reactor, Problems())
        await server.start()
        self.addCleanup(server.stop)
        return server, path, self.logged

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

    async def test_nothing_is_logged_by_a_start_that_fails_where_a_checker_has_read_no_users(self) -> None:
        missing = f"passwd-file:{self.path.with_name('missing')}"
        lines = "a:{PLAIN}x\nb:{SHA1}2jmj7l5rSw0yVb/vlWAYkK/YBwk=\n"
        with pytest.raises(ConfigError, match="missing"):
            await self.started(lines, checkers=[f"passwd-file:{self.path}", missing])
        assert self.logged == []
