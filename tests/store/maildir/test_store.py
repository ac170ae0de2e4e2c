"""What only a Maildir has: other programs, threads, and files that are not messages."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred

from mailserver.errors import (
    MaildropInUse,
    MaildropUnavailable,
    MessageGone,
    MessageTruncated,
    NoMaildrop,
    PermanentFailure,
)
from mailserver.interfaces import User
from mailserver.store import MaildirStore, disk
from mailserver.store.maildir import index, listing, maildrop, promise, scan
from mailserver.store.maildir import store as maildir
from mailserver.store.maildir.contents import SMALL
from mailserver.store.maildir.listing import Clock, Listing
from mailserver.store.maildir.rows import Row, Rows
from mailserver.store.maildir.same import Target
from mailserver.testing.contracts.store import BARE, ONE, TWO, contents, on_the_wire
from tests.store.maildir.maildirs import LoggedCase, MaildirCase

NAME = "1700000000.M1P1.host"
LARGE = b"Subject: large\n\n" + b"x" * SMALL


def full_fifo(path: Path, message: bytes) -> int:
    """A FIFO from which the message could be read; the descriptor keeps it full."""
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    os.write(descriptor, message)
    return descriptor


class Unchanged(MaildirCase):
    async def settled(self, *messages: bytes) -> None:
        for message in messages:
            self.deliver("alice", message)
        self.deliver("alice", b"", "cur/.hidden")
        self.settle_down()
        await self.reopen()

    async def test_a_login_answers_at_once_and_shares_the_snapshot(self) -> None:
        await self.settled(ONE, TWO)
        found = []
        for _ in range(2):
            opened = self.store.open(self.user("alice"), "me")
            assert opened.called
            found.append((await opened).messages)
            (await opened).release()
        assert found[0] is found[1]

    async def test_a_login_looks_at_no_message(self) -> None:
        await self.settled(ONE)
        (path,) = [path for path in self.files() if not path.name.startswith(".")]
        path.write_bytes(TWO * 2)  # a change that only a look at the file itself could find
        assert [octets for _, octets in await self.reopen()] == [len(ONE)]

    async def test_another_process_s_index_is_read_at_once(self) -> None:
        await self.settled(ONE, BARE)
        opened = self.make().open(self.user("alice"), "me")
        assert opened.called
        maildrop = await opened
        assert list(maildrop.messages.octets) == [len(ONE), on_the_wire(BARE)]
        assert [row.wire for row in maildrop.messages] == [True, False]
        maildrop.release()

    async def test_a_big_index_is_loaded_off_the_reactor(self) -> None:
        rows = [Row(number, b"new/%d.M1P1.h" % number, b"%d.M1P1.h" % number, 9, 9, 0) for number in range(100_000)]
        await self.settled()
        index.write(self.octets(), index.encode(rows, *listing.directory_times(self.octets())))
        opened = self.make().open(self.user("alice"), "me")
        assert not opened.called
        maildrop = await opened
        assert len(maildrop.messages) == 100_000
        assert maildrop.messages[99_999].uidl == b"99999.M1P1.h"
        assert isinstance(maildrop.messages.uidls._values, list)  # split in the thread
        maildrop.release()

    async def test_threads_leave_the_disk_alone_here(self) -> None:
        await self.settled(LARGE)
        self.store = self.make(io="threads")
        opened = self.store.open(self.user("alice"), "me")
        assert not opened.called
        maildrop = await opened
        fetched = maildrop.fetch(1)
        assert isinstance(fetched, Deferred)
        body = await fetched
        read = body.read(10)
        assert isinstance(read, Deferred)
        assert body.fileno() is None
        assert await read == LARGE[:10]
        body.close()
        maildrop.release()

    async def test_threads_read_a_small_message_in_one_hop(self) -> None:
        await self.settled(ONE)
        self.store = self.make(io="threads")
        maildrop = await self.open()
        hops: list[object] = []
        read = disk.Disk.read
        self.patch(disk.Disk, "read", lambda *work, **how: hops.append(work) or read(*work, **how))
        body = await maildrop.fetch(1)
        assert body.read(10_000) == ONE
        body.close()
        assert len(hops) == 1
        maildrop.release()


class Changes(MaildirCase):
    async def test_a_message_moved_and_flagged_under_the_session_is_found_again(self) -> None:
        maildrop = await self.open("alice", ONE, TWO)
        path = self.files()[0]
        path.rename(self.root() / "cur" / f"{path.name}:2,S")
        fetched = maildrop.fetch(1)
        assert isinstance(fetched, Deferred)
        assert await contents(await fetched) == ONE
        assert await contents(maildrop.fetch(1)) == ONE  # where it was found is remembered
        assert await maildrop.commit([1]) == 0
        assert self.stored("alice") == [TWO]

    async def test_messages_that_moved_together_are_found_by_one_listing(self) -> None:
        listings = self.count_listings()
        messages = [b"Subject: %d\r\n\r\n" % number for number in range(20)]
        maildrop = await self.open("alice", *messages)
        for path in self.files():
            path.rename(self.root() / "cur" / f"{path.name}:2,")
        listings.clear()
        assert [await contents(await maybeDeferred(maildrop.fetch, number)) for number in range(1, 21)] == messages
        assert len(listings) == 1
        maildrop.release()

    async def test_messages_that_vanished_together_are_missed_by_one_listing(self) -> None:
        listings = self.count_listings()
        maildrop = await self.open("alice", *[ONE] * 20)
        for path in self.files():
            path.unlink()
        self.settle_down()
        listings.clear()
        for number in range(1, 20):
            with pytest.raises(MessageGone):
                await maybeDeferred(maildrop.fetch, number)
        assert len(listings) == 1
        self.deliver("alice", ONE, f"new/{1_700_000_020}.M20P1.host")  # somebody gives it back
        assert await contents(await maybeDeferred(maildrop.fetch, 20)) == ONE
        maildrop.release()

    async def test_a_message_that_moves_again_and_again_is_found(self) -> None:
        maildrop = await self.open("alice", ONE)
        (path,) = self.files()
        for flags in ("", "F", "FS", "S"):
            path = path.rename(self.root() / "cur" / f"{path.name.partition(':')[0]}:2,{flags}")
            assert await contents(await maybeDeferred(maildrop.fetch, 1)) == ONE
        path.unlink()
        with pytest.raises(MessageGone):
            await maybeDeferred(maildrop.fetch, 1)
        maildrop.release()

    def count_listings(self) -> list[bytes]:
        """The roots that are listed from now on."""
        listings: list[bytes] = []
        look = listing.look

        def counted(root: bytes, clock: Clock) -> Listing:
            listings.append(root)
            return look(root, clock)

        for module in (listing, maildrop):
            self.patch(module, "look", counted)
        return listings

    async def test_the_unique_id_and_the_place_stay_when_it_moves(self) -> None:
        self.deliver("alice", ONE)
        self.deliver("alice", TWO)
        before = await self.reopen()
        path = self.files()[0]
        path.rename(self.root() / "cur" / f"{path.name},S={len(ONE)}:2,FRS")
        assert await self.reopen() == before
        (self.root() / "mailserver-index").unlink()
        assert await self.reopen() == before

    async def test_both_copies_of_a_message_in_new_and_cur_are_one_and_go_together(self) -> None:
        self.deliver("alice", ONE, f"new/{NAME}")
        self.deliver("alice", ONE, f"cur/{NAME}:2,")
        maildrop = await self.open()
        assert len(maildrop.messages) == 1
        assert await contents(maildrop.fetch(1)) == ONE
        assert await maildrop.commit([1]) == 0
        assert self.stored("alice") == []

    async def test_only_one_of_those_that_share_a_unique_part_is_deleted(self) -> None:
        self.deliver("alice", ONE, f"cur/{NAME},S={len(ONE)}:2,")
        self.deliver("alice", TWO, f"cur/{NAME},S={len(TWO)}:2,")
        maildrop = await self.open()
        bodies = [await contents(maildrop.fetch(number)) for number in (1, 2)]
        assert sorted(bodies) == sorted([ONE, TWO])
        assert await maildrop.commit([1]) == 0
        assert self.stored("alice") == [bodies[1]]

    async def test_a_message_of_another_size_is_refused_once_and_measured_anew(self) -> None:
        path = self.deliver("alice", BARE)
        maildrop = await self.open()
        path.write_bytes(ONE)
        with pytest.raises(MessageGone):
            maildrop.fetch(1)
        await maildrop.commit([])
        await self.store.stop()
        self.store = self.make()
        maildrop = await self.open()
        assert maildrop.messages.octets[0] == len(ONE)
        assert await contents(maildrop.fetch(1)) == ONE
        maildrop.release()

    async def test_a_wrong_count_of_octets_alone_is_mended(self) -> None:
        self.deliver("alice", BARE, f"new/{NAME},S={len(BARE)},W=9")
        self.settle_down()
        maildrop = await self.open()
        assert maildrop.messages.octets[0] == 9
        assert await contents(maildrop.fetch(1)) == BARE
        maildrop.sent(1, on_the_wire(BARE))
        assert await maildrop.commit([]) == 0
        await self.store.stop()
        self.store = self.make()
        opened = self.store.open(self.user("alice"), "me")
        assert opened.called  # the mended row is no reason for a scan
        assert (await opened).messages.octets[0] == on_the_wire(BARE)
        (await opened).release()

    async def test_a_body_that_becomes_short_is_truncated(self) -> None:
        maildrop = await self.open("alice", LARGE)
        body = maildrop.fetch(1)
        self.files()[0].write_bytes(LARGE[:5])
        assert body.read(100) == LARGE[:5]
        with pytest.raises(MessageTruncated):
            body.read(100)
        body.close()
        with pytest.raises(MessageTruncated):
            body.read(100)
        maildrop.release()

    async def test_a_body_that_grows_ends_where_it_was_listed(self) -> None:
        maildrop = await self.open("alice", LARGE)
        body = maildrop.fetch(1)
        assert os.pread(body.fileno(), 5, 0) == LARGE[:5]
        with self.files()[0].open("ab") as file:
            file.write(TWO)
        assert await contents(body) == LARGE
        assert body.fileno() is None
        maildrop.release()

    async def test_a_message_that_grew_or_shrank_is_not_the_listed_one(self) -> None:
        for message in (ONE, LARGE, b""):
            for other in (message + b"x", message[:-1] or b"y"):
                self.deliver("alice", message)
                maildrop = await self.open()
                self.files()[0].write_bytes(other)
                with pytest.raises(MessageGone, match="octets that was listed"):
                    maildrop.fetch(1)
                await maildrop.commit([])
                self.vanish("alice", other)

    async def test_a_message_replaced_by_what_is_no_file_is_refused(self) -> None:
        for message in (ONE, LARGE, b""):
            for make in (lambda path: path.mkdir(), lambda path: path.symlink_to("/etc/passwd"), None):
                path = self.deliver("alice", message)
                maildrop = await self.open()
                path.unlink()
                if make is None:
                    self.addCleanup(os.close, full_fifo(path, message))
                else:
                    make(path)
                with pytest.raises(MessageGone):
                    maildrop.fetch(1)
                await maildrop.commit([])
                path.rename(self.homes / f"former {len(message)} {make}")


class Racy(MaildirCase):
    async def test_a_directory_that_changed_just_before_its_scan_is_read_again(self) -> None:
        now = 1_700_000_000_000_000_000
        self.store = self.make(clock=lambda _root: now)
        for age, seen in ((1_999_999_999, 2), (2_000_000_000, 1)):
            name = f"user{age}"
            self.deliver(name, ONE)
            self.stamp(name, now - age)
            await self.reopen(name)
            self.deliver(name, TWO)
            self.stamp(name, now - age)  # a delivery in the same tick of the clock
            assert len(await self.reopen(name)) == seen

    async def test_a_directory_from_the_future_is_never_trusted(self) -> None:
        self.store = self.make(clock=lambda _root: 1_000)
        for count in (1, 2, 3):
            self.deliver("alice", ONE)
            self.stamp("alice", 5_000_000_000)
            assert len(await self.reopen()) == count

    async def test_a_delivery_during_the_scan_is_seen(self) -> None:
        self.deliver("alice", ONE)
        self.stamp("alice", 1)
        look = scan.look_until_complete

        def deliver_and_look(*args: Any) -> Listing:
            self.deliver("alice", TWO)
            return look(*args)

        self.patch(scan, "look_until_complete", deliver_and_look)
        found = scan.scan(self.octets(), Rows(), time.time_ns)
        assert len(found.rows) >= 2
        assert found.new_time == index.UNTRUSTED

    def stamp(self, name: str, nanoseconds: int) -> None:
        for directory in ("new", "cur"):
            os.utime(self.root(name) / directory, ns=(nanoseconds, nanoseconds))


class NotMessages(LoggedCase):
    async def test_they_are_skipped_and_told_once(self) -> None:
        self.deliver("alice", ONE)
        new = self.root() / "new"
        os.mkfifo(new / "fifo")
        (new / "link").symlink_to("/etc/passwd")
        (new / "folder").mkdir()
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(new / "socket"))
        (new / ".hidden").write_bytes(TWO)
        for _ in range(2):
            assert len(await self.reopen()) == 1
        assert self.told("store.note") == ["4 entries are not regular files and were skipped"]

    async def test_a_message_that_cannot_be_read_is_refused_and_served_when_it_can(self) -> None:
        if not os.geteuid():  # root reads everything
            self.homes.chmod(0o777)
            os.seteuid(65534)
            self.addCleanup(os.seteuid, 0)
        path = self.deliver("alice", ONE)
        path.chmod(0)
        maildrop = await self.open()
        assert len(maildrop.messages) == 1
        with pytest.raises(MessageGone):
            maildrop.fetch(1)
        with pytest.raises(MessageGone):
            maildrop.fetch(1)
        await maildrop.commit([])
        assert len(self.told("store.note")) == 1
        path.chmod(0o600)
        maildrop = await self.open()
        assert await contents(maildrop.fetch(1)) == ONE
        maildrop.release()


class Refusals(LoggedCase):
    async def test_what_a_file_is_named_does_not_reach_the_operator_s_terminal(self) -> None:
        path = self.deliver("alice", b"", "new/1.\udcff\x1b[31m\n,S=1,W=1")
        maildrop = await self.open()
        path.unlink()
        path.mkdir()
        with pytest.raises(MessageGone):
            await maildrop.fetch(1)
        maildrop.release()
        (told,) = self.told("store.note")
        assert told.isprintable()
        assert r"1.\xff\x1b[31m\n,S=1" in told

    async def test_a_missing_home_is_named(self) -> None:
        store = MaildirStore("{home}/Maildir", None)
        self.addCleanup(store.stop)
        error = self.failureResultOf(store.open(User("alice"), "me"), NoMaildrop).value
        assert error.refusal is PermanentFailure

    async def test_a_home_that_is_not_there_is_not_made(self) -> None:
        store = MaildirStore("{home}/Maildir", reactor)
        self.addCleanup(store.stop)
        home = self.homes / "nobody"
        with pytest.raises(MaildropUnavailable) as caught:
            await store.open(User("nobody", home=str(home)), "me")
        assert not home.exists()
        assert str(home) in str(caught.value)
        assert "create the directory" in str(caught.value)

    async def test_a_maildrop_in_use_is_told_with_its_holder(self) -> None:
        maildrop = await self.open()
        with pytest.raises(MaildropInUse) as caught:
            await self.store.open(self.user("alice"), "me")
        assert f"pid {os.getpid()} the contract" in str(caught.value)
        maildrop.release()

    async def test_the_holder_is_the_process_in_which_the_store_was_started(self) -> None:
        self.patch(os, "getpid", lambda: 7)  # as in a child, which has the store of its parent
        await self.store.start()
        maildrop = await self.open()
        with pytest.raises(MaildropInUse, match="pid 7 the contract"):
            await self.store.open(self.user("alice"), "me")
        maildrop.release()

    async def test_a_symlink_in_the_place_of_new_is_refused_and_the_lock_given_back(self) -> None:
        self.deliver("bob", ONE)
        (self.root() / "cur").mkdir(parents=True)
        (self.root() / "new").symlink_to(self.root("bob") / "new")
        for _ in range(2):
            with pytest.raises(MaildropUnavailable):
                await self.open()

    async def test_a_lock_that_is_a_symlink_is_refused(self) -> None:
        self.root().mkdir(parents=True)
        (self.root() / "mailserver-lock").symlink_to(self.homes / "elsewhere")
        with pytest.raises(MaildropUnavailable):
            await self.open()
        assert not (self.homes / "elsewhere").exists()

    async def test_an_index_that_cannot_be_written_is_done_without(self) -> None:
        self.deliver("alice", ONE)
        (self.root() / "mailserver-index.tmp").mkdir()
        for _ in range(2):
            assert [octets for _, octets in await self.reopen()] == [len(ONE)]
        assert len(self.told("store.note")) == 1

    async def test_a_fifo_in_the_place_of_a_file_of_ours_hangs_nobody(self) -> None:
        self.deliver("alice", ONE)
        for name in ("mailserver-index", "mailserver-journal"):
            (self.root() / name).unlink(missing_ok=True)
            os.mkfifo(self.root() / name)
            writing = os.open(self.root() / name, os.O_RDWR)
            self.addCleanup(os.close, writing)
        with pytest.raises(MaildropUnavailable):
            await self.open()
        (self.root() / "mailserver-journal").unlink()
        for _ in range(2):
            assert [octets for _, octets in await self.reopen()] == [len(ONE)]

    async def test_what_is_made_is_for_us_alone(self) -> None:
        self.addCleanup(os.umask, os.umask(0o022))
        (await self.open()).release()
        made = [self.homes / "alice", self.root(), self.root() / "new", self.root() / "cur", self.root() / "tmp"]
        assert [path.stat().st_mode & 0o777 for path in made] == [0o700] * 5

    async def test_a_mail_location_of_the_user_s_own_wins(self) -> None:
        self.deliver("elsewhere", ONE)
        user = User("alice", home=str(self.homes / "elsewhere"), mail="maildir:~/Maildir")
        maildrop = await self.store.open(user, "me")
        assert len(maildrop.messages) == 1
        maildrop.release()
        user = User("alice", mail=f"maildir:{self.homes}/absent/Maildir")
        with pytest.raises(MaildropUnavailable):
            await self.store.open(user, "me")

    async def test_a_fault_of_ours_gives_the_lock_back(self) -> None:
        self.store = self.make(clock=lambda _root: 1 // 0)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await self.open("alice", ONE)

    async def test_a_fault_at_release_is_told(self) -> None:
        maildrop = await self.open("alice", ONE)
        maildrop.sent(1, 5)
        os.close(maildrop._lock)
        maildrop.release()
        await self.store.stop()
        assert "was lost" in self.told("store.note")[0]

    async def test_only_so_many_notes_are_remembered(self) -> None:
        self.patch(maildir, "_REPORTS", 2)
        for note in ("a", "b", "a", "c", "b", "b", "a"):
            self.store._report(b"/root/", note)
        assert self.told("store.note") == ["a", "b", "c", "b", "a"]


class Journalled(LoggedCase):
    async def test_a_login_finishes_what_a_crash_left(self) -> None:
        first = self.deliver("alice", ONE)
        self.deliver("alice", TWO)
        self.settle_down()
        await self.reopen()
        task = [Target(f"new/{first.name}".encode(), first.stat().st_ino, len(ONE), time.time_ns())]
        (self.root() / "mailserver-journal").write_bytes(promise.encode(task))
        assert [octets for _, octets in await self.reopen()] == [len(TWO)]
        assert self.told("store.note") == ["finished the deletions of an earlier session: 1 of 1 files"]

    async def test_a_failed_commit_gives_the_lock_back(self) -> None:
        maildrop = await self.open("alice", ONE)
        (self.root() / "mailserver-journal.tmp").mkdir()
        with pytest.raises(MaildropUnavailable):
            await maildrop.commit([1])
        (self.root() / "mailserver-journal.tmp").rmdir()
        assert await (await self.open()).commit([1]) == 0
        assert self.stored("alice") == []
