"""A Maildir store over fresh homes, and another program's hands in them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from twisted.internet import reactor
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from mailserver.interfaces import User
from mailserver.store import MaildirStore
from mailserver.store.deleting import read_deleting


class MaildirCase(TestCase):
    """A store over fresh homes, and another program's hands in them."""

    options: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.homes = Path(directory.name)
        self.serial = 0
        self.store = self.make()

    def make(self, **options: Any) -> MaildirStore:
        store = MaildirStore(f"{self.homes}/{{user}}/Maildir", reactor, **{**self.options, **options})
        self.addCleanup(store.stop)
        return store

    def user(self, name: str) -> User:
        return User(name)

    def root(self, name: str = "alice") -> Path:
        return self.homes / name / "Maildir"

    def deliver(self, name: str, message: bytes, file: str | None = None) -> Path:
        for directory in ("new", "cur", "tmp"):
            (self.root(name) / directory).mkdir(parents=True, exist_ok=True)
        self.serial += 1
        path = self.root(name) / (file or f"new/{1_700_000_000 + self.serial}.M{self.serial}P1.host")
        path.write_bytes(message)
        return path

    def files(self, name: str = "alice") -> list[Path]:
        return [path for directory in ("new", "cur") for path in sorted((self.root(name) / directory).iterdir())]

    def stored(self, name: str) -> list[bytes]:
        return [path.read_bytes() for path in self.files(name)]

    def vanish(self, name: str, message: bytes) -> None:
        for path in self.files(name):
            if path.read_bytes() == message:
                path.unlink()

    def make_deleting(self, setting: str) -> MaildirStore:
        return self.make(deleting=read_deleting(setting))

    def trash(self, name: str) -> list[bytes]:
        there = self.root(name) / ".Trash/cur"
        return [path.read_bytes() for path in sorted(there.iterdir())] if there.is_dir() else []

    def octets(self, name: str = "alice") -> bytes:
        """The root as the store's own functions take it."""
        return os.fsencode(self.root(name)) + b"/"

    def settle_down(self, name: str = "alice") -> None:
        """Let the directories look old, so that a scan of them can be trusted."""
        past = time.time() - 60
        for directory in ("new", "cur"):
            os.utime(self.root(name) / directory, (past, past))

    async def open(self, name: str = "alice", *messages: bytes) -> Any:
        for message in messages:
            self.deliver(name, message)
        return await self.store.open(self.user(name), "the contract")

    async def reopen(self, name: str = "alice") -> list[tuple[bytes, int]]:
        """Unique-ids and octets as the next session sees them."""
        maildrop = await self.open(name)
        maildrop.release()
        return [(row.uidl, row.octets) for row in maildrop.messages]


class LoggedCase(MaildirCase):
    def setUp(self) -> None:
        super().setUp()
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def told(self, event: str) -> list[str]:
        return [str(each.get("note", each.get("error"))) for each in self.events if each.get("event") == event]
