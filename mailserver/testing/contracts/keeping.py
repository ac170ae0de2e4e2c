"""What every store keeps that keeps what its sessions delete, by `delivery.delete`: mix `KeepContract` in, in the place of `StoreContract`."""

from __future__ import annotations

import time
from typing import Any

from zope.interface.verify import verifyObject

from mailserver.errors import MaildropInUse
from mailserver.incoming import IExpunges, IKeeps
from mailserver.testing.contracts.store import BARE, ONE, THREE, TWO, StoreContract


class KeepContract(StoreContract):
    """The contract of a store with IKeeps."""

    def make_deleting(self, setting: str) -> Any:
        """A store of the same maildrops whose sessions delete as `delivery.delete` says."""
        raise NotImplementedError

    def trash(self, name: str) -> list[bytes]:
        """What lies in the trash."""
        raise NotImplementedError

    async def test_it_keeps_what_sessions_delete_as_it_is_told(self) -> None:
        assert verifyObject(IKeeps, self.store)
        maildrop = await self.open("alice", ONE)
        if IExpunges.providedBy(maildrop):  # a share is expunged by its account
            assert verifyObject(IExpunges, maildrop)
        maildrop.release()

    async def test_what_is_expunged_is_gone(self) -> None:
        assert await (await self.open("alice", ONE, TWO)).commit([1]) == 0
        assert await self.store.kept(self.user("alice")) == 0
        assert await self.store.undelete(self.user("alice")) == 0
        assert self.stored("alice") == [TWO]
        assert self.trash("alice") == []

    async def test_what_was_kept_comes_back_as_it_was(self) -> None:
        await self.comes_back_from("keep 7 days")

    async def test_what_is_in_the_trash_comes_back_as_it_was(self) -> None:
        await self.comes_back_from("trash")
        assert self.trash("alice") == []

    async def comes_back_from(self, setting: str) -> None:
        """What a session deleted comes back, with its unique-ids and places."""
        self.store = self.make_deleting(setting)
        maildrop = await self.open("alice", ONE, TWO, THREE, BARE)
        before = list(maildrop.messages.uidls), list(maildrop.messages.arrivals)
        assert await maildrop.commit([1, 3]) == 0
        assert sorted(self.stored("alice")) == sorted([TWO, BARE])
        assert await self.store.kept(self.user("alice")) == 2
        assert await self.store.undelete(self.user("alice")) == 2
        maildrop = await self.open()
        assert (list(maildrop.messages.uidls), list(maildrop.messages.arrivals)) == before
        assert [await self.fetched(maildrop, number) for number in (1, 2, 3, 4)] == [ONE, TWO, THREE, BARE]
        maildrop.release()
        assert await self.store.undelete(self.user("alice")) == 0

    async def test_the_last_session_that_has_deleted_something_comes_back_first(self) -> None:
        self.store = self.make_deleting("keep 7 days")
        await (await self.open("alice", ONE, TWO, THREE)).commit([2])
        await (await self.open()).commit([1])
        await (await self.open()).commit([])
        assert await self.store.undelete(self.user("alice")) == 1
        assert sorted(self.stored("alice")) == sorted([ONE, THREE])
        assert await self.store.undelete(self.user("alice")) == 1
        assert sorted(self.stored("alice")) == sorted([ONE, TWO, THREE])

    async def test_nothing_comes_back_into_an_open_session(self) -> None:
        self.store = self.make_deleting("keep 7 days")
        await (await self.open("alice", ONE)).commit([1])
        maildrop = await self.open()
        await self.refused(MaildropInUse, self.store.undelete, self.user("alice"))
        maildrop.release()
        assert await self.store.undelete(self.user("alice")) == 1

    async def test_what_is_kept_is_kept_for_its_days(self) -> None:
        self.store = self.make_deleting("keep 7 days")
        await (await self.open("alice", ONE)).commit([1])
        now = time.time()
        assert await self.store.tidy(self.user("alice"), now + 6 * 86_400, None) is True
        assert await self.store.kept(self.user("alice")) == 1
        assert await self.store.tidy(self.user("alice"), now + 8 * 86_400, None) is True
        assert await self.store.kept(self.user("alice")) == 0
        assert await self.store.undelete(self.user("alice")) == 0

    async def test_the_trash_gets_what_a_session_deletes_for_its_days(self) -> None:
        self.store = self.make_deleting("trash 7 days")
        await (await self.open("alice", ONE, TWO)).commit([1])
        assert self.stored("alice") == [TWO]
        assert self.trash("alice") == [ONE]
        now = time.time()
        await self.store.tidy(self.user("alice"), now + 6 * 86_400, None)
        assert self.trash("alice") == [ONE]
        await self.store.tidy(self.user("alice"), now + 8 * 86_400, None)
        assert self.trash("alice") == []
        assert self.stored("alice") == [TWO]

    async def test_the_trash_keeps_no_mail_longer_than_the_site_does(self) -> None:
        self.store = self.make_deleting("trash")
        maildrop = await self.open("alice", ONE)
        came = maildrop.messages.arrivals[0] / 1_000_000
        await maildrop.commit([1])
        await self.store.tidy(self.user("alice"), came + 86_400 - 60, 1)
        assert self.trash("alice") == [ONE]
        await self.store.tidy(self.user("alice"), came + 86_400 + 60, 1)
        assert self.trash("alice") == []

    async def test_a_release_keeps_all_in_the_maildrop(self) -> None:
        for name, setting in (("alice", "keep 7 days"), ("bob", "trash")):
            self.store = self.make_deleting(setting)
            (await self.open(name, ONE)).release()
            assert self.stored(name) == [ONE]
            assert self.trash(name) == []
            assert await self.store.kept(self.user(name)) == 0

    async def test_nothing_is_made_for_a_user_without_a_maildrop(self) -> None:
        assert await self.store.tidy(self.user("nobody"), time.time(), 1) is False
        assert await self.store.undelete(self.user("nobody")) == 0
        assert await self.store.kept(self.user("nobody")) == 0
