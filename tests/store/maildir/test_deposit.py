"""Deposits into Maildirs as the reactor sees them: hops to threads, aborts, faults, and what is kept of an import."""

from __future__ import annotations

import stat
from dataclasses import replace
from threading import Event
from typing import Any, ClassVar

import pytest
from twisted.internet.defer import Deferred, gatherResults

from mailserver.errors import MaildropUnavailable
from mailserver.incoming import Kept, Usage
from mailserver.interfaces import Quota
from mailserver.store import disk
from mailserver.store.maildir import filenames, maildirsize
from mailserver.store.maildir.deposit import CHUNK
from mailserver.store.maildir.spool import Spool
from mailserver.testing.contracts.store import ONE, TWO
from mailserver.threads import NoThreads
from tests.store.maildir.maildirs import LoggedCase

PIECE = b"0123456789abcde\n" * 1000


class Deposits(LoggedCase):
    def setUp(self) -> None:
        super().setUp()
        self.hops: list[str] = []
        deposit = disk.Disk.deposit

        def counted(own: Any, roots: Any, function: Any, *arguments: Any, **how: Any) -> Any:
            self.hops.append(function.__name__)
            return deposit(own, roots, function, *arguments, **how)

        self.patch(disk.Disk, "deposit", counted)

    async def begin(self, *names: str, kept: Kept | None = None, quota: Quota | None = None) -> Any:
        users = [replace(self.user(name), quota=quota) for name in names or ("alice",)]
        return await self.store.deposit(users, None, kept)

    async def fill(self, deposit: Any, octets: int = 3 * CHUNK) -> None:
        for _ in range(-(-octets // len(PIECE))):
            wait = deposit.write(PIECE)
            if wait is not None:
                await wait

    def tmp(self, name: str = "alice") -> list[str]:
        directory = self.root(name) / "tmp"
        return sorted(path.name for path in directory.iterdir()) if directory.exists() else []

    async def quiet(self) -> None:
        """Until the threads have done what they were given."""
        await self.store.stop()
        await self.store.start()

    async def test_a_small_message_costs_one_hop(self) -> None:
        deposit = await self.begin("alice", "bob")
        assert deposit.write(b"x" * 4096) is None
        assert self.hops == []
        assert not self.root().exists()
        assert await deposit.commit() == [None, None]
        assert self.hops == ["deliver"]

    async def test_a_large_one_is_written_in_chunks_and_waits_for_each(self) -> None:
        deposit = await self.begin()
        waits = []
        for _ in range(4):
            for _ in range(CHUNK // len(PIECE) + 1):
                wait = deposit.write(PIECE)
                if wait is not None:
                    waits.append(wait)
                    await wait
        assert len(waits) >= 3
        assert self.hops == ["write"] * len(waits)
        assert len(self.tmp()) == 1
        assert await deposit.commit() == [None]
        assert self.tmp() == []

    async def test_a_commit_before_the_last_write_is_done_is_a_fault(self) -> None:
        deposit = await self.begin()
        wait = deposit.write(PIECE * 20)
        assert isinstance(wait, Deferred)
        with pytest.raises(RuntimeError):
            deposit.commit()
        await wait
        assert await deposit.commit() == [None]
        with pytest.raises(RuntimeError):
            deposit.commit()

    async def test_an_abort_removes_the_file_also_during_a_write(self) -> None:
        for while_writing in (True, False):
            deposit = await self.begin("alice", "bob")
            wait = deposit.write(PIECE * 20)
            if not while_writing:
                await wait
                assert len(self.tmp()) == 1
            deposit.abort()
            await wait
            await self.quiet()
            assert self.tmp() == self.tmp("bob") == []
        assert self.files() == []

    async def test_an_abort_of_a_small_message_costs_nothing(self) -> None:
        deposit = await self.begin()
        deposit.write(ONE)
        deposit.abort()
        assert self.hops == []

    async def test_a_fault_of_a_write_is_no_message(self) -> None:
        def fault(*_: object) -> None:
            raise ZeroDivisionError

        for work in ("write", "deliver"):
            with_fault = self.patch(Spool, work, fault)
            deposit = await self.begin("alice", "bob")
            await deposit.write(PIECE * 20)
            if work == "write":
                with_fault.restore()  # what follows would be written
            deposit.write(PIECE)
            outcomes = await deposit.commit()
            with_fault.restore()
            assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 2
            await self.quiet()
            assert self.root().exists() is (work == "deliver")
            assert self.root().exists() is False or self.files() == []

    async def test_without_threads_every_user_fails_and_the_next_message_comes_in(self) -> None:
        def none() -> None:
            raise NoThreads("no more threads")

        patched = self.patch(self.store._disk._deposits, "start", none)
        deposit = await self.begin("alice")
        await deposit.write(PIECE * 20)
        (outcome,) = await deposit.commit()
        patched.restore()
        assert isinstance(outcome, MaildropUnavailable)
        assert "no more threads" in str(outcome)
        deposit = await self.begin("alice")
        assert await deposit.commit() == [None]

    async def test_a_message_whose_end_comes_during_the_stop_is_delivered_or_refused(self) -> None:
        deposits = [await self.begin() for _ in range(20)]
        for deposit in deposits:
            deposit.write(ONE)
        answers = [deposit.commit() for deposit in deposits[:10]]
        stopped = self.store.stop()
        answers += [deposit.commit() for deposit in deposits[10:]]
        outcomes = [outcome for (outcome,) in await gatherResults(answers)]
        await stopped
        assert outcomes[:10] == [None] * 10
        assert {type(outcome) for outcome in outcomes[10:]} <= {type(None), MaildropUnavailable}
        assert len(self.files()) == outcomes.count(None)

    async def test_a_stopped_store_delivers_at_once(self) -> None:
        await self.store.start()
        await self.store.stop()
        deposit = await self.begin()
        answer = deposit.commit()
        assert answer.called
        assert await answer == [None]

    async def test_a_hanging_home_is_no_others(self) -> None:
        hanging, deliver = Event(), Spool.deliver

        def slow(own: Spool, *arguments: Any) -> Any:
            if any(b"/alice/" in place.root for place in own._places):
                hanging.wait(10)
            return deliver(own, *arguments)

        self.patch(Spool, "deliver", slow)
        users = [("alice",), *((f"user{number}", "alice") for number in range(2 * disk.DEPOSITS))]
        answers = [(await self.begin(*each)).commit() for each in users]
        assert await (await self.begin("bob")).commit() == [None]
        assert not any(each.called for each in answers)
        maildrop = await self.open("alice")
        maildrop.release()
        hanging.set()
        assert await gatherResults(answers) == [[None] * len(each) for each in users]

    async def test_a_home_that_hangs_is_no_heap_of_copies(self) -> None:
        hanging, deliver = Event(), Spool.deliver
        self.addCleanup(hanging.set)

        def slow(own: Spool, *arguments: Any) -> Any:
            hanging.wait(60)
            return deliver(own, *arguments)

        self.patch(Spool, "deliver", slow)
        self.patch(disk, "DEPOSITS_WAITING", 10)
        large = await self.begin("alice")
        await self.fill(large)
        answers = [(await self.begin("alice")).commit() for _ in range(10)]
        (refused,) = await (await self.begin("alice")).commit()
        assert isinstance(refused, MaildropUnavailable)
        assert "10 deposits wait for it" in str(refused)
        with pytest.raises(MaildropUnavailable, match="10 deposits wait"):
            await self.store.usage(self.user("alice"))
        answers.append(large.commit())
        hanging.set()
        assert await gatherResults(answers) == [[None]] * 11
        assert await (await self.begin("alice")).commit() == [None]
        assert len(self.files("alice")) == 12
        assert self.tmp() == []

    async def test_the_time_and_the_flag_of_an_import_are_kept(self) -> None:
        for seen in (True, False):
            deposit = await self.begin("alice", "bob", kept=Kept(b"", 1_600_000_000.25, seen))
            deposit.write(ONE)
            assert await deposit.commit() == [None, None]
        for name in ("alice", "bob"):
            unseen, read = self.files(name)
            assert (unseen.parent.name, read.parent.name) == ("new", "cur")
            assert read.name.endswith(f",S={len(ONE)},W={len(ONE)}:2,S")
            assert (
                filenames.arrival(read.name.encode())
                == filenames.arrival(unseen.name.encode())
                == 1_600_000_000_250_000
            )
            assert stat.S_IMODE(read.stat().st_mode) == 0o600

    async def test_a_unique_id_of_another_server_is_in_the_name_after_the_sizes(self) -> None:
        deposit = await self.begin("alice", kept=Kept(b"/a:b", 1_600_000_000.25, seen=True))
        deposit.write(ONE)
        assert await deposit.commit() == [None]
        (path,) = self.files()
        assert path.name.endswith(f",S={len(ONE)},W={len(ONE)},U=L2E6Yg:2,S")

    async def test_deletions_of_a_session_are_counted_out(self) -> None:
        quota = Quota(octets=10_000)
        for message in (ONE, TWO, ONE):
            deposit = await self.begin("alice", quota=quota)
            deposit.write(message)
            assert await deposit.commit() == [None]
        await (await self.open()).commit([1, 2])
        assert (self.root() / "maildirsize").read_text().endswith(f"\n-{len(ONE + TWO)} -2\n")
        assert maildirsize.glance(self.octets(), quota) == Usage(1, len(ONE))

    async def test_usage_by_the_file_is_answered_at_once(self) -> None:
        user = replace(self.user("alice"), quota=Quota(octets=10_000))
        assert await self.store.usage(user) == Usage(0, 0)
        deposit = await self.begin("alice", quota=user.quota)
        assert await deposit.commit() == [None]
        self.hops.clear()
        answer = self.store.usage(user)
        assert answer.called is (self.options.get("io") != "threads")
        assert await answer == Usage(1, 0)

    async def test_a_maildrop_that_cannot_be_read_has_no_usage(self) -> None:
        def refused(*_: object) -> None:
            raise PermissionError(13, "Permission denied", str(self.root()))

        self.patch(maildirsize, "count", refused)
        with pytest.raises(MaildropUnavailable, match="must belong to uid"):
            await self.store.usage(self.user("alice"))


class DepositsInThreads(Deposits):
    options: ClassVar[dict[str, Any]] = {"io": "threads"}
