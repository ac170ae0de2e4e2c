"""Retention as the settings have it: which logins and which process remove old mail."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from zope.interface import alsoProvides

from mailserver.auth import PasswordFile, Users
from mailserver.config.problems import Problems
from mailserver.config.reading import decode
from mailserver.config.settings import Retention as Rules
from mailserver.delivery.retention import Retention
from mailserver.delivery.sweep import Sweep
from mailserver.errors import ConfigError
from mailserver.interfaces import IUserList, IUsers, User
from mailserver.service.retention import make_expiry, make_sweep, with_retention
from mailserver.service.server import Server
from mailserver.service.stores import make_store
from mailserver.store import MemoryStore
from mailserver.store.deleting import EXPUNGE, read_deleting


class Unlisted:
    """A checker that cannot list its users."""


@pytest.mark.parametrize(
    ("rules", "delete", "sweeps"),
    [
        (Rules(), "expunge", False),
        (Rules(expire_days=30), "expunge", True),
        (Rules(shortest_expire_days=0), "expunge", True),
        (Rules(), "trash", True),
        (Rules(), "keep 7 days", True),
    ],
)
def test_who_has_nothing_to_sweep_does_not_sweep(rules: Rules, delete: str, sweeps: bool) -> None:
    listed = Users([PasswordFile("/nowhere"), Unlisted()])
    sweep = make_sweep(rules, delete, listed, MemoryStore(), make_expiry(rules))
    assert isinstance(sweep, Sweep) is sweeps


@pytest.mark.parametrize(
    ("delete", "checkers", "tidies"),
    [
        ("expunge", [Unlisted()], False),
        ("keep 7 days", [Unlisted()], True),
        ("trash", [PasswordFile("/nowhere"), Unlisted()], True),
        ("trash", [PasswordFile("/nowhere")], False),
    ],
)
def test_logins_tidy_only_where_a_sweep_does_not(delete: str, checkers: list[object], tidies: bool) -> None:
    store = with_retention(MemoryStore(), make_expiry(Rules()), checkers, read_deleting(delete))
    assert isinstance(store, Retention)
    assert store._tidies() is tidies


def test_a_database_may_come_to_list_its_users() -> None:
    late = Unlisted()
    store = with_retention(MemoryStore(), make_expiry(Rules()), [late], read_deleting("trash"))
    assert isinstance(store, Retention)
    assert store._tidies()
    alsoProvides(late, IUserList)
    assert not store._tidies()


class ServerTests(TestCase):
    def config(self, **settings: Any) -> Any:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        (folder / "users").write_text("alice:{PLAIN}x\n")
        (folder / "alice/new").mkdir(parents=True)
        (folder / "alice/cur").mkdir(parents=True)
        now = int(time.time())
        (folder / f"alice/new/{now - 3 * 86_400}.M1P1.h").write_bytes(b"old")
        (folder / f"alice/new/{now}.M2P1.h").write_bytes(b"young")
        self.folder = folder
        return decode(
            {
                "hostname": "mail.example.org",
                "listen": {"pop3": ["tcp:0"]},
                "auth": {"checkers": [f"passwd-file:{folder}/users"], "cleartext": "always"},
                "store": {"url": f"maildir:{folder}/{{user}}"},
                **settings,
            }
        )

    def left(self) -> list[bytes]:
        return [path.read_bytes() for path in (self.folder / "alice/new").iterdir()]

    async def test_one_process_sweeps(self) -> None:
        config = self.config(retention={"expire_days": 1})
        for sweeps in (True, False):
            server = Server(config, reactor, Problems(config.places), sweeps=sweeps)
            parts = [part for part, _ in server.parts._parts]
            assert any(isinstance(part, Sweep) for part in parts) is sweeps
            await server.start()
            await server.stop()

    async def test_a_login_removes_old_mail_and_a_tool_does_not(self) -> None:
        config = self.config(retention={"expire_days": 1})
        checker = PasswordFile(str(self.folder / "users"))
        for expiry, count in ((None, 2), (make_expiry(config.retention), 1)):
            problems = Problems(config.places)
            store = make_store(config, config.naming(), [checker], problems, reactor, expiry)
            problems.check()
            assert store is not None
            await store.start(reactor)
            maildrop = await store.open(User("alice"), "me")
            assert len(maildrop.messages) == count == len(self.left())
            maildrop.release()
            await store.stop()

    async def test_a_setting_that_means_nothing_is_told_with_its_place(self) -> None:
        with pytest.raises(ConfigError, match=r"delivery\.delete: 'keep' is not"):
            self.config(delivery={"delete": "keep"})

    async def test_the_store_deletes_as_the_setting_says(self) -> None:
        config = self.config(delivery={"delete": "keep 7 days"})
        checker = PasswordFile(str(self.folder / "users"))
        store: Any = make_store(config, config.naming(), [checker], Problems(config.places), reactor)
        await store.start(reactor)
        await (await store.open(User("alice"), "me")).commit([1])
        assert await store.kept(User("alice")) == 1
        assert await store.undelete(User("alice")) == 1
        assert sorted(self.left()) == [b"old", b"young"]
        await store.stop()
        assert IUsers.providedBy(checker)
        assert read_deleting(config.delivery.delete) != EXPUNGE
