"""Deposits into Maildirs, as the reactor sees them: octets are gathered here, and the disk is used in threads (`spool`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.answers import unstoppable
from mailserver.errors import MaildropUnavailable, TemporaryFailure
from mailserver.incoming import IDeposit, Kept
from mailserver.store.disk import Disk
from mailserver.store.maildir.filenames import field_for
from mailserver.store.maildir.spool import Spool
from mailserver.store.maildir.unique import UniqueNames
from mailserver.threads import NoThreads
from mailserver.wireform import Canonical

CHUNK: Final = 256 * 1024
"""Octets that are gathered before a thread writes them: a small message costs one hop to a thread, a large one keeps no more memory."""


@implementer(IDeposit)
class MaildirDeposit:
    """A message for the places of `spool`, which are at the `roots`."""

    def __init__(  # noqa: PLR0913 - what one deposit is made of, given by the store alone
        self,
        disk: Disk,
        spool: Spool,
        *,
        roots: Sequence[bytes],
        names: UniqueNames,
        kept: Kept | None,
        finished: Callable[[], object],
    ) -> None:
        self._disk = disk
        self._spool = spool
        self._roots = roots
        self._names = names
        self._kept = kept
        self._finished = finished
        self._canonical = Canonical()
        self._gathered: list[bytes] = []
        self._size = 0
        self._busy = False
        self._ended = False
        self._broken: Failure | None = None

    def write(self, data: bytes) -> Deferred[None] | None:
        """At once, but for the octets that fill a chunk."""
        if self._ended:
            return None
        data = self._canonical.feed(data)
        if self._broken is not None:
            return None
        self._gathered.append(data)
        self._size += len(data)
        if self._size < CHUNK:
            return None
        written: Deferred[None] = Deferred()
        self._busy = True
        self._run(self._spool.write, self._taken()).addBoth(self._written, written)
        return written

    def commit(self) -> Deferred[Sequence[Exception | None]]:
        """In one hop to a thread."""
        if self._ended or self._busy:
            raise RuntimeError("a deposit is committed once, and after its last write")
        self._ended = True
        self._gathered.append(self._canonical.end())
        if self._broken is not None:
            self._discard()
            return succeed(self._outcomes(self._broken))
        octets = self._canonical.octets
        received, seen = (None, False) if self._kept is None else (self._kept.received, self._kept.seen)
        given = field_for(self._kept.uidl) if self._kept is not None and self._kept.uidl else b""
        ending = b",S=%d,W=%d%b%b" % (octets, octets, given, b":2,S" if seen else b"")
        names = [self._names.name(received) + ending for _ in self._roots]
        done = self._run(self._spool.deliver, self._taken(), names, b"cur/" if seen else b"new/")
        return unstoppable(done.addBoth(self._outcomes))  # a cancel would stop one that has not begun

    def abort(self) -> None:
        """The file in tmp/ is removed by a thread, after the write that runs."""
        if not self._ended:
            self._ended = True
            self._gathered.clear()
            if not self._busy:
                self._discard()

    def _taken(self) -> bytes:
        data = b"".join(self._gathered)
        self._gathered.clear()
        self._size = 0
        return data

    def _run(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        begun = self._spool.begun  # a file is there, which must be finished or removed
        return self._disk.deposit(self._roots, function, *arguments, mandatory=begun, never_begun=self._spool.discard)

    def _written(self, result: object, written: Deferred[None]) -> None:
        """What went wrong is told by `commit`; for the disk's errors, `spool` knows whom they concern."""
        self._busy = False
        if isinstance(result, Failure):
            self._broken = result
        if self._ended:
            self._discard()
        if not written.called:
            written.callback(None)

    def _discard(self) -> None:
        if self._spool.begun:
            self._run(self._spool.discard).addErrback(lambda _: None)

    def _outcomes(self, found: Sequence[Exception | None] | Failure) -> Sequence[Exception | None]:
        self._finished()
        if isinstance(found, Failure):
            return [_error(found)] * len(self._roots)
        return found


def _error(failure: Failure) -> Exception:
    if failure.check(TemporaryFailure):
        return MaildropUnavailable("the server stops, and delivers no more")
    if failure.check(NoThreads):
        return MaildropUnavailable(str(failure.value))
    return failure.value if isinstance(failure.value, Exception) else RuntimeError(str(failure.value))
