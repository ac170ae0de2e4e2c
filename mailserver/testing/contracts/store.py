"""What every store keeps. A new store subclasses `StoreContract` beside a TestCase and says how to fill and look inside it.

Messages are in wire form where nothing else is said, so that a store may keep them as it likes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import maybeDeferred
from zope.interface.verify import verifyObject

from mailserver.errors import MaildropInUse, MaildropUnavailable, MessageGone
from mailserver.interfaces import IBody, IMaildrop, IStore, User

ONE = b"Subject: one\r\n\r\nfirst\r\n"
TWO = b"Subject: two\r\n\r\nsecond, and longer\r\n"
THREE = b"Subject: three\r\n\r\n.stuff me\r\n"
BARE = b"Subject: bare\n\nlines\n.end in LF\n and a lone \r stays"


async def contents(body: IBody, limit: int = 7) -> bytes:
    """All of `body`, in reads of `limit`; closes it."""
    chunks: list[bytes] = []
    read: Callable[[int], Any] = body.read
    while chunk := await maybeDeferred(read, limit):
        assert len(chunk) <= limit
        chunks.append(chunk)
    body.close()
    return b"".join(chunks)


def on_the_wire(message: bytes) -> int:
    """The plain definition that every count of octets is measured by."""
    canonical = message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return len(canonical) + (2 if canonical and not canonical.endswith(b"\n") else 0)


def installed_reactor() -> Any:
    """The reactor that runs the tests; not before they run."""
    from twisted.internet import reactor

    return reactor


class StoreContract:
    """Mix it into a trial TestCase, whose `setUp` sets `store`, empty and started."""

    store: Any

    def deliver(self, name: str, message: bytes) -> None:
        """Append `message` to the maildrop, as another program does."""
        raise NotImplementedError

    def vanish(self, name: str, message: bytes) -> None:
        """Take `message` away, as another program does."""
        raise NotImplementedError

    def stored(self, name: str) -> list[bytes]:
        """What lies in the maildrop, in any order."""
        raise NotImplementedError

    def user(self, name: str) -> User:
        return User(name)

    async def open(self, name: str = "alice", *messages: bytes) -> Any:
        for message in messages:
            self.deliver(name, message)
        return await self.store.open(self.user(name), "the contract")

    async def fetched(self, maildrop: Any, number: int) -> bytes:
        return await contents(await maybeDeferred(maildrop.fetch, number))

    async def refused(self, error: type[Exception], function: Any, *arguments: Any) -> Exception:
        try:
            await maybeDeferred(function, *arguments)
        except error as raised:
            return raised
        raise AssertionError(f"{error.__name__} was not raised")

    async def test_it_provides_the_interfaces(self) -> None:
        maildrop = await self.open("alice", ONE)
        assert verifyObject(IStore, self.store)
        assert verifyObject(IMaildrop, maildrop)
        body = await maybeDeferred(maildrop.fetch, 1)
        assert verifyObject(IBody, body)
        body.close()
        maildrop.release()

    async def test_starting_twice_does_no_harm(self) -> None:
        await self.store.start(installed_reactor())
        await self.store.start(installed_reactor())
        (await self.open()).release()

    async def test_a_store_that_was_stopped_may_start_again(self) -> None:
        await self.store.start(installed_reactor())
        await self.store.stop()
        await self.store.start(installed_reactor())
        assert len((maildrop := await self.open("alice", ONE)).messages) == 1
        assert await maildrop.commit([1]) == 0

    async def test_a_reload_keeps_what_is_open(self) -> None:
        maildrop = await self.open("alice", ONE)
        await self.store.reload()
        assert await self.fetched(maildrop, 1) == ONE
        maildrop.release()

    async def test_a_new_user_has_an_empty_maildrop(self) -> None:
        maildrop = await self.open("newcomer")
        assert len(maildrop.messages) == 0
        assert maildrop.messages.total == 0
        assert await maildrop.commit([]) == 0

    async def test_messages_come_in_the_order_of_their_delivery(self) -> None:
        maildrop = await self.open("alice", ONE, TWO, THREE)
        assert [await self.fetched(maildrop, number) for number in (1, 2, 3)] == [ONE, TWO, THREE]
        maildrop.release()

    async def test_arrivals_are_times_in_the_order_of_the_messages(self) -> None:
        maildrop = await self.open("alice", ONE, TWO, THREE)
        arrivals = maildrop.messages.arrivals
        assert len(arrivals) in {0, 3}  # a store need not know
        assert list(arrivals) == sorted(arrivals)
        assert all(1_700_000_000_000_000 <= arrival <= time.time_ns() // 1000 + 60_000_000 for arrival in arrivals)
        maildrop.release()

    async def test_octets_count_the_wire_form(self) -> None:
        messages = [ONE, BARE, b"", b"\n", b"no end", b"\r", b"\r\n", b"a\r\r\nb\n\rc", b"x\0\xff\n" * 99]
        maildrop = await self.open("alice", *messages)
        assert list(maildrop.messages.octets) == [on_the_wire(message) for message in messages]
        assert maildrop.messages.total == sum(map(on_the_wire, messages))
        maildrop.release()

    async def test_what_is_called_wire_form_needs_no_change(self) -> None:
        maildrop = await self.open("alice", ONE, THREE, BARE, b".\r\n", b"no end", b"bare\nLF\r\n")
        assert maildrop.messages[0].wire in {True, False}
        assert [row.wire for row in maildrop.messages][1:] == [False] * 5
        maildrop.release()

    async def test_every_stored_octet_is_read(self) -> None:
        for limit in (1, 3, 1 << 20):
            maildrop = await self.open("alice", *(() if limit > 1 else (BARE,)))
            body = await maybeDeferred(maildrop.fetch, 1)
            assert await contents(body, limit) == BARE
            maildrop.release()

    async def test_a_big_message_is_read_whole(self) -> None:
        message = b"Subject: big\r\n\r\n" + b"0123456789" * 100_000 + b"\r\n"
        maildrop = await self.open("alice", message)
        assert await contents(await maybeDeferred(maildrop.fetch, 1), 300_000) == message
        maildrop.release()

    async def test_the_end_is_read_as_often_as_asked(self) -> None:
        maildrop = await self.open("alice", ONE)
        body = await maybeDeferred(maildrop.fetch, 1)
        assert await maybeDeferred(body.read, 1 << 16) == ONE
        assert [await maybeDeferred(body.read, 1 << 16) for _ in range(2)] == [b"", b""]
        body.close()
        maildrop.release()

    async def test_a_body_is_closed_twice_without_harm(self) -> None:
        maildrop = await self.open("alice", ONE)
        body = await maybeDeferred(maildrop.fetch, 1)
        body.close()
        body.close()
        maildrop.release()

    async def test_one_message_is_open_twice_at_a_time(self) -> None:
        maildrop = await self.open("alice", ONE)
        first, second = await maybeDeferred(maildrop.fetch, 1), await maybeDeferred(maildrop.fetch, 1)
        assert await maybeDeferred(first.read, 5) == ONE[:5]
        assert await contents(second) == ONE
        assert await contents(first) == ONE[5:]
        maildrop.release()

    async def test_an_open_body_outlives_the_session(self) -> None:
        maildrop = await self.open("alice", ONE)
        body = await maybeDeferred(maildrop.fetch, 1)
        maildrop.release()
        assert await contents(body) == ONE

    async def test_unique_ids_are_unique_and_of_the_allowed_octets(self) -> None:
        maildrop = await self.open("alice", ONE, ONE, TWO)
        uidls = list(maildrop.messages.uidls)
        assert len(set(uidls)) == 3
        assert all(1 <= len(uidl) <= 70 and all(0x21 <= octet <= 0x7E for octet in uidl) for uidl in uidls)
        maildrop.release()

    async def test_unique_ids_stay_from_session_to_session(self) -> None:
        maildrop = await self.open("alice", ONE, TWO)
        before = list(maildrop.messages.uidls)
        maildrop.release()
        maildrop = await self.open("alice", THREE)
        assert list(maildrop.messages.uidls)[:2] == before
        maildrop.release()

    async def test_a_unique_id_is_not_used_again(self) -> None:
        maildrop = await self.open("alice", ONE)
        used = maildrop.messages[0].uidl
        await maildrop.commit([1])
        maildrop = await self.open("alice", ONE)
        assert maildrop.messages[0].uidl != used
        maildrop.release()

    async def test_a_second_session_is_refused(self) -> None:
        maildrop = await self.open()
        error = await self.refused(MaildropInUse, self.store.open, self.user("alice"), "another")
        assert "the contract" in str(error)
        maildrop.release()

    async def test_a_refused_session_does_not_unlock(self) -> None:
        maildrop = await self.open()
        for _ in range(2):
            await self.refused(MaildropInUse, self.store.open, self.user("alice"), "another")
        maildrop.release()

    async def test_other_maildrops_are_open_meanwhile(self) -> None:
        alice = await self.open("alice", ONE)
        bob = await self.open("bob", TWO)
        assert await self.fetched(bob, 1) == TWO
        alice.release()
        bob.release()

    async def test_release_lets_the_next_session_in(self) -> None:
        (await self.open()).release()
        (await self.open()).release()

    async def test_a_late_second_release_does_not_unlock_the_next_session(self) -> None:
        first = await self.open()
        first.release()
        second = await self.open()
        first.release()
        await self.refused(MaildropInUse, self.store.open, self.user("alice"), "another")
        second.release()

    async def test_release_deletes_nothing(self) -> None:
        (await self.open("alice", ONE, TWO)).release()
        assert sorted(self.stored("alice")) == sorted([ONE, TWO])

    async def test_commit_deletes_what_it_names_and_nothing_else(self) -> None:
        maildrop = await self.open("alice", ONE, TWO, THREE)
        assert await maildrop.commit([1, 3]) == 0
        assert self.stored("alice") == [TWO]

    async def test_commit_of_everything_leaves_an_empty_maildrop(self) -> None:
        maildrop = await self.open("alice", ONE, TWO)
        assert await maildrop.commit([2, 1]) == 0
        maildrop = await self.open()
        assert len(maildrop.messages) == 0
        maildrop.release()

    async def test_commit_of_nothing_deletes_nothing_and_unlocks(self) -> None:
        assert await (await self.open("alice", ONE)).commit([]) == 0
        assert self.stored("alice") == [ONE]
        (await self.open()).release()

    async def test_commit_unlocks(self) -> None:
        await (await self.open("alice", ONE, TWO)).commit([1])
        maildrop = await self.open()
        assert await self.fetched(maildrop, 1) == TWO
        maildrop.release()

    async def test_release_after_commit_is_harmless(self) -> None:
        maildrop = await self.open("alice", ONE)
        await maildrop.commit([1])
        second = await self.open()
        maildrop.release()
        await self.refused(MaildropInUse, self.store.open, self.user("alice"), "another")
        second.release()

    async def test_commit_without_the_lock_deletes_nothing(self) -> None:
        maildrop = await self.open("alice", ONE)
        maildrop.release()
        await self.refused(MaildropUnavailable, maildrop.commit, [1])
        assert self.stored("alice") == [ONE]

    async def test_what_arrives_during_the_session_is_invisible_to_it_and_outlives_its_commit(self) -> None:
        maildrop = await self.open("alice", ONE)
        self.deliver("alice", TWO)
        assert len(maildrop.messages) == 1
        assert await maildrop.commit([1]) == 0
        maildrop = await self.open()
        assert await self.fetched(maildrop, 1) == TWO
        maildrop.release()

    async def test_a_vanished_message_is_gone_and_the_session_goes_on(self) -> None:
        maildrop = await self.open("alice", ONE, TWO)
        self.vanish("alice", ONE)
        await self.refused(MessageGone, maildrop.fetch, 1)
        assert await self.fetched(maildrop, 2) == TWO
        assert len(maildrop.messages) == 2
        maildrop.release()

    async def test_a_vanished_message_does_not_hinder_the_commit(self) -> None:
        maildrop = await self.open("alice", ONE, TWO)
        self.vanish("alice", ONE)
        assert await maildrop.commit([1, 2]) == 0
        assert self.stored("alice") == []

    async def test_a_message_that_was_sent_is_kept(self) -> None:
        maildrop = await self.open("alice", ONE)
        maildrop.sent(1, on_the_wire(ONE))
        assert await maildrop.commit([]) == 0
        assert self.stored("alice") == [ONE]
        (await self.open()).release()
