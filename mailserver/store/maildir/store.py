"""The Maildir store: one maildrop per user at a path template, as delivery agents write it."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NoReturn, TypeVar, cast

from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.answers import Answer, prompt
from mailserver.envelope import EnvelopeHeaders
from mailserver.errors import NoMaildrop, StoreError
from mailserver.foresight import ILooks, Sight
from mailserver.incoming import IDeposit, IDeposits, IKeeps, IReserves, Kept, Usage
from mailserver.interfaces import IMaildrop, IStore, User
from mailserver.store.deleting import EXPUNGE, Deleting
from mailserver.store.disk import Disk
from mailserver.store.joined import joined
from mailserver.store.maildir import filenames as names
from mailserver.store.maildir import keeping, looking, maildirsize, opening
from mailserver.store.maildir.cache import IndexCache
from mailserver.store.maildir.deposit import MaildirDeposit
from mailserver.store.maildir.faults import examine
from mailserver.store.maildir.files import shown, unsynced
from mailserver.store.maildir.former import Former, mark
from mailserver.store.maildir.holding import held
from mailserver.store.maildir.locking import lock, now, signature
from mailserver.store.maildir.maildrop import Context, Maildrop
from mailserver.store.maildir.making import Making
from mailserver.store.maildir.naming import Naming
from mailserver.store.maildir.reserving import Reserving
from mailserver.store.maildir.spool import Place, Spool, trouble
from mailserver.store.maildir.template import Template, own_path
from mailserver.store.maildir.unique import UniqueNames
from mailserver.store.maildir.viewing import View, viewed
from mailserver.upkeep import Finding, Held, IUpkeep, Repair

T = TypeVar("T")

_THREADS = 8
"""Scans and commits at a time: enough to keep a disk busy, and few enough to leave the GIL to the reactor."""

_REPORTS = 10_000
"""Notes that are remembered, so that each is logged only once."""


@implementer(IStore, IDeposits, IKeeps, IReserves, IUpkeep, ILooks)
class MaildirStore:
    """Maildrops at `template`, such as ``{home}/Maildir``, with the user's ``{home} {user} {local} {domain}``.

    A user's own `mail` goes before it; without a template there are only such users.

    `seen` "retr" sets the S flag of retrieved messages. `io` "auto" lets bounded work run in the reactor thread, "threads"
    none. `clock` answers the time by the clock of a root's file system, in nanoseconds. `headers` are the headers that hold
    the envelopes. `deleting` is what becomes of the messages that sessions delete. `former` is a server whose unique-ids its
    messages keep; if it `extends`, new messages get theirs from its list as well.
    """

    log = Logger()

    def __init__(  # noqa: PLR0913  # settings by keyword, each with its default
        self,
        template: str | None,
        reactor: Any,
        *,
        seen: Literal["never", "retr"] = "never",
        io: Literal["auto", "threads"] = "auto",
        threads: int = _THREADS,
        clock: Callable[[bytes], int] = now,
        headers: EnvelopeHeaders | None = None,
        deleting: Deleting = EXPUNGE,
        former: Former | None = None,
        extends: bool = False,
    ) -> None:
        self._template = None if template is None else Template(template)
        self._disk = Disk(reactor, threads)
        self._clock = clock
        self._signature = signature()
        self._cache = IndexCache()
        self._names = UniqueNames()
        self._making = Making()
        self._reserving = Reserving(self._disk)
        self._former = None if former is None else mark(former)
        self._formerly = former
        self._namings = partial(Naming, former=former, extends=extends)
        self._reported: OrderedDict[tuple[bytes, str], None] = OrderedDict()
        headers = headers or EnvelopeHeaders()
        at_once, marks_seen = io == "auto", seen == "retr"
        self._context = Context(self._disk, self._cache, at_once, marks_seen, clock, self._report, headers, deleting)
        self.needs: frozenset[str] = frozenset() if self._template is None else self._template.needs

    def start(self, _reactor: object = None) -> Deferred[None]:
        """Start the threads. Without it they start with the first work, for embedders. Errors: NoThreads."""
        self._signature = signature()  # the process may have been forked since the store was made
        return execute(self._disk.start)

    def reload(self) -> Deferred[None]:
        """Do nothing: each login looks for changes itself."""
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Finish the commits under way and end the threads."""
        return self._disk.stop()

    @prompt
    def open(self, user: User, owner: str) -> Answer[IMaildrop]:
        """At once when the maildrop is unchanged since its last login; else from a thread.

        After a cancel the lock is released as soon as it was taken; the thread finishes, which helps the next login.
        """
        root, owner = self._root(user), self._signature + owner
        taken = self._lock(root, owner) if self._context.at_once else None
        index = None if taken is None else opening.unchanged(root, self._cache, self._former)
        if taken is not None and index is not None:
            return Maildrop(self._context, root, taken, index)
        thoroughly = (
            opening.thoroughly,
            root,
            self._anchor(user, root),
            owner,
            taken,
            self._clock,
            self._cache.kept(root),
            self._namings,
        )
        opened = self._disk.open(root, *thoroughly, undo=_unlock, never_begun=partial(_give_back, taken))
        return opened.addCallback(self._opened, root)

    @prompt
    def look(self, user: User) -> Answer[Sight | None]:
        """What the next login would find, in a thread."""
        root = self._root(user)
        looked = looking.look, root, self._anchor(user, root), self._formerly
        return self._disk.open(root, *looked, undo=_nothing, never_begun=partial(_give_back, None))

    def deposit(self, users: Sequence[User], size: int | None, kept: Kept | None = None) -> Deferred[IDeposit]:  # noqa: ARG002
        """At once: the disk is used by the first chunk, or by the commit.

        Of `kept`, `uidl` and `received` are in the name, and `seen` gives the flag S in cur/.
        """
        if kept is not None and kept.uidl:
            try:
                names.field_for(kept.uidl)
            except ValueError as error:
                return fail(error)
        places: dict[int, Place] = {}
        placeless: dict[int, Exception] = {}
        for at, user in enumerate(users):
            try:
                root = self._root(user)
                places[at] = Place(root, self._anchor(user, root), user.quota)
            except StoreError as error:
                placeless[at] = error
        parts = [(self._deposit(list(places.values()), kept), list(places))] if places else []
        return succeed(joined(parts, placeless))

    def _deposit(self, places: Sequence[Place], kept: Kept | None) -> IDeposit:
        roots = [place.root for place in places]
        spool = Spool(places, self._names.name(), self._making)
        finished = partial(self._tell_unsynced, roots[0])
        return MaildirDeposit(self._disk, spool, roots=roots, names=self._names, kept=kept, finished=finished)

    @prompt
    def usage(self, user: User) -> Answer[Usage]:
        """With a quota at once, where `maildirsize` can tell; else from a thread, which may count all messages."""
        root = self._root(user)
        found = maildirsize.glance(root, user.quota) if self._context.at_once else None
        if found is not None:
            return found
        return self._disk.deposit([root], maildirsize.usage, root, user.quota).addErrback(_unavailable, root)

    @prompt
    def reserve(self, user: User, owner: str, dry_run: bool = False) -> Answer[Callable[[], object]]:
        """Lock a file of its own, in a thread."""
        root = self._root(user)
        anchor, owner = self._anchor(user, root), self._signature + owner
        reserving = self._reserving
        return Deferred.fromCoroutine(
            reserving.look(root, anchor) if dry_run else reserving.reserve(root, anchor, owner)
        )

    def _tell_unsynced(self, root: bytes) -> None:
        for note in unsynced():
            self._report(root, note)

    @prompt
    def undelete(self, user: User) -> Answer[int]:
        """Bring back what the last session deleted, in a thread."""
        root = self._root(user)
        undelete = partial(keeping.undelete, trash=self._context.deleting.act == "trash")
        return self._locked(root, undelete, root).addCallback(lambda done: 0 if done is None else done.answer)

    @prompt
    def kept(self, user: User) -> Answer[int]:
        """Count what `undelete` would bring back, in a thread."""
        root = self._root(user)
        return self._look(root, _kept, root, self._context.deleting.act == "trash")

    @prompt
    def tidy(self, user: User, now: float, days: int | None) -> Answer[bool]:
        """Remove what was kept for its days, in a thread."""
        root, deleting = self._root(user), self._context.deleting
        trash_days = deleting.days if deleting.act == "trash" else 0
        return self._locked(root, keeping.tidy, root, now, trash_days, days).addCallback(lambda done: done is not None)

    @prompt
    def place(self, user: User) -> Answer[str]:
        """At once."""
        return shown(self._root(user))

    @prompt
    def view(self, user: User) -> Answer[IMaildrop]:
        """Read it, in a thread."""
        root = self._root(user)
        return self._look(root, viewed, root, self._formerly).addCallback(partial(View, self._context, root))

    @prompt
    def locks(self, user: User) -> Answer[Sequence[Held]]:
        """Ask the kernel, in a thread."""
        root = self._root(user)
        return self._look(root, held, root).addErrback(_unavailable, root)

    @prompt
    def verify(self, user: User) -> Answer[Sequence[Finding]]:
        """Read everything, in a thread."""
        root = self._root(user)
        return self._look(root, examine.verify, root, self._formerly, user.quota)

    @prompt
    def repair(self, user: User) -> Answer[Repair]:
        """Mend it, in a thread; to cancel it stops only what has not begun."""
        root, owner = self._root(user), self._signature + "repair"
        return self._look(root, examine.repair, root, owner, self._clock, self._formerly, self._namings, user.quota)

    def _look(self, root: bytes, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
        never_begun = partial(_give_back, None)
        return self._disk.open(root, function, *arguments, undo=_nothing, never_begun=never_begun)

    def _locked(self, root: bytes, function: Callable[..., T], *arguments: Any) -> Deferred[opening.Done[T] | None]:
        """Call `function` in a thread, as `opening.locked` does; to cancel it stops only what has not begun."""
        locked = partial(opening.locked, root, self._signature + "maildrop", self._clock)
        return self._look(root, locked, function, *arguments).addCallback(self._done, root)

    def _done(self, done: opening.Done[T] | None, root: bytes) -> opening.Done[T] | None:
        for note in () if done is None else done.notes:
            self._report(root, note)
        return done

    def _root(self, user: User) -> bytes:
        if user.mail is not None:
            return own_path(user.mail, user)
        if self._template is None:
            raise NoMaildrop(f"{user.name!r} has no own mail location, and the store has no path for all users")
        return self._template.path(user)

    def _anchor(self, user: User, root: bytes) -> bytes:
        """The directory that must exist already."""
        if user.mail is not None or self._template is None:
            return root[: root.rindex(b"/", 0, -1) + 1]
        return self._template.anchor(user)

    def _lock(self, root: bytes, owner: str) -> int | None:
        """The lock; None when the maildrop does not exist yet."""
        try:
            return lock(root, owner)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise opening.unavailable(error) from error

    def _opened(self, opened: opening.Opened, root: bytes) -> IMaildrop:
        for note in opened.notes:
            self._report(root, note)
        if opened.identity is not None:
            self._cache.put(root, opened.identity, opened.found)
        return Maildrop(self._context, root, opened.lock, opened.found)

    def _report(self, root: bytes, note: str) -> None:
        """Log a note once: a problem of a maildrop shows again at each of its polls."""
        reported = self._reported
        if (root, note) in reported:
            reported.move_to_end((root, note))
            return
        reported[root, note] = None
        if len(reported) > _REPORTS:
            reported.popitem(last=False)
        self.log.warn("{maildrop}: {note}", event="store.note", maildrop=shown(root), note=note)


def _unavailable(failure: Failure, root: bytes) -> NoReturn:
    failure.trap(OSError)
    raise trouble(cast("OSError", failure.value), root)


def _unlock(opened: opening.Opened) -> None:
    os.close(opened.lock)


def _kept(root: bytes, trash: bool) -> int:
    try:
        return keeping.kept(root, trash=trash)
    except OSError as error:
        raise opening.unavailable(error) from error


def _nothing(_: object) -> None:
    """Undo nothing."""


def _give_back(held: int | None) -> None:
    if held is not None:
        os.close(held)
