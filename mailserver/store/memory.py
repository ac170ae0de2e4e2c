"""Maildrops in memory: the smallest complete store, for tests, demonstrations and embedders."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from time import time

from twisted.internet.defer import Deferred, DeferredLock, fail, succeed
from zope.interface import implementer

from mailserver.body import BytesBody
from mailserver.envelope import HEAD_OCTETS, Envelope, EnvelopeHeaders
from mailserver.errors import MaildropInUse, MaildropUnavailable, MessageGone, NoMaildrop, QuotaExceeded, StoreError
from mailserver.foresight import ILooks, Sight
from mailserver.incoming import IDeposit, IDeposits, IExpunges, IKeeps, IMarks, IReserves, Kept, Usage
from mailserver.interfaces import IMaildrop, IStore, User
from mailserver.snapshot import MICROSECONDS, NO_UIDL, UIDL, Message, Snapshot
from mailserver.store.deleting import EXPUNGE, Deleting
from mailserver.store.envelopes import Envelopes, IEnvelopes
from mailserver.store.memory_kept import Deleted, DeletedMail
from mailserver.wireform import Canonical, measure


@implementer(IStore, IDeposits, IKeeps, IReserves, ILooks)
class MemoryStore:
    """Messages by user name; an unknown name has an empty maildrop.

    `clock` answers the seconds of the epoch; `deleting` is what becomes of the messages that sessions delete.
    """

    needs: frozenset[str] = frozenset()

    def __init__(
        self,
        maildrops: Mapping[str, Iterable[bytes]] | None = None,
        headers: EnvelopeHeaders | None = None,
        *,
        clock: Callable[[], float] = time,
        deleting: Deleting = EXPUNGE,
    ) -> None:
        self._clock = clock
        self._deleting = deleting
        self._deleted = DeletedMail()
        self._headers = headers or EnvelopeHeaders()
        self._serial = 0
        self._maildrops: dict[str, dict[bytes, bytes]] = {}
        self._arrivals: dict[str, dict[bytes, int]] = {}
        self._seen: dict[str, set[bytes]] = {}
        self._holders: dict[str, str] = {}
        self._turns: defaultdict[str, DeferredLock] = defaultdict(DeferredLock)
        for name, messages in (maildrops or {}).items():
            for message in messages:
                self.add(name, message)

    def add(self, name: str, message: bytes) -> bytes:
        """Deliver `message` to the end of the maildrop, locked or not; returns its unique-id."""
        uidl = self._unused(name)
        self.maildrop(name)[uidl] = message
        arrivals = self._arrivals.setdefault(name, {})
        last = next(reversed(arrivals.values()), 0)  # a clock that was set back changes no order
        arrivals[uidl] = max(last, int(self._clock() * MICROSECONDS))
        return uidl

    def take_over(self, name: str, message: bytes, kept: Kept) -> None:
        """Deliver an imported message to its place by its arrival, seen or not, with its unique-id, unless another message has that."""
        stored = self.maildrop(name)
        uidl = kept.uidl if kept.uidl and kept.uidl not in stored else self._unused(name)
        stored[uidl] = message
        self._arrivals.setdefault(name, {})[uidl] = max(0, int(kept.received * MICROSECONDS))
        if kept.seen:
            self._marked(name).add(uidl)
        self._sort(name)

    def _unused(self, name: str) -> bytes:
        """The next number; an import may have brought it already."""
        while True:
            self._serial += 1
            uidl = b"%08d" % self._serial
            if uidl not in self.maildrop(name):
                return uidl

    def _sort(self, name: str) -> None:
        stored, arrivals = self.maildrop(name), self._arrivals.setdefault(name, {})
        for uidl in sorted(stored, key=lambda uidl: (arrivals.get(uidl, 0), uidl)):
            stored[uidl] = stored.pop(uidl)
            arrivals[uidl] = arrivals.pop(uidl, 0)

    def _marked(self, name: str) -> set[bytes]:
        """The unique-ids of the messages that are marked as seen."""
        return self._seen.setdefault(name, set())

    def maildrop(self, name: str) -> dict[bytes, bytes]:
        """The stored messages in their order, by unique-id; the caller may remove some."""
        return self._maildrops.setdefault(name, {})

    def trash(self, name: str) -> list[bytes]:
        """The messages in the user's trash."""
        return self._deleted.trash(name)

    def start(self, _reactor: object = None) -> Deferred[None]:
        """Do nothing."""
        return succeed(None)

    def reload(self) -> Deferred[None]:
        """Do nothing: there is no file to read again."""
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Do nothing."""
        return succeed(None)

    def open(self, user: User, owner: str) -> Deferred[IMaildrop]:
        """Lock and list the maildrop of `user.name`; answers at once. Errors: MaildropInUse; NoMaildrop for another store's `mail`."""
        try:
            self._check(user)
        except StoreError as error:
            return fail(error)
        self._holders[user.name] = owner
        arrivals, seen = self._arrivals.setdefault(user.name, {}), frozenset(self._marked(user.name))
        remove = partial(self._remove, user.name)
        stored = self.maildrop(user.name)
        return succeed(_MemoryMaildrop(user.name, stored, arrivals, seen, remove, self._holders, self._headers))

    def look(self, user: User) -> Deferred[Sight | None]:
        """As ILooks; answers at once."""
        refusal: StoreError | None = None
        try:
            self._check(user)
        except StoreError as error:
            refusal = error
        stored, holder = self._maildrops.get(user.name), self._holders.get(user.name, "")
        return succeed(Sight("memory", stored is not None, holder, refusal, messages=len(stored or ())))

    def undelete(self, user: User) -> Deferred[int]:
        """As IKeeps; answers at once."""
        try:
            self._check(user)
        except StoreError as error:
            return fail(error)
        back = self._deleted.take(user.name, trash=self._deleting.act == "trash")
        stored, arrivals = self.maildrop(user.name), self._arrivals.setdefault(user.name, {})
        stored.update((each.uidl, each.message) for each in back)
        arrivals.update((each.uidl, each.arrival) for each in back)
        self._marked(user.name).update(each.uidl for each in back if each.seen)
        self._sort(user.name)
        return succeed(len(back))

    def kept(self, user: User) -> Deferred[int]:
        """As IKeeps; answers at once."""
        return succeed(len(self._deleted.last(user.name, trash=self._deleting.act == "trash")))

    def tidy(self, user: User, now: float, days: int | None) -> Deferred[bool]:
        """As IKeeps; answers at once."""
        try:
            self._check(user)
        except StoreError as error:
            return fail(error)
        self._deleted.tidy(user.name, now, self._deleting.days if self._deleting.act == "trash" else 0, days)
        return succeed(user.name in self._maildrops)

    def _check(self, user: User) -> None:
        """Whether the user's maildrop is here and in nobody's use. Errors: NoMaildrop, MaildropInUse."""
        if (elsewhere := _elsewhere(user)) is not None:
            raise elsewhere
        holder = self._holders.get(user.name)
        if holder is not None:
            raise MaildropInUse(f"the maildrop of {user.name!r} is held by {holder}")

    def _remove(self, name: str, uidls: Iterable[bytes], *, for_good: bool) -> None:
        stored, arrivals, seen = self.maildrop(name), self._arrivals.setdefault(name, {}), self._marked(name)
        there = [uidl for uidl in uidls if uidl in stored]
        deleted = [Deleted(uidl, arrivals.pop(uidl, 0), stored.pop(uidl), uidl in seen) for uidl in there]
        seen.difference_update(there)
        self._deleted.put(name, deleted, EXPUNGE if for_good else self._deleting, self._clock())

    def deposit(self, users: Sequence[User], size: int | None, kept: Kept | None = None) -> Deferred[IDeposit]:  # noqa: ARG002
        """At once."""
        if kept is not None and kept.uidl and not UIDL.fullmatch(kept.uidl):
            return fail(ValueError(NO_UIDL))
        return succeed(_MemoryDeposit(self, users, kept))

    def usage(self, user: User) -> Deferred[Usage]:
        """At once. Errors: NoMaildrop."""
        if (elsewhere := _elsewhere(user)) is not None:
            return fail(elsewhere)
        return succeed(self.held(user.name))

    def reserve(self, user: User, owner: str, dry_run: bool = False) -> Deferred[Callable[[], object]]:  # noqa: ARG002
        """A turn in this process, which alone has the store. Errors: NoMaildrop."""
        if (elsewhere := _elsewhere(user)) is not None:
            return fail(elsewhere)
        if dry_run:
            return succeed(lambda: None)
        return self._turns[user.name].acquire().addCallback(lambda turn: turn.release)

    def held(self, name: str) -> Usage:
        """What the user's maildrop holds."""
        messages = self.maildrop(name).values()
        return Usage(len(messages), sum(map(len, messages)))


def _elsewhere(user: User) -> NoMaildrop | None:
    """The error of a user whose maildrop is in another store."""
    if user.mail in (None, "memory:"):
        return None
    return NoMaildrop(f"the mail location {user.mail!r} of {user.name!r} is not memory:")


@implementer(IDeposit)
class _MemoryDeposit:
    __slots__ = ("_canonical", "_chunks", "_ended", "_kept", "_store", "_users")

    def __init__(self, store: MemoryStore, users: Sequence[User], kept: Kept | None) -> None:
        self._store = store
        self._kept = kept
        self._users = users
        self._canonical = Canonical()
        self._chunks: list[bytes] = []
        self._ended = False

    def write(self, data: bytes) -> None:
        self._chunks.append(self._canonical.feed(data))

    def commit(self) -> Deferred[Sequence[Exception | None]]:
        if self._ended:
            raise RuntimeError("a deposit is committed once")
        message = b"".join([*self._chunks, self._canonical.end()])
        self.abort()
        return succeed([self._delivered(user, message) for user in self._users])

    def abort(self) -> None:
        self._ended = True
        self._chunks.clear()

    def _delivered(self, user: User, message: bytes) -> Exception | None:
        if (elsewhere := _elsewhere(user)) is not None:
            return elsewhere
        if user.quota is not None and self._store.held(user.name).exceeds(user.quota, len(message), 1):
            return QuotaExceeded(f"the maildrop of {user.name!r} has no room by its quota")
        if self._kept is None:
            self._store.add(user.name, message)
        else:
            self._store.take_over(user.name, message, self._kept)
        return None


def _row(uidl: bytes, message: bytes) -> Message:
    measured = measure(message)
    return Message(uidl, measured.octets, measured.wire)


@implementer(IMaildrop, IEnvelopes, IExpunges, IMarks)
class _MemoryMaildrop:
    """A locked maildrop; its name among the holders is the lock."""

    __slots__ = ("_headers", "_holders", "_locked", "_name", "_remove", "_seen", "_stored", "messages")

    def __init__(  # noqa: PLR0913, PLR0917 - made by the store alone
        self,
        name: str,
        stored: dict[bytes, bytes],
        arrivals: dict[bytes, int],
        seen: frozenset[bytes],
        remove: Callable[..., None],
        holders: dict[str, str],
        headers: EnvelopeHeaders,
    ) -> None:
        self._seen = seen
        self._remove = remove
        self._headers = headers
        self._name = name
        self._stored = stored
        self._holders = holders
        self._locked = True
        rows = [_row(uidl, message) for uidl, message in stored.items()]
        self.messages = Snapshot.of(rows, array("Q", [arrivals.get(uidl, 0) for uidl in stored]))

    def fetch(self, number: int) -> BytesBody:
        data = self._stored.get(self.messages.uidls[number - 1])
        if data is None:
            raise MessageGone(f"message {number} of {self._name!r} is no longer there")
        return BytesBody(data)

    def envelope(self, number: int) -> Envelope:
        return self._headers.read(self.fetch(number).read(HEAD_OCTETS))

    def envelopes(self, account: str, user: str | None, user_of: Callable[[str], str]) -> Envelopes:
        read = [self._headers.read(self._stored.get(uidl, b"")[:HEAD_OCTETS]) for uidl in self.messages.uidls]
        senders, recipients = [each.sender for each in read], [b",".join(each.recipients) for each in read]
        found = Envelopes(self.messages, senders, recipients)
        found.prepare(account, user, user_of)
        return found

    def sent(self, number: int, octets: int) -> None:
        """Do nothing: rows in memory are never wrong, and only imports mark messages as seen."""

    def seen(self, number: int) -> bool:
        return self.messages.uidls[number - 1] in self._seen

    def commit(self, numbers: Sequence[int]) -> Deferred[int]:
        return self._end(numbers, for_good=False)

    def expunge(self, numbers: Sequence[int]) -> Deferred[int]:
        return self._end(numbers, for_good=True)

    def _end(self, numbers: Sequence[int], *, for_good: bool) -> Deferred[int]:
        if not self._locked:
            return fail(MaildropUnavailable(f"the maildrop of {self._name!r} is no longer locked"))
        self._remove([self.messages.uidls[number - 1] for number in numbers], for_good=for_good)
        self.release()
        return succeed(0)

    def release(self) -> None:
        if self._locked:
            self._locked = False
            del self._holders[self._name]
