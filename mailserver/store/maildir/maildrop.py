"""A locked Maildir, as one session sees it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NoReturn, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.answers import Answer, prompt
from mailserver.envelope import Envelope, EnvelopeHeaders, read_envelope
from mailserver.errors import MaildropUnavailable, MessageGone, MessageSealed
from mailserver.incoming import Given, IExpunges, IGivesBack, IMarks
from mailserver.interfaces import IBody, IMaildrop
from mailserver.store.body import FileBody, ThreadedBody
from mailserver.store.deleting import EXPUNGE, Deleting
from mailserver.store.disk import Disk
from mailserver.store.envelopes import Envelopes, IEnvelopes
from mailserver.store.maildir import envelopes, journal, maildirsize
from mailserver.store.maildir import filenames as names
from mailserver.store.maildir.cache import IndexCache
from mailserver.store.maildir.contents import Opened, open_at_once, open_thoroughly
from mailserver.store.maildir.envelopes import Read
from mailserver.store.maildir.files import shown, unsynced
from mailserver.store.maildir.foreign import read_giving
from mailserver.store.maildir.former import Entry
from mailserver.store.maildir.giving import given_back
from mailserver.store.maildir.index import Index
from mailserver.store.maildir.listing import PASSES, PREFIX, Clock, directory_times, look, pause
from mailserver.store.maildir.locking import holds, taken_at
from mailserver.store.maildir.packed import UnpackedBody
from mailserver.store.maildir.places import place_for
from mailserver.store.maildir.removal import Removal
from mailserver.store.maildir.same import Target, found_again
from mailserver.store.maildir.settle import Lesson, settle


@dataclass(frozen=True, slots=True)
class Context:
    """The objects and settings that all maildrops of a store share."""

    disk: Disk
    cache: IndexCache
    at_once: bool
    """Whether bounded work may use the disk in the reactor thread."""
    marks_seen: bool
    clock: Callable[[bytes], int]
    """Answers the time by the clock of a root's file system, in nanoseconds."""
    report: Callable[[bytes, str], None]
    """Logs a note on a maildrop's root, once."""
    headers: EnvelopeHeaders
    deleting: Deleting
    """What becomes of the messages that a session deletes."""


@implementer(IMaildrop, IEnvelopes, IExpunges, IGivesBack, IMarks)
class Maildrop:
    """A maildrop whose lock, a descriptor, is held until `commit` or `release`."""

    __slots__ = ("_context", "_index", "_lesson", "_listed", "_lock", "_moved", "_root", "_since", "messages")

    def __init__(self, context: Context, root: bytes, lock: int, index: Index) -> None:
        self._context = context
        self._root = root
        self._lock = lock
        self._index = index
        self._moved: dict[int, bytes] | None = None  # new paths of messages that were renamed, by index
        self._listed: tuple[int, int] | None = None  # the directories' times of the listing that found them
        self._since: int | None = None  # when the snapshot was taken, once it is needed
        self._lesson: Lesson | None = None  # None in most sessions
        self.messages = index.snapshot

    def fetch(self, number: int) -> IBody | Deferred[IBody]:
        """Answers at once when the message is where it was listed and the store may use the disk in this thread."""
        index = number - 1
        if self._context.at_once:
            try:
                body = open_at_once(self._root + self._name(index), self._index.sizes[index], self._index.flags[index])
            except (OSError, MessageGone) as error:
                raise self._gone(index, error) from error
            if body is not None:
                return body
        found = self._context.disk.read(self._root, self._find, index, undo=_close)
        return found.addCallbacks(self._found, self._not_found, errbackArgs=(index,))

    def envelope(self, number: int) -> Deferred[Envelope]:
        """The envelope, read from the message."""
        return read_envelope(self.fetch(number), self._context.headers)

    def envelopes(
        self, account: str, user: str | None, user_of: Callable[[str], str]
    ) -> Envelopes | Deferred[Envelopes]:
        """At once when an earlier session has read them and nothing changed; else from a thread."""
        known = self._context.cache.envelopes(self._root, self._index)
        if known is not None and known.serves(user):
            return known
        read = self._context.disk.read(self._root, self._read_envelopes, known, account, user, user_of)
        return read.addCallback(self._keep_envelopes)

    def sent(self, number: int, octets: int) -> None:
        """Note the octets if the row has others; the session's end corrects the row."""
        index = number - 1
        if octets != self.messages.octets[index]:
            self._learn().mends[self.messages.uidls[index]] = octets
        if self._context.marks_seen and names.seen((name := self._name(index))[PREFIX:]) is not None:
            self._learn().seen[self._index.target(index)] = name

    @prompt
    def commit(self, numbers: Sequence[int]) -> Answer[int]:
        """At once when there is nothing to write; else in a thread, and cancelling does not stop it."""
        return self._commit(numbers, self._context.deleting)

    @prompt
    def expunge(self, numbers: Sequence[int]) -> Answer[int]:
        """As `commit`, but the messages are removed for good."""
        return self._commit(numbers, EXPUNGE)

    def seen(self, number: int) -> bool:
        """As the name of its file says."""
        return names.is_seen(self._index.names[number - 1][PREFIX:])

    def give_back(self, server: str, dry_run: bool) -> Deferred[Given]:
        """As IGivesBack, in a thread."""
        names = [path[PREFIX:] for path in self._index.names]
        entries = list(map(Entry, names, self.messages.uidls))
        return self._context.disk.read(self._root, given_back, self._root, read_giving(server), entries, dry_run)

    def release(self) -> None:
        """Unlock at once; with a `Lesson`, a thread first writes it down under the lock."""
        if self._lock < 0:
            return
        if self._lesson is None:
            lock, self._lock = self._lock, -1
            os.close(lock)
        else:
            self._end((), EXPUNGE).addErrback(self._unsettled)

    def _commit(self, numbers: Sequence[int], deleting: Deleting) -> Answer[int]:
        if self._lock < 0:
            raise MaildropUnavailable(f"{shown(self._root)} is no longer locked")
        if numbers or self._lesson is not None:
            return self._end(numbers, deleting)
        self.release()
        return 0

    def _name(self, index: int) -> bytes:
        return (self._moved and self._moved.get(index)) or self._index.names[index]

    def _learn(self) -> Lesson:
        if self._lesson is None:
            self._lesson = Lesson()
        return self._lesson

    def _gone(self, index: int, cause: Exception) -> MessageGone:
        """The message cannot be read; the next session must measure it again."""
        if not isinstance(cause, MessageSealed):  # measuring again would not help there
            self._learn().mends[self.messages.uidls[index]] = None
        self._context.report(self._root, str(cause))
        return cause if isinstance(cause, MessageGone) else MessageGone(str(cause))

    def _find(self, index: int) -> Opened:
        """In a thread: open the message, wherever it is now. Only a complete listing without it proves that it is gone."""
        for passes in range(PASSES):
            name = self._name(index)
            try:
                return open_thoroughly(self._root + name, self._index.sizes[index], self._index.flags[index])
            except FileNotFoundError:
                if self._look_around() and name == self._name(index):
                    raise
            if passes:
                pause(passes, 0.005)
        raise FileNotFoundError(errno.ENOENT, "moves faster than it can be found", shown(self._root + name))

    def _look_around(self) -> bool:
        """In a thread: find all renamed messages; answers whether the listing was complete.

        One listing finds them all: a mail reader renames the messages of a whole maildrop at once.
        """
        if self._listed is not None and directory_times(self._root) == self._listed:
            return True
        listing = look(self._root, self._clock)
        at = {self._index.target(index): index for index in range(len(self.messages))}
        found = found_again(listing.files, at, frozenset())
        moved = {at[target]: path for target, path in found.items() if path != target.path}
        self._moved = moved if listing.complete else {**(self._moved or {}), **moved}
        self._listed = listing.times if listing.complete else None
        return listing.complete

    def _clock(self) -> int:
        """The time now. It sets the lock's mtime, which until then is the time of this session's snapshot."""
        if self._since is None:
            self._since = taken_at(self._lock)
        return self._context.clock(self._root)

    def _found(self, opened: Opened) -> IBody:
        if opened.lied and not self._learn().lied:
            self._learn().lied = True
            self._context.report(self._root, "file names contain wrong sizes: the next login measures all messages")
        body = opened.body
        if isinstance(body, UnpackedBody) or (isinstance(body, FileBody) and not self._context.at_once):
            return ThreadedBody(body, partial(self._context.disk.read, self._root))
        return body

    def _not_found(self, failure: Failure, index: int) -> NoReturn:
        failure.trap(OSError, MessageGone)
        raise self._gone(index, cast("Exception", failure.value))

    def _read_envelopes(
        self, known: Envelopes | None, account: str, user: str | None, user_of: Callable[[str], str]
    ) -> Read:
        """In a thread: read the envelopes unless they are known, and prepare the user's share."""
        if known is None:
            keep = self._lock >= 0
            read = envelopes.read(self._root, self._index, self._context.headers, self._clock, keep=keep)
        else:
            read = Read(known, True, "")
        read.envelopes.prepare(account, user, user_of)
        return read

    def _keep_envelopes(self, read: Read) -> Envelopes:
        """Keep the envelopes for later sessions if all could be read."""
        if read.whole:
            self._context.cache.keep_envelopes(self._root, self._index, read.envelopes)
        if read.note:
            self._context.report(self._root, read.note)
        return read.envelopes

    def _end(self, numbers: Sequence[int], deleting: Deleting) -> Deferred[int]:
        lock, self._lock = self._lock, -1
        finish = self._finish, lock, numbers, self._lesson, deleting
        ended = self._context.disk.commit(self._root, *finish, never_begun=partial(os.close, lock))
        return ended.addCallback(self._ended)

    def _finish(self, lock: int, numbers: Sequence[int], lesson: Lesson | None, deleting: Deleting) -> Removal:
        """In a thread: delete, write down the lesson, unlock."""
        try:
            if not holds(lock, self._root):
                replaced = f"{shown(self._root)} was replaced under the session: nothing was written there"
                if numbers:
                    raise MaildropUnavailable(f"{replaced}, or deleted")
                return Removal(0, [replaced])
            since = self._taken(lock)
            targets = [self._index.target(number - 1) for number in numbers]
            clock = partial(self._context.clock, self._root)
            removal = Removal(0, [])
            if targets:
                listed = [target._replace(since=since) for target in targets]
                others, place = self._index.others(targets), self._place(deleting, clock)
                remove = partial(journal.commit, self._root, listed, others, clock, place)
                removal = maildirsize.discounted(self._root, targets, remove)
            return removal if lesson is None else self._settled(removal, lesson, targets, clock)
        finally:
            os.close(lock)

    def _place(self, deleting: Deleting, clock: Clock) -> bytes:
        try:
            return place_for(deleting, self._root, clock)
        except OSError as error:
            raise MaildropUnavailable(f"nothing was deleted in {shown(self._root)}: {error}") from error

    def _taken(self, lock: int) -> int:
        try:
            return taken_at(lock) if self._since is None else self._since
        except OSError as error:
            raise MaildropUnavailable(f"nothing was deleted in {shown(self._root)}: {error}") from error

    def _settled(self, removal: Removal, lesson: Lesson, deleted: Sequence[Target], clock: Clock) -> Removal:
        for target in deleted:
            lesson.seen.pop(target, None)
        notes = settle(self._root, lesson, self._index.others(lesson.seen), clock)
        return Removal(removal.left, removal.notes + notes)

    def _ended(self, removal: Removal) -> int:
        left, notes = removal
        for note in (*notes, *unsynced()):
            self._context.report(self._root, note)
        return left

    def _unsettled(self, failure: Failure) -> None:
        """Report a release's fault: nobody waits for a release."""
        self._context.report(self._root, f"a correction of the index or a seen flag was lost: {failure.value}")


def _close(opened: Opened) -> None:
    opened.body.close()
