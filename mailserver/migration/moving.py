"""Moves one user's mail: what is at the source and not yet here is deposited, with its unique-id, in the source's order.

A message is known by its key: its unique-id at the source, or, where it has none of its own, one made of its contents. It is left
where it is if

* the state says that it was moved, whatever became of it here;
* a message with this unique-id is here, of the same octets and arrival, or of the same contents;
* its contents were moved by a key that the source no longer has: it has numbered its messages anew.

The order of the steps is what a kill cannot spoil: a message is durable before the state says so, and if the state does not, the
unique-id in the maildrop does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from twisted.internet.defer import Deferred, DeferredSemaphore, succeed
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from mailserver.errors import MaildropInUse
from mailserver.incoming import IDeposit, Kept
from mailserver.interfaces import IMaildrop, User
from mailserver.migration.contents import Reading
from mailserver.migration.here import Here, look
from mailserver.migration.ledger import Ledger
from mailserver.migration.listing import Listed, Listing
from mailserver.migration.progress import Changed, Tally
from mailserver.migration.source import Original, Source, Unreadable
from mailserver.migration.state import Moved, State
from mailserver.migration.troubles import Tell, Trouble, What
from mailserver.pool import Pool

T = TypeVar("T")

TOGETHER: Final = 4
"""Messages of a user that are made durable at a time, so that the next is read while the disk writes; they share its commits."""

BUSY_PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds until another look at a maildrop whose session is open: most POP3 clients are gone within the minute."""

OWNER: Final = "migrate"
"""What a move calls itself in a maildrop's locks: that of moves it holds to its end, that of sessions for a look at what is there."""


class Mover:
    """Moves users' mail into `store`, which provides IStore, IDeposits and IReserves, of so many `users` at a time.

    `directory` has the states; `tell` hears of each message that could not be moved as it is. In a dry run nothing is written
    anywhere. `start` it first, and `stop` it at the end.
    """

    def __init__(  # noqa: PLR0913 - what all moves of a run have in common
        self, store: Any, reactor: Any, directory: Path, *, tell: Tell, users: int = 1, dry_run: bool = False
    ) -> None:
        self.store = store
        self.reactor = reactor
        self.directory = directory
        self.tell = tell
        self.dry_run = dry_run
        self.ends = False
        """Set by whoever wants the end: each user's move ends with the messages that are under way."""
        self._threads = Pool(reactor, 2 * users, 0, "moving", together=1)  # a user's source and state work at a time

    def start(self) -> None:
        """Start the threads. Errors: NoThreads."""
        self._threads.start()

    def stop(self) -> Deferred[None]:
        """End the threads."""
        return self._threads.stop()

    async def move(
        self,
        user: User,
        opener: Callable[[], Source],
        origin: str,
        tally: Tally | None = None,
        changed: Changed = lambda _: None,
    ) -> Tally:
        """Move one user's mail from the source that `opener` opens, in a thread, and that is closed in the end.

        `origin` names the source, in the same words in each run, and without a secret. The `tally` counts; some of it is left
        (`Tally.left`) where the mover `ends`. The user's quota does not count. A further move of this mover into the same maildrop
        waits for its turn. Errors: SourceError; StoreError; StateError, of which InUse means another run; faults.
        """
        tally = Tally() if tally is None else tally
        end = await self.store.reserve(user, OWNER, self.dry_run)
        try:
            await self._move(user, opener, origin, tally, changed)
        finally:
            end()
        return tally

    async def _move(
        self, user: User, opener: Callable[[], Source], origin: str, tally: Tally, changed: Changed
    ) -> None:
        reads, writes = (partial(self._run, f"{user.name}: {what} {origin}") for what in ("from", "state of"))
        state = await writes(State.glance if self.dry_run else State.open, self.directory, user.name, origin)
        try:
            if state.damaged:
                text = f"{state.damaged} lines of {state.path} are damaged: messages of them that were deleted here may come again"
                self.tell(Trouble(user.name, "note", text))
            source = await reads(opener)
            try:
                ledger = Ledger(state, writes)
                await _Move(self, replace(user, quota=None), source, ledger, reads, tally, changed).run()
            finally:
                for note in source.notes:
                    self.tell(Trouble(user.name, "note", note))
                await reads(source.close)
        finally:
            await writes(state.close)

    def _run(self, key: str, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
        return self._threads.run(function, *arguments, key=key, mandatory=True)


class _Coming(NamedTuple):
    """A message that is to be moved."""

    listed: Listed
    key: bytes
    uidl: bytes
    """The unique-id that it gets here."""
    reading: Reading
    """At the message's beginning."""


class _Move:
    """One user's move. `reads` calls a function of the source in a thread."""

    def __init__(  # noqa: PLR0913, PLR0917 - made by the mover alone
        self,
        mover: Mover,
        user: User,
        source: Source,
        ledger: Ledger,
        reads: Callable[..., Deferred[Any]],
        tally: Tally,
        changed: Changed,
    ) -> None:
        self._mover = mover
        self._user = user
        self._source = source
        self._ledger = ledger
        self._reads = reads
        self._tally = tally
        self._changed = changed
        self._here = Here()
        self._failure: Failure | None = None
        self._room = DeferredSemaphore(TOGETHER)

    async def run(self) -> None:
        """Move what is to be moved."""
        listing = Listing(await self._reads(self._source.messages), self._ledger.known)
        self._tally.listed, self._tally.there = len(listing.messages), listing.moved
        self._changed(self._tally)
        if listing.left:
            self._here = await self._look(listing)
        for each in listing.left:
            await self._room.acquire()
            if self._mover.ends or self._failed():
                self._room.release()
                break
            await self._one(listing, each)
        for _ in range(TOGETHER):
            await self._room.acquire()  # what is under way is done
        await self._ledger.settled()
        if failure := self._failed():
            failure.raiseException()

    def _failed(self) -> Failure | None:
        return self._failure or self._ledger.failure

    # What is here.

    async def _look(self, listing: Listing) -> Here:
        if not (await self._mover.store.usage(self._user)).messages:
            return Here()  # also without a maildrop, which a dry run must not make
        maildrop = await self._open()
        try:
            return await look(maildrop, listing.wanted, self._digest_of)
        finally:
            maildrop.release()

    async def _open(self) -> IMaildrop:
        """The whole maildrop of an account, whichever of its users this is."""
        user = replace(self._user, account=None)
        for pause in BUSY_PAUSES:
            if self._mover.ends:
                break
            try:
                opened: IMaildrop = await self._mover.store.open(user, OWNER)
            except MaildropInUse:
                await deferLater(self._mover.reactor, pause)
            else:
                return opened
        return await self._mover.store.open(user, OWNER)  # type: ignore[no-any-return]  # it provides two interfaces

    async def _digest_of(self, original: Original) -> bytes:
        reading = await self._reads(Reading, self._source, original)
        await self._reads(reading.skip)
        digest: bytes = reading.digest
        return digest

    # One message.

    async def _one(self, listing: Listing, listed: Listed) -> None:
        """Move it, or find that it is there. It gives its place in `_room` back, now or when it is durable."""
        ending: Deferred[Any] | None = None
        try:
            ending = await self._begin(listing, listed)
        except Unreadable as error:
            self._tell("unread", listed.original, str(error))
            self._tally.unread += 1
            self._changed(self._tally)
        except Exception:  # noqa: BLE001 - it ends the user's move, once what is under way is done
            self._failure = Failure()
        (succeed(None) if ending is None else ending).addErrback(self._fail).addBoth(lambda _: self._room.release())

    async def _begin(self, listing: Listing, listed: Listed) -> Deferred[None] | None:
        """Read it, and begin to make it durable; None: it is there already, or this is a dry run."""
        original, key, uidl, reading = listed.original, listed.key, listed.key, None
        if key in self._here.same:
            self._there(key, b"")
            return None
        if not key or key in self._here.uidls:
            reading = await self._reads(Reading, self._source, original)
            await self._reads(reading.skip)
            key, uidl = listing.named(listed, reading.digest)
            if key in listing.known or uidl in self._here.uidls:
                self._there(key, reading.digest)
                return None
        if self._mover.dry_run:
            self._moved(original.octets or 0)
            return None
        if reading is None or not reading.is_whole:
            reading = await self._reads(Reading, self._source, original)
        return await self._deposit(listing, _Coming(listed, key, uidl, reading))

    async def _deposit(self, listing: Listing, coming: _Coming) -> Deferred[None] | None:
        """The same for a message that is not there by its key."""
        original, reading = coming.listed.original, coming.reading
        kept = Kept(coming.uidl, coming.listed.received, original.seen)
        deposit: IDeposit = await self._mover.store.deposit([self._user], None, kept)
        try:
            await self._write(deposit, reading)
        except BaseException:
            deposit.abort()
            raise
        if old := listing.lost(reading.digest):
            deposit.abort()
            self._tell("renumbered", original, f"it was moved before, as {old.decode('ascii')}")
            self._there(coming.key, reading.digest)
            return None
        why = listing.reason(coming.listed) if original.uidl not in {b"", coming.uidl} else ""
        return deposit.commit().addCallback(self._committed, coming, why)

    async def _write(self, deposit: IDeposit, reading: Reading) -> None:
        data = reading.first
        while data:
            if (written := deposit.write(data)) is not None:
                await written
            data = b"" if reading.digest else await self._reads(reading.more)

    def _committed(self, outcomes: Sequence[Exception | None], coming: _Coming, why: str) -> None:
        if outcomes[0] is not None:
            raise outcomes[0]
        self._ledger.add(Moved(coming.key, coming.reading.digest))
        if why:
            self._tell(
                "renamed", coming.listed.original, f"{why}: it has one of its own now, and clients fetch it again"
            )
        self._moved(coming.reading.octets)

    def _moved(self, octets: int) -> None:
        self._tally.moved += 1
        self._tally.octets += octets
        self._changed(self._tally)

    def _there(self, key: bytes, digest: bytes) -> None:
        if not self._mover.dry_run:
            self._ledger.add(Moved(key, digest))
        self._tally.there += 1
        self._changed(self._tally)

    def _fail(self, failure: Failure) -> None:
        self._failure = self._failure or failure

    def _tell(self, what: What, original: Original, text: str) -> None:
        self._mover.tell(Trouble(self._user.name, what, text, original.place, original.uidl))
