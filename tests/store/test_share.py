"""Accounts of many users: shares under the contract, and what only they have."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mailserver.envelope import Envelope, EnvelopeHeaders
from mailserver.errors import MaildropInUse, MessageGone
from mailserver.interfaces import Account, Quota, User
from mailserver.names import Names
from mailserver.store import MaildirStore, MemoryStore, SharedStore
from mailserver.store.deleting import read_deleting
from mailserver.store.envelopes import IEnvelopes
from mailserver.store.maildir import envelopes
from mailserver.testing.contracts.keeping import KeepContract
from mailserver.testing.contracts.store import BARE, ONE, TWO, contents
from tests.protocol.oracle import thorough
from tests.store.maildir.maildirs import LoggedCase, MaildirCase
from tests.store.whole import WholeContract

DOMAIN = "vision25.example.org"
NAMES = Names(accounts={"vision25": DOMAIN}, tag_separators="+")
FOR_ZOE = b"Return-Path: <env@example.org>\r\nDelivered-To: zoe@" + DOMAIN.encode() + b"\r\n\r\nfor zoe\r\n"


def letter(user: str, text: str = "x", sender: str = "env@example.org") -> bytes:
    return f"Return-Path: <{sender}>\nDelivered-To: {user}\nSubject: {text}\n\n{text}\n".encode()


class SharedMemoryContract(KeepContract, TestCase):
    """The share of the user who is called as the account is, whom mail is for that names nobody; zoe's lies between."""

    def setUp(self) -> None:
        self.inner = MemoryStore()
        self.store = SharedStore(self.inner, NAMES)

    def user(self, name: str) -> User:
        return User(name, account=Account(DOMAIN, name))

    def deliver(self, name: str, message: bytes) -> None:
        self.inner.add(name, FOR_ZOE)
        self.inner.add(name, message)

    def vanish(self, name: str, message: bytes) -> None:
        maildrop = self.inner.maildrop(name)
        for uidl in [uidl for uidl, stored in maildrop.items() if stored == message]:
            del maildrop[uidl]

    def stored(self, name: str) -> list[bytes]:
        return [message for message in self.inner.maildrop(name).values() if message != FOR_ZOE]

    def make_deleting(self, setting: str) -> Any:
        self.inner = MemoryStore(deleting=read_deleting(setting))
        return SharedStore(self.inner, NAMES)

    def trash(self, name: str) -> list[bytes]:
        return self.inner.trash(name)


class UnionMemoryContract(SharedMemoryContract, WholeContract):
    """All mail of an account."""

    def user(self, name: str) -> User:
        return User(name, account=Account(DOMAIN))

    def deliver(self, name: str, message: bytes) -> None:
        self.inner.add(name, message)


class SharedMaildirContract(MaildirCase, KeepContract):
    def make(self, **options: Any) -> Any:
        return SharedStore(super().make(**options), NAMES)

    def user(self, name: str) -> User:
        return User(name, account=Account(DOMAIN, name))

    def deliver(self, name: str, message: bytes, file: str | None = None) -> Path:
        super().deliver(name, FOR_ZOE)
        return super().deliver(name, message, file)

    def stored(self, name: str) -> list[bytes]:
        return [message for message in super().stored(name) if message != FOR_ZOE]


class UnionMaildirContract(SharedMaildirContract, WholeContract):
    """All mail of an account."""

    def user(self, name: str) -> User:
        return User(name, account=Account(DOMAIN))

    def deliver(self, name: str, message: bytes, file: str | None = None) -> Path:
        return MaildirCase.deliver(self, name, message, file)


class SharedThreadsContract(SharedMaildirContract):
    options: ClassVar = {"io": "threads"}


class SharedSeenContract(SharedMaildirContract):
    options: ClassVar = {"seen": "retr"}


class AccountCase(LoggedCase):
    def setUp(self) -> None:
        super().setUp()
        self.store: Any = self.make()

    def make(self, **options: Any) -> Any:
        return SharedStore(super().make(**options), NAMES)

    def user(self, name: str) -> User:
        owner = NAMES.owner(name)
        return User(owner.maildrop, account=Account(DOMAIN, owner.user))

    def fill(self, *users: str) -> None:
        for number, user in enumerate(users, 1):
            self.deliver("vision25", letter(user, str(number)))
        self.settle_down("vision25")

    async def subjects(self, name: str) -> list[bytes]:
        maildrop = await self.store.open(self.user(name), "me")
        found = [
            (await contents(await maybeDeferred(maildrop.fetch, number))).splitlines()[-1]
            for number in range(1, len(maildrop.messages) + 1)
        ]
        maildrop.release()
        return found

    @property
    def file(self) -> Path:
        return self.root("vision25") / "mailserver-envelopes"


class DepositsForShares(AccountCase):
    async def deposit(self, message: bytes, *names: str, quota: Quota | None = None) -> Any:
        users = [replace(self.user(name), quota=quota) for name in names]
        deposit = await self.store.deposit(users, len(message))
        deposit.write(message)
        return await deposit.commit()

    async def test_a_message_comes_into_the_share_of_its_recipient(self) -> None:
        for name in ("ann", "bob", "ann"):
            assert await self.deposit(letter(name, name), f"{name}@vision25") == [None]
        assert len(self.stored("vision25")) == 3
        assert await self.subjects("ann@vision25") == [b"ann", b"ann"]
        assert await self.subjects("bob@vision25") == [b"bob"]
        assert await self.subjects("vision25") == [b"ann", b"bob", b"ann"]

    async def test_two_users_of_an_account_get_a_copy_each(self) -> None:
        assert await self.deposit(letter("ann", "x"), "ann@vision25", "bob@vision25") == [None, None]
        assert await self.subjects("vision25") == [b"x", b"x"]
        assert len({path.stat().st_ino for path in self.files("vision25")}) == 2

    async def test_the_quota_and_the_usage_are_the_account_s(self) -> None:
        first, second, third = await self.deposit(
            letter("ann", "x"), "ann@vision25", "bob@vision25", "vision25", quota=Quota(messages=2)
        )
        assert sorted([first is None, second is None, third is None]) == [False, True, True]
        octets = sum(map(len, self.stored("vision25")))
        for name in ("vision25", "ann@vision25", "zoe@vision25"):
            assert await self.store.usage(self.user(name)) == (2, octets)


class Lent:
    """A store of others, and its maildrop, whose envelopes fail at once."""

    needs: frozenset[str] = frozenset()

    def __init__(self, maildrop: Any) -> None:
        self.release = maildrop.release

    def open(self, *_: object) -> Deferred[Any]:
        return succeed(self)

    def envelopes(self, *_: object) -> Any:
        raise MessageGone


class SharesOfAnAccount(AccountCase):
    async def test_each_sees_his_own_and_the_account_sees_all(self) -> None:
        self.fill("john@x", "mary@x", "JOHN", "john+news@x", "Mary@y", "vision25@x")
        self.deliver("vision25", ONE)
        assert await self.subjects("vision25") == [b"1", b"2", b"3", b"4", b"5", b"6", b"first"]
        assert await self.subjects("john@vision25") == [b"1", b"3", b"4"]
        assert await self.subjects("mary@vision25") == [b"2", b"5"]
        assert await self.subjects("vision25@vision25") == [b"6", b"first"]
        assert await self.subjects("nobody@vision25") == []

    async def test_unique_ids_are_the_same_in_each(self) -> None:
        self.fill("john@x", "mary@x", "john@x")
        whole = [uidl for uidl, _ in await self.reopen("vision25")]
        assert [uidl for uidl, _ in await self.reopen("john@vision25")] == [whole[0], whole[2]]

    async def test_what_one_deletes_is_gone_for_all(self) -> None:
        self.fill("john@x", "mary@x", "john@x,mary@x")
        maildrop = await self.open("mary@vision25")
        assert await maildrop.commit([2]) == 0
        assert await self.subjects("john@vision25") == [b"1"]
        assert await self.subjects("vision25") == [b"1", b"2"]

    async def test_the_lock_is_the_account_s(self) -> None:
        self.fill("john@x")
        maildrop = await self.open("john@vision25")
        for name in ("mary@vision25", "vision25", "john@vision25"):
            with pytest.raises(MaildropInUse):
                await self.open(name)
        maildrop.release()
        await self.reopen("mary@vision25")

    async def test_new_mail_reaches_its_share(self) -> None:
        self.fill("john@x")
        await self.reopen("john@vision25")
        self.fill("john@x")
        self.fill("mary@x")
        assert len(await self.reopen("john@vision25")) == 2

    async def test_other_users_of_the_store_are_as_ever(self) -> None:
        store = self.store._store
        maildrop = await self.store.open(User("alice"), "me")
        assert type(maildrop) is type(await store.open(User("bob"), "me"))
        maildrop.release()
        assert not (self.root("alice") / "mailserver-envelopes").exists()

    async def test_a_maildrop_that_cannot_be_told_apart_is_unlocked(self) -> None:
        self.fill("john@x")
        with patch.object(envelopes, "read", side_effect=RuntimeError), pytest.raises(RuntimeError):
            await self.open("john@vision25")
        (await self.open("john@vision25")).release()

    async def test_so_is_one_whose_store_fails_at_once(self) -> None:
        maildrop = await self.store._store.open(User("vision25"), "me")
        foreign = SharedStore(cast("Any", Lent(maildrop)), NAMES)
        with pytest.raises(MessageGone):
            await foreign.open(self.user("john@vision25"), "me")
        (await self.open("john@vision25")).release()


class EnvelopesOfAnAccount(AccountCase):
    async def envelope(self, name: str, number: int) -> Envelope:
        maildrop = await self.open(name)
        assert verifyObject(IEnvelopes, maildrop._maildrop)
        found: Envelope = maildrop.envelope(number)
        maildrop.release()
        return found

    async def test_an_envelope_names_the_account_its_user_and_both_addresses(self) -> None:
        self.fill(f"john@{DOMAIN}")
        assert await self.envelope("john@vision25", 1) == Envelope(
            b"env@example.org", (f"john@{DOMAIN}".encode(),), b"vision25", b"john"
        )
        assert (await self.envelope("vision25", 1)).user == b""

    async def test_of_several_recipients_it_names_the_one_who_asks_or_one_of_the_account(self) -> None:
        self.fill(f"eve@z.example,mary@{DOMAIN},john@{DOMAIN.upper()}")
        assert (await self.envelope("john@vision25", 1)).recipients == (f"john@{DOMAIN.upper()}".encode(),)
        assert (await self.envelope("vision25", 1)).recipients == (f"mary@{DOMAIN}".encode(),)

    async def test_a_local_part_gets_the_account_s_domain(self) -> None:
        self.fill("john")
        assert (await self.envelope("john@vision25", 1)).recipients == (f"john@{DOMAIN}".encode(),)

    async def test_mail_for_nobody_is_for_the_account(self) -> None:
        self.deliver("vision25", ONE)
        assert (await self.envelope("vision25", 1)).recipients == (f"vision25@{DOMAIN}".encode(),)

    async def test_a_stranger_s_domain_stays_when_there_is_no_other(self) -> None:
        self.fill("john@z.example")
        assert (await self.envelope("vision25", 1)).recipients == (b"john@z.example",)


class KeptEnvelopes(AccountCase):
    def setUp(self) -> None:
        super().setUp()
        self.reads = 0
        real = envelopes.cells_of

        def counted(path: bytes, headers: EnvelopeHeaders) -> Any:
            self.reads += 1
            return real(path, headers)

        self.patch(envelopes, "cells_of", counted)

    async def read(self, name: str = "john@vision25", store: Any = None) -> int:
        """How many messages a login reads."""
        self.store = store or self.store
        before = self.reads
        await self.reopen(name)
        return self.reads - before

    async def test_a_login_reads_what_is_new_and_nothing_twice(self) -> None:
        self.fill("john@x", "mary@x", "john@x")
        assert await self.read() == 3
        assert await self.read() == 0
        assert await self.read("mary@vision25") == 0
        assert await self.read("vision25", self.make()) == 0
        self.fill("john@x")
        assert await self.read() == 1
        assert await self.read(store=self.make()) == 0

    async def test_ten_thousand_messages_are_not_read_again(self) -> None:
        for number in range(10_000):
            self.deliver("vision25", b"Delivered-To: %b@x\n\n" % (b"john", b"mary")[number % 2])
        self.settle_down("vision25")
        assert await self.read() == 10_000
        began = time.process_time()
        assert await self.read(store=self.make()) == 0
        assert time.process_time() - began < 5
        opened = self.store.open(self.user("john@vision25"), "me")
        assert opened.called, "an unchanged view answers at once"
        maildrop = await opened
        assert len(maildrop.messages) == 5000
        maildrop.release()

    async def test_shares_are_handed_on(self) -> None:
        self.fill("john@x")
        first = await self.open("john@vision25")
        first.release()
        second = await self.open("john@vision25")
        second.release()
        assert first.messages is second.messages

    async def test_a_file_that_is_broken_or_of_other_headers_is_replaced(self) -> None:
        self.fill("john@x", "mary@x")
        await self.read()
        good = self.file.read_bytes()
        for bad in (b"", good[:-1], good[:40] + b"?" + good[41:], b"x" * 100):
            self.file.write_bytes(bad)
            assert await self.read(store=self.make()) == 2
            assert self.file.read_bytes() == good
        other = self.make(headers=EnvelopeHeaders(recipient=("X-Rcpt",)))
        assert await self.read(store=other) == 2
        assert await self.read(store=self.make()) == 2

    async def test_deleted_messages_leave_the_file(self) -> None:
        self.fill("john@x", "mary@x")
        maildrop = await self.open("john@vision25")
        size = self.file.stat().st_size
        await maildrop.commit([1])
        assert await self.read() == 0
        assert self.file.stat().st_size < size
        maildrop = await self.open("vision25")
        await maildrop.commit([1])
        assert await self.read() == 0
        assert await self.read(store=self.make()) == 0

    async def test_a_file_that_cannot_be_written_is_done_without_and_told(self) -> None:
        self.fill("john@x")
        self.root("vision25").joinpath("mailserver-envelopes.tmp").mkdir()
        assert await self.read() == 1
        assert await self.read() == 0, "this process remembers"
        assert await self.read(store=self.make()) == 1
        assert "the envelopes cannot be stored" in self.told("store.note")[0]

    async def test_a_message_that_another_program_renames_is_found_again(self) -> None:
        self.fill("john@x", "mary@x")
        maildrop = await self.store._store.open(User("vision25"), "me")
        for path in self.files("vision25"):
            path.rename(self.root("vision25") / "cur" / f"{path.name}:2,S")
        found = await maildrop.envelopes("vision25", "john", NAMES.user)
        assert list(found.shares["john"].indexes) == [0]
        maildrop.release()

    async def test_a_message_that_cannot_be_read_is_looked_at_again(self) -> None:
        self.fill("john@x", "mary@x")
        maildrop = await self.store._store.open(User("vision25"), "me")
        first, second = self.files("vision25")
        first.rename(self.homes / "kept")
        second.rename(second.with_name("mkdir"))
        second.mkdir()
        found = await maildrop.envelopes("vision25", "john", NAMES.user)
        assert (found[0], found[1]) == (Envelope(), Envelope())
        assert self.store._store._cache.envelopes(self.octets("vision25"), maildrop._index) is None
        assert (await maildrop.envelopes("vision25", "vision25", NAMES.user)).shares == {}, "they may be anybody's"
        maildrop.release()
        second.rmdir()
        (self.homes / "kept").rename(first)
        assert await self.read() > 0
        assert len(await self.reopen("john@vision25")) == 1


class EnvelopesOfOthers(MaildirCase):
    async def test_any_maildrop_tells_its_envelopes(self) -> None:
        for options in ({}, {"io": "threads"}):
            self.store = self.make(**options)
            maildrop = await self.open("alice", letter("bob@x", sender=""))
            assert await maildrop.envelope(1) == Envelope(b"", (b"bob@x",))
            maildrop.release()

    async def test_a_message_that_is_gone_has_none(self) -> None:
        maildrop = await self.open("alice", ONE, TWO)
        self.vanish("alice", ONE)
        with pytest.raises(MessageGone):
            await maybeDeferred(maildrop.envelope, 1)
        assert await maildrop.envelope(2) == Envelope()
        maildrop.release()

    async def test_the_store_is_told_which_headers_hold_them(self) -> None:
        headers = EnvelopeHeaders(recipient=("X-Rcpt",))
        message = b"X-Rcpt: bob@x\n\n"
        self.store = self.make(headers=headers)
        maildrop = await self.open("alice", message)
        assert (await maildrop.envelope(1)).recipients == (b"bob@x",)
        maildrop.release()
        memory = await MemoryStore({"alice": [message, BARE]}, headers).open(User("alice"), "me")
        assert [memory.envelope(number).recipients for number in (1, 2)] == [(b"bob@x",), ()]


cells = st.tuples(st.binary(max_size=9).map(lambda text: text.replace(b"\0", b"")), st.just(b"a@b,c"))


@thorough
@given(st.dictionaries(st.binary(min_size=1, max_size=9).map(lambda text: text.replace(b"\0", b"0")), cells))
def test_the_file_gives_back_what_was_written(rows: dict[bytes, tuple[bytes, bytes]]) -> None:
    headers = EnvelopeHeaders()
    assert envelopes.decode(envelopes.encode(rows, headers), headers) == rows


@thorough
@given(st.binary(max_size=200))
def test_rubbish_is_no_file(data: bytes) -> None:
    assert envelopes.decode(data, EnvelopeHeaders()) == {}


def test_a_file_of_another_version_or_of_a_wrong_count_is_none() -> None:
    headers = EnvelopeHeaders()
    good = envelopes.encode({b"u": (b"", b"")}, headers)
    for at in (8, 28):
        bad = good[:at] + b"\7" + good[at + 1 : -16]
        assert envelopes.decode(bad + envelopes._digest(bad), headers) == {}


def test_every_store_has_what_a_shared_one_needs() -> None:
    assert SharedStore(MemoryStore(), NAMES).needs == frozenset()
    assert SharedStore(MaildirStore("{home}/Maildir", None), NAMES).needs == {"home"}
    assert os.fsdecode(envelopes.NAME) == "mailserver-envelopes"
    assert isinstance(MemoryStore().open(User("alice"), "me"), Deferred)


def test_a_share_has_its_messages_own_arrivals() -> None:
    times = iter([10.0, 20.0, 30.0])
    inner = MemoryStore({"vision25": [letter("zoe"), letter("john"), letter("zoe")]}, clock=lambda: next(times))
    opened: list[Any] = []
    user = User("vision25", account=Account(DOMAIN, "zoe"))
    SharedStore(inner, NAMES).open(user, "me").addCallback(opened.append)
    assert list(opened[0].messages.arrivals) == [10_000_000, 30_000_000]
