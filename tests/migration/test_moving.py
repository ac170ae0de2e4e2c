"""One user's mail moves once: from sources with all their faults, into stores in use, whatever ends a run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailserver.errors import MaildropInUse, MaildropUnavailable, StoreFull
from mailserver.interfaces import Account, Quota, User
from mailserver.migration import moving
from mailserver.migration.contents import CHUNK
from mailserver.migration.moving import Mover
from mailserver.migration.progress import Tally
from mailserver.migration.source import SourceError
from mailserver.migration.state import InUse, State
from mailserver.migration.troubles import Trouble
from mailserver.store import MaildirStore, MemoryStore
from mailserver.store.maildir.locking import lock
from mailserver.store.maildir.reserving import NAME
from mailserver.testing.contracts.store import contents
from mailserver.wireform import Canonical
from tests.migration.fakes import BEGIN, FakeSource, Mail, mails

ALICE = User("alice")
ORIGIN = "old.example.org alice"
Row = tuple[bytes, bytes]


def wire(message: bytes) -> bytes:
    rule = Canonical()
    return rule.feed(message) + rule.end()


def rows(*mail: Mail) -> list[Row]:
    return [(each.uidl, wire(each.text)) for each in mail]


class Moving(TestCase):
    """Moves into a store in memory."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.states = self.folder / "states"
        self.store: Any = self.make_store()
        self.troubles: list[Trouble] = []
        self.movers: list[Mover] = []

    def make_store(self) -> Any:
        return MemoryStore()

    def tearDown(self) -> Any:
        for each in self.movers:
            self.addCleanup(each.stop)

    def mover(self, *, dry_run: bool = False, states: Path | None = None, clock: Any = reactor) -> Mover:
        mover = Mover(self.store, clock, states or self.states, tell=self.troubles.append, dry_run=dry_run)
        mover.start()
        self.movers.append(mover)
        return mover

    async def move(self, source: FakeSource, **how: Any) -> tuple[int, int, int]:
        """How many were moved, were there, and could not be read."""
        tally = await self.mover(**how).move(ALICE, lambda: source, ORIGIN)
        assert source.closed
        return tally.moved, tally.there, tally.unread

    async def rows(self) -> list[Row]:
        maildrop = await self.store.open(ALICE, "the test")
        try:
            messages = maildrop.messages
            return [
                (uidl, await contents(await self.deferred(maildrop.fetch(at)), 1 << 20))
                for at, uidl in enumerate(messages.uidls, 1)
            ]
        finally:
            maildrop.release()

    async def arrivals(self) -> list[int]:
        maildrop = await self.store.open(ALICE, "the test")
        maildrop.release()
        return list(maildrop.messages.arrivals)

    def deferred(self, answer: Any) -> Deferred[Any]:
        return answer if isinstance(answer, Deferred) else succeed(answer)

    async def delete(self, *uidls: bytes) -> None:
        maildrop = await self.store.open(ALICE, "the test")
        assert await maildrop.commit([maildrop.messages.uidls.index(uidl) + 1 for uidl in uidls]) == 0

    def told(self) -> list[tuple[str, str]]:
        return [(each.what, each.place) for each in self.troubles]

    # What moves.

    async def test_messages_move_with_their_unique_ids_in_the_source_s_order(self) -> None:
        mail = mails(20)
        assert await self.move(FakeSource(mail)) == (20, 0, 0)
        assert await self.rows() == rows(*mail)
        assert self.troubles == []

    async def test_a_second_run_moves_what_has_come_since(self) -> None:
        await self.move(FakeSource(mails(5)))
        again = FakeSource(mails(7))
        assert await self.move(again) == (2, 5, 0)
        assert again.read_places == ["message 5", "message 6"]
        assert await self.rows() == rows(*mails(7))

    async def test_what_was_deleted_here_does_not_come_back(self) -> None:
        await self.move(FakeSource(mails(5)))
        await self.delete(b"UID2-77", b"UID4-77")
        assert await self.move(FakeSource(mails(6))) == (1, 5, 0)
        assert [uidl for uidl, _ in await self.rows()] == [b"UID1-77", b"UID3-77", b"UID5-77", b"UID6-77"]

    async def test_what_was_deleted_at_the_source_stays_here(self) -> None:
        await self.move(FakeSource(mails(5)))
        assert await self.move(FakeSource(mails(2))) == (0, 2, 0)
        assert await self.rows() == rows(*mails(5))

    async def test_without_its_state_a_run_finds_what_is_here_by_its_contents(self) -> None:
        await self.move(FakeSource(mails(5)))
        assert await self.move(FakeSource(mails(6)), states=self.folder / "new") == (1, 5, 0)
        assert await self.move(FakeSource(mails(6)), states=self.folder / "new") == (0, 6, 0)
        assert await self.rows() == rows(*mails(6))

    async def test_what_a_run_without_its_state_has_found_does_not_come_back_either(self) -> None:
        mail = [*mails(3), Mail(b"without\n")]
        await self.move(FakeSource(mail))
        uidls = [uidl for uidl, _ in await self.rows()]
        new = self.folder / "new"
        assert await self.move(FakeSource(mail), states=new) == (0, 4, 0)
        await self.delete(*uidls)
        for states in (new, self.states):
            assert await self.move(FakeSource(mail), states=states) == (0, 4, 0)
        assert await self.rows() == []

    async def test_a_message_that_cannot_be_compared_is_told(self) -> None:
        mail = mails(3)
        await self.move(FakeSource(mail))
        mail[1].unreadable = "its file has a hole"
        assert await self.move(FakeSource(mail), states=self.folder / "new") == (0, 2, 1)
        assert self.told() == [("unread", "message 1")]

    async def test_the_octets_of_another_message_are_not_enough(self) -> None:
        other = Mail(b"Subject: 2\n\nbody 2\n", b"UID1-77", BEGIN + 100)
        await self.mover().move(ALICE, lambda: FakeSource([other]), "elsewhere")
        mail = mails(1)
        mail[0].octets = len(wire(mail[0].text))
        assert len(wire(other.text)) == mail[0].octets
        assert await self.move(FakeSource(mail)) == (1, 0, 0)
        assert len(await self.rows()) == 2

    async def test_equal_contents_under_another_name_here_are_another_message(self) -> None:
        await self.mover().move(ALICE, lambda: FakeSource([Mail(b"other\n", b"1")]), "elsewhere")
        mail = [Mail(b"same\n", b"1"), Mail(b"same\n")]
        assert await self.move(FakeSource(mail[:1])) == (1, 0, 0)
        assert await self.move(FakeSource(mail)) == (1, 1, 0)
        assert len(await self.rows()) == 3

    async def test_octets_and_arrival_are_enough_to_find_what_is_here(self) -> None:
        mail = mails(5)
        for each in mail:
            each.octets = len(wire(each.text))
        await self.move(FakeSource(mail))
        again = FakeSource(mail)
        assert await self.move(again, states=self.folder / "new") == (0, 5, 0)
        assert again.read_places == []

    async def test_another_message_with_the_same_unique_id_here_is_no_reason_to_lose_one(self) -> None:
        others = [Mail(b"other %d\n" % n, b"UID%d-77" % n, BEGIN + n) for n in (1, 2)]
        await self.mover().move(ALICE, lambda: FakeSource(others), "elsewhere")
        assert await self.move(FakeSource(mails(3))) == (3, 0, 0)
        here = await self.rows()
        assert sorted(text for _, text in here) == sorted(text for _, text in rows(*others, *mails(3)))
        assert {uidl for uidl, _ in here} > {b"UID1-77", b"UID2-77", b"UID3-77"}
        assert sorted(self.told()) == [("renamed", "message 0"), ("renamed", "message 1")]
        for states in (self.states, self.folder / "new"):
            assert await self.move(FakeSource(mails(3)), states=states) == (0, 3, 0)
        assert await self.rows() == here

    async def test_messages_without_a_unique_id_have_one_of_their_contents_that_stays(self) -> None:
        mail = [Mail(b"one\n"), Mail(b"two\n"), Mail(b"one\r\n"), Mail(b"x" * 3 * CHUNK)]
        assert await self.move(FakeSource(mail)) == (4, 0, 0)
        here = await self.rows()
        assert [text for _, text in here] == [text for _, text in rows(*mail)]
        assert len({uidl for uidl, _ in here}) == 4
        for states in (self.states, self.folder / "new"):
            assert await self.move(FakeSource(mail), states=states) == (0, 4, 0)
        assert await self.move(FakeSource([*mail, Mail(b"two\n")])) == (1, 4, 0)
        assert (await self.rows())[:4] == here
        assert self.troubles == []

    async def test_of_messages_with_one_unique_id_the_first_keeps_it(self) -> None:
        mail = [Mail(b"one\n", b"1"), Mail(b"two\n", b"1"), Mail(b"three\n", b"not one"), Mail(b"four\n", b"4" * 71)]
        assert await self.move(FakeSource(mail)) == (4, 0, 0)
        here = await self.rows()
        assert [text for _, text in here] == [text for _, text in rows(*mail)]
        assert here[0][0] == b"1"
        assert sorted(self.told()) == [("renamed", f"message {at}") for at in (1, 2, 3)]
        assert await self.move(FakeSource(mail)) == (0, 4, 0)

    async def test_a_source_that_numbers_its_messages_anew_doubles_none(self) -> None:
        await self.move(FakeSource(mails(5)))
        await self.delete(b"UID3-77")
        renumbered = [Mail(each.text, b"new-%d" % at, each.received) for at, each in enumerate(mails(6))]
        assert await self.move(FakeSource(renumbered)) == (1, 5, 0)
        assert {what for what, _ in self.told()} == {"renumbered"}
        assert [text for _, text in await self.rows()] == [wire(m.text) for m in mails(6) if m.uidl != b"UID3-77"]
        assert await self.move(FakeSource(renumbered)) == (0, 6, 0)

    async def test_one_message_that_was_moved_stands_for_one_that_is_numbered_anew(self) -> None:
        await self.move(FakeSource([Mail(b"same\n", b"1")]))
        renumbered = [Mail(b"same\n", b"2"), Mail(b"same\n", b"3")]
        assert await self.move(FakeSource(renumbered)) == (1, 1, 0)
        assert len(await self.rows()) == 2

    async def test_two_equal_messages_of_one_source_are_two(self) -> None:
        mail = [Mail(b"same\n", b"1"), Mail(b"same\n", b"2")]
        assert await self.move(FakeSource(mail[:1])) == (1, 0, 0)
        assert await self.move(FakeSource(mail)) == (1, 1, 0)
        assert await self.rows() == rows(*mail)

    async def test_sizes_that_are_lies_change_nothing(self) -> None:
        mail = mails(3)
        for each in mail:
            each.octets = 1
        assert await self.move(FakeSource(mail)) == (3, 0, 0)
        assert await self.move(FakeSource(mail), states=self.folder / "new") == (0, 3, 0)
        assert await self.rows() == rows(*mail)

    async def test_a_large_message_comes_through_in_pieces(self) -> None:
        mail = [Mail(b"Subject: large\n\n" + b"sixteen octets.\n" * 200_000, b"1"), *mails(2)]
        assert await self.move(FakeSource(mail)) == (3, 0, 0)
        assert await self.rows() == rows(*mail)

    async def test_quotas_do_not_count(self) -> None:
        tally = await self.mover().move(User("alice", quota=Quota(messages=1)), lambda: FakeSource(mails(3)), ORIGIN)
        assert tally.moved == 3

    # What goes wrong.

    async def test_a_message_that_cannot_be_read_is_told_and_the_others_move(self) -> None:
        mail = mails(5)
        mail[2].unreadable = "its file has a hole"
        assert await self.move(FakeSource(mail)) == (4, 0, 1)
        assert self.troubles == [Trouble("alice", "unread", "its file has a hole", "message 2", b"UID3-77")]
        assert await self.rows() == rows(*mail[:2], *mail[3:])
        mail[2].unreadable = ""
        assert await self.move(FakeSource(mail)) == (1, 4, 0)

    async def test_half_of_a_message_is_none(self) -> None:
        mail = [*mails(3), Mail(b"a line\n" * CHUNK, b"4", gone="the line is cut"), *mails(1, 9)]
        source = FakeSource(mail)
        with pytest.raises(SourceError, match="the line is cut"):
            await self.move(source)
        assert source.closed
        assert await self.rows() == rows(*mails(3))
        mail[3].gone = ""
        assert await self.move(FakeSource(mail)) == (2, 3, 0)

    async def test_a_source_that_gives_no_listing_is_closed(self) -> None:
        source = FakeSource([], fails="it has no mail", notes=["line 7 is odd"])
        with pytest.raises(SourceError, match="it has no mail"):
            await self.move(source)
        assert source.closed
        assert self.troubles == [Trouble("alice", "note", "line 7 is odd")]

    async def test_a_store_that_is_full_ends_the_user_s_move_and_the_next_run_goes_on(self) -> None:
        full = Full(self.store, room=4)
        self.store = full
        with pytest.raises(StoreFull):
            await self.move(FakeSource(mails(20)))
        here = await self.rows()
        assert set(here) < set(rows(*mails(20)))
        assert len(here) == 4
        full.room = 100
        moved, there, _ = await self.move(FakeSource(mails(20)))
        assert (moved, there) == (16, 4)
        assert sorted(await self.rows()) == sorted(rows(*mails(20)))

    async def test_a_state_that_cannot_be_written_ends_the_user_s_move_and_doubles_nothing(self) -> None:
        add, calls = State.add, []

        def once(state: State, moved: Any) -> None:
            calls.append(moved)
            if len(calls) > 1:
                raise OSError(28, "No space left on device")
            add(state, moved)

        self.patch(State, "add", once)
        with pytest.raises(OSError, match="No space left"):
            await self.move(FakeSource(mails(40)))
        self.patch(State, "add", add)
        await self.move(FakeSource(mails(40)))
        assert await self.rows() == rows(*mails(40))

    async def test_lines_of_the_state_that_are_damaged_are_told(self) -> None:
        await self.move(FakeSource(mails(2)))
        (path,) = self.states.iterdir()
        path.write_bytes(path.read_bytes().replace(b"UID1-77", b"UID9-77"))
        assert await self.move(FakeSource(mails(2))) == (0, 2, 0)
        assert [each.what for each in self.troubles] == ["note"]
        assert self.troubles[0].text.startswith(f"1 lines of {path} are damaged")

    async def test_the_whole_maildrop_of_an_account_is_looked_into(self) -> None:
        await self.move(FakeSource(mails(2)))
        opened, open_ = [], self.store.open

        def noted(user: User, owner: str) -> Any:
            opened.append(user)
            return open_(user, owner)

        self.patch(self.store, "open", noted)
        user = User("alice", account=Account("alice.example.org", "john"))
        await self.mover().move(user, lambda: FakeSource(mails(3)), ORIGIN)
        assert opened == [ALICE]

    async def test_a_session_that_is_open_is_waited_for(self) -> None:
        await self.move(FakeSource(mails(2)))
        held, clock = await self.store.open(ALICE, "a client"), Clock()
        moved = Deferred.fromCoroutine(self.move(FakeSource(mails(4)), clock=Clocked(clock)))
        await self.until(clock.getDelayedCalls)
        clock.advance(moving.BUSY_PAUSES[0])
        held.release()
        await self.until(clock.getDelayedCalls)
        clock.advance(moving.BUSY_PAUSES[1])
        assert await moved == (2, 2, 0)
        assert clock.getDelayedCalls() == []

    async def test_a_session_that_stays_open_is_told(self) -> None:
        await self.move(FakeSource(mails(2)))
        held, clock = await self.store.open(ALICE, "a client"), Clock()
        moved = Deferred.fromCoroutine(self.move(FakeSource(mails(4)), clock=Clocked(clock)))
        for pause in moving.BUSY_PAUSES:
            await self.until(clock.getDelayedCalls)
            clock.advance(pause)
        with pytest.raises(MaildropInUse):
            await moved
        held.release()

    async def test_a_session_that_is_open_is_not_waited_for_by_a_move_that_is_to_end(self) -> None:
        await self.move(FakeSource(mails(2)))
        held, clock = await self.store.open(ALICE, "a client"), Clock()
        mover = self.mover(clock=Clocked(clock))
        moved = Deferred.fromCoroutine(mover.move(ALICE, lambda: FakeSource(mails(4)), ORIGIN))
        await self.until(clock.getDelayedCalls)
        mover.ends = True
        clock.advance(moving.BUSY_PAUSES[0])
        with pytest.raises(MaildropInUse):
            await moved
        held.release()

    async def test_two_runs_at_once_are_refused(self) -> None:
        state = State.open(self.states, "alice", ORIGIN)
        source = FakeSource(mails(2))
        with pytest.raises(InUse):
            await self.mover().move(ALICE, lambda: source, ORIGIN)
        assert not source.read_places
        state.close()
        assert await self.move(source) == (2, 0, 0)

    async def test_moves_of_one_run_into_one_maildrop_take_turns(self) -> None:
        mover, first, second = self.mover(), FakeSource(mails(3)), FakeSource(mails(5))
        closed: list[bool] = []
        second.before = lambda _: closed.append(first.closed)
        moves = [
            Deferred.fromCoroutine(mover.move(ALICE, lambda each=each: each, origin))  # type: ignore[misc]
            for each, origin in ((first, ORIGIN), (second, "elsewhere"))
        ]
        tallies = [await each for each in moves]
        assert [(each.moved, each.there) for each in tallies] == [(3, 0), (2, 3)]
        assert set(closed) == {True}
        assert await self.rows() == rows(*mails(5))

    async def test_a_move_that_is_to_end_does_so_after_the_messages_under_way(self) -> None:
        mover = self.mover()
        tally, source = Tally(), FakeSource(mails(20))

        def end(at: int) -> None:
            mover.ends = mover.ends or at == 6

        source.before = end
        await mover.move(ALICE, lambda: source, ORIGIN, tally)
        assert (tally.moved, tally.left) == (7, 13)
        assert await self.rows() == rows(*mails(7))
        assert await self.move(FakeSource(mails(20))) == (13, 7, 0)
        assert await self.rows() == rows(*mails(20))

    # Without an effect.

    async def test_a_dry_run_counts_and_changes_nothing(self) -> None:
        mail = [*mails(3), Mail(b"without\n")]
        mail[0].octets = 100
        tally = Tally()
        await self.mover(dry_run=True).move(ALICE, lambda: FakeSource(mail), ORIGIN, tally)
        assert tally == Tally(listed=4, moved=4, octets=100)
        assert not self.states.exists()
        assert await self.rows() == []
        await self.move(FakeSource(mail[:2]))
        before = [path.read_bytes() for path in self.states.iterdir()]
        assert await self.move(FakeSource(mail), dry_run=True) == (2, 2, 0)
        assert [path.read_bytes() for path in self.states.iterdir()] == before
        assert await self.rows() == rows(*mail[:2])
        assert await self.move(FakeSource(mail), dry_run=True, states=self.folder / "new") == (2, 2, 0)
        assert not (self.folder / "new").exists()

    async def until(self, true: Callable[[], object]) -> None:
        """Let the reactor turn until it is true."""
        while not true():
            turned: Deferred[None] = Deferred()
            reactor.callLater(0, turned.callback, None)
            await turned


class MovingIntoMaildirs(Moving):
    """The same, into Maildirs."""

    def make_store(self) -> Any:
        (self.folder / "mail").mkdir()
        store = MaildirStore(f"{self.folder}/mail/{{user}}", reactor)
        self.addCleanup(store.stop)
        return store

    async def test_arrival_and_seen_are_kept(self) -> None:
        mail = [Mail(b"a\n", b"1", BEGIN, seen=True), Mail(b"b\n", b"2", BEGIN), Mail(b"c\n", b"3", BEGIN + 0.25)]
        await self.move(FakeSource(mail))
        root = self.folder / "mail" / "alice"
        assert [len(list((root / each).iterdir())) for each in ("cur", "new")] == [1, 2]
        assert await self.arrivals() == [BEGIN * 1_000_000, BEGIN * 1_000_000 + 1, BEGIN * 1_000_000 + 250_000]

    async def test_messages_of_one_moment_keep_the_source_s_order_over_runs(self) -> None:
        mail = [Mail(b"%d\n" % n, b"%d" % n, BEGIN) for n in range(30)]
        for length in (7, 20, 30):
            await self.move(FakeSource(mail[:length]))
        assert await self.rows() == rows(*mail)

    async def test_nothing_is_left_of_what_is_compared_or_cannot_be_read(self) -> None:
        mail = [Mail(b"a line\n" * CHUNK, b"3", unreadable="a hole"), Mail(b"a line\n" * CHUNK, b"4"), *mails(2)]
        for states in (self.states, self.folder / "new"):
            assert (await self.move(FakeSource(mail), states=states))[2] == 1
            root = self.folder / "mail" / "alice"
            await self.until(lambda: not list((root / "tmp").iterdir()))  # noqa: B023 - called in this turn
            assert not [path for path in descriptors() if path.is_relative_to(root)]

    async def test_two_runs_at_once_are_refused_whatever_their_states(self) -> None:
        (self.folder / "mail" / "alice").mkdir()
        other = lock(os.fsencode(self.folder) + b"/mail/alice/", "pid 7 migrate", NAME)
        for states in (self.states, self.folder / "new"):
            with pytest.raises(MaildropInUse, match="another run moves mail there"):
                await self.move(FakeSource(mails(2)), states=states)
        os.close(other)
        assert await self.move(FakeSource(mails(2))) == (2, 0, 0)

    async def test_a_dry_run_notices_that_a_home_is_missing(self) -> None:
        (self.folder / "mail").rmdir()
        with pytest.raises(MaildropUnavailable, match="create the directory"):
            await self.move(FakeSource(mails(2)), dry_run=True)

    async def test_a_dry_run_makes_no_maildir(self) -> None:
        assert await self.move(FakeSource(mails(3)), dry_run=True) == (3, 0, 0)
        assert [path.name for path in self.folder.rglob("*")] == ["mail"]


def descriptors() -> list[Path]:
    """The files that this process has open."""
    return [each.resolve() for each in Path("/proc/self/fd").iterdir()]


class Clocked:
    """The reactor, but for its time."""

    def __init__(self, clock: Clock) -> None:
        self.callLater, self.seconds = clock.callLater, clock.seconds
        self.callFromThread = reactor.callFromThread


class Full:
    """A store with room for so many messages."""

    def __init__(self, store: Any, room: int) -> None:
        self.room = room
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def deposit(self, *what: Any) -> Any:
        return self._store.deposit(*what).addCallback(lambda deposit: Rationed(self, deposit))


class Rationed:
    """A deposit of such a store."""

    def __init__(self, full: Full, deposit: Any) -> None:
        self._full = full
        self._deposit = deposit
        self.write, self.abort = deposit.write, deposit.abort

    def commit(self) -> Deferred[Sequence[Exception | None]]:
        if not self._full.room:
            self._deposit.abort()
            return succeed([StoreFull("no room")])
        self._full.room -= 1
        committed: Deferred[Sequence[Exception | None]] = self._deposit.commit()
        return committed
