"""The deliveries of the settings, into a Maildir."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from mailserver.auth import Accounts, Users
from mailserver.config.problems import Problems
from mailserver.config.reading import decode
from mailserver.errors import ConfigError
from mailserver.incoming import Sender
from mailserver.service.checkers import make_checkers
from mailserver.service.deliveries import make_deliveries
from mailserver.service.parts import Parts
from mailserver.service.stores import make_store

SENDER = Sender(b"eve@example.net", b"mx.example.net", "192.0.2.1", b"LMTP", "", "4f2a", None)


class DeliveriesTests(TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "mail").mkdir(parents=True)
        (self.folder / "users").write_text("alice:{PLAIN}x\nvision25:{PLAIN}x\n")
        (self.folder / "aliases").write_text("postmaster: alice\n")

    async def made(self, *checkers: str, **settings: Any) -> tuple[Any, Parts]:
        config = decode(
            {
                "hostname": "mail.example.org",
                "listen": {"pop3": ["tcp:0"]},
                "auth": {"checkers": list(checkers) or [f"passwd-file:{self.folder}/users"], "cleartext": "always"},
                "store": {"url": f"maildir:{self.folder}/mail/{{user}}"},
                "names": {"local_domains": ["example.org"]},
                "sdps": {"accounts": {"vision25": "vision25.example.org"}},
                "delivery": {"aliases": f"{self.folder}/aliases"},
                **settings,
            }
        )
        problems = Problems(config.places)
        parts = Parts(problems)
        naming = config.naming()
        made = make_checkers(config.auth.checkers, naming, problems)
        for checker in made:
            parts.add(checker, "auth.checkers")
        store = make_store(config, naming, made, problems, reactor)
        assert store is not None
        parts.add(store, "store.url")
        users = Accounts(naming, made) if naming.accounts else Users(made)
        deliveries = make_deliveries(config, users, store, problems, parts)
        problems.check()
        await parts.start(reactor)
        return deliveries, parts

    async def test_a_message_is_in_the_maildirs_of_those_whom_its_addresses_mean(self) -> None:
        deliveries, parts = await self.made()
        with capturedLogs():
            delivery = deliveries.begin(SENDER)
            for address in (b"Postmaster", b"alice@example.org", b"john@vision25.example.org"):
                await delivery.recipient(address)
            written = delivery.write(b"Subject: hello\n\nHello.\n")
            if written is not None:
                await written
            assert list(await delivery.commit()) == [None] * 3
        await parts.stop()
        (alices,) = (self.folder / "mail/alice/new").iterdir()
        (johns,) = (self.folder / "mail/vision25/new").iterdir()
        assert b"Delivered-To: Postmaster\r\n" in alices.read_bytes()
        assert b"Delivered-To: john@vision25.example.org\r\n" in johns.read_bytes()
        assert alices.read_bytes().endswith(b"Subject: hello\r\n\r\nHello.\r\n")

    async def test_without_a_checker_that_knows_its_users_nothing_can_be_delivered(self) -> None:
        with pytest.raises(ConfigError, match="no checker knows which users there are"):
            await self.made("memory:alice:wonderland", store={"url": f"maildir:{self.folder}/mail/{{user}}"})

    async def test_a_file_of_aliases_that_is_not_there_is_told_with_its_setting(self) -> None:
        (self.folder / "aliases").unlink()
        with pytest.raises(ConfigError, match=r"delivery\.aliases: cannot read the file of aliases"):
            await self.made()

    async def test_a_program_that_is_not_there_is_told_with_its_setting(self) -> None:
        with pytest.raises(ConfigError, match=r"quota\.warn_command: no program '/no/such' can be run"):
            await self.made(quota={"warn_command": "/no/such"})
