"""Deliveries into real Maildirs: what goes wrong with a disk, and that it is over when the disk is well again."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.python.monkey import MonkeyPatcher
from twisted.trial.unittest import TestCase

from mailserver.delivery.deliver import Deliveries
from mailserver.errors import OverQuota, Refusal
from mailserver.interfaces import Quota, User
from mailserver.limits import Delivery, QuotaRules
from mailserver.names import PLAIN
from mailserver.refusals import refusal_for
from mailserver.store import open_stores
from tests.delivery.room import SENDER, People

MESSAGE = b"Subject: hello\r\n\r\n" + b"Hello.\r\n" * 100


class MaildirCase(TestCase):
    def setUp(self) -> None:
        self.homes = Path(self.mktemp()).absolute()
        for name in ("alice", "bob"):
            (self.homes / name).mkdir(parents=True)
        self.store = open_stores("maildir:{home}/Maildir", reactor)
        self.successResultOf(self.store.start(reactor))
        self.addCleanup(self.store.stop)

    def made(self, **quota: Any) -> Deliveries:
        people = People(**{name: User(name, home=str(self.homes / name)) for name in ("alice", "bob", "carol")})
        return Deliveries(self.store, people, PLAIN, "h", delivery=Delivery(), quota=QuotaRules(**quota))

    async def sent(self, made: Deliveries, *addresses: bytes, message: bytes = MESSAGE) -> list[bytes]:
        """The reply codes of a message for these."""
        delivery = made.begin(SENDER)
        for address in addresses:
            await delivery.recipient(address)
        for at in range(0, len(message), 120 * 1024):
            written = delivery.write(message[at : at + 120 * 1024])
            if written is not None:
                await written
        return [_code(outcome) for outcome in await delivery.commit()]

    def messages(self, name: str) -> list[bytes]:
        return [path.read_bytes() for path in (self.homes / name / "Maildir/new").glob("*")]

    def litter(self) -> list[Path]:
        return list(self.homes.glob("*/Maildir/tmp/*"))


def _code(outcome: Exception | None) -> bytes:
    refusal = refusal_for(outcome) if outcome else None
    return refusal.smtp if refusal else b"250" if outcome is None else b"a fault"


class DiskTests(MaildirCase):
    def failing(self, call: str, error: int, where: str = "") -> MonkeyPatcher:
        """Let a system call fail that changes something below a user's home, until it is restored."""
        real = getattr(os, call)
        home = os.fsencode(self.homes / where)

        def failed(*arguments: Any, **options: Any) -> Any:
            paths = [each for each in arguments if isinstance(each, bytes)]
            if call == "write":
                paths = [os.fsencode(Path(f"/proc/self/fd/{arguments[0]}").readlink())]
            if paths and paths[-1].startswith(home):
                raise OSError(error, os.strerror(error))
            return real(*arguments, **options)

        return self.patch(os, call, failed)

    async def test_a_message_for_two_is_one_file(self) -> None:
        assert await self.sent(self.made(), b"alice", b"bob") == [b"250", b"250"]
        (alices,) = (self.homes / "alice/Maildir/new").iterdir()
        (bobs,) = (self.homes / "bob/Maildir/new").iterdir()
        assert alices.stat().st_ino == bobs.stat().st_ino

    async def test_a_full_disk_has_its_code_and_recovers_by_itself(self) -> None:
        made = self.made()
        for error in errno.ENOSPC, errno.EDQUOT:
            full = self.failing("write", error)
            assert await self.sent(made, b"alice", b"bob") == [b"452 4.3.1"] * 2
            assert await self.sent(made, b"alice", message=MESSAGE * 1000) == [b"452 4.3.1"]
            full.restore()
            assert self.messages("alice") == self.messages("bob") == self.litter() == []
        assert await self.sent(made, b"alice") == [b"250"]

    async def test_a_maildrop_that_cannot_be_written_is_its_user_s_trouble_alone(self) -> None:
        made = self.made()
        assert await self.sent(made, b"alice", b"bob") == [b"250", b"250"]
        self.failing("open", errno.EROFS, "bob")
        self.failing("link", errno.EROFS, "bob")
        assert await self.sent(made, b"bob", b"alice") == [b"451 4.3.0", b"250"]
        assert len(self.messages("alice")) == 2
        assert len(self.messages("bob")) == 1

    async def test_a_home_that_is_not_there_waits_for_the_operator(self) -> None:
        made = self.made()
        assert await self.sent(made, b"carol", b"alice") == [b"451 4.3.0", b"250"]
        (self.homes / "carol").mkdir()
        assert await self.sent(made, b"carol") == [b"250"]

    async def test_a_maildrop_in_use_is_no_obstacle(self) -> None:
        made = self.made()
        await self.sent(made, b"alice")
        maildrop = await self.store.open(User("alice", home=str(self.homes / "alice")), "a test")
        assert await self.sent(made, b"alice") == [b"250"]
        assert len(maildrop.messages) == 1
        maildrop.release()


class QuotaTests(MaildirCase):
    async def test_of_two_deliveries_at_once_one_has_the_last_room(self) -> None:
        made = self.made(messages=1, warn_percent=0)
        deliveries = [made.begin(SENDER) for _ in range(8)]
        for delivery in deliveries:
            await delivery.recipient(b"alice")
            delivery.write(MESSAGE)
        outcomes = await gatherResults([delivery.commit() for delivery in deliveries])
        assert sorted(_code(outcome) for (outcome,) in outcomes) == [b"250"] + [b"452 4.2.2"] * 7
        assert len(self.messages("alice")) == 1

    async def test_usage_goes_down_with_deletions_and_mail_comes_in_again(self) -> None:
        made = self.made(messages=1, warn_percent=0)
        alice = User("alice", home=str(self.homes / "alice"), quota=Quota(0, 1))
        assert await self.sent(made, b"alice") == [b"250"]
        with pytest.raises(OverQuota):
            await self.sent(made, b"alice")
        maildrop = await self.store.open(alice, "a test")
        assert await maildrop.commit([1]) == 0
        assert await self.sent(made, b"alice") == [b"250"]

    async def test_a_warning_is_in_the_maildrop_though_the_quota_is_reached(self) -> None:
        made = self.made(messages=1)
        assert await self.sent(made, b"alice") == [b"250"]
        await made.warnings.stop()
        assert [b"Auto-Submitted" in each for each in self.messages("alice")].count(True) == 1
        with pytest.raises(Refusal):
            await self.sent(made, b"alice")
