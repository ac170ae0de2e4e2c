"""The threads that verify what takes its time: passwd-files may share them, and each tells when it needs them no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed

from mailserver.asker import asker
from mailserver.errors import TemporaryFailure
from mailserver.pool import Pool

THREADS: Final = 2
"""Enough to keep a core or two busy with hashing and leave others to the mail; Argon2 may take 64 MiB in each."""

MAX_WAITING: Final = 100
"""At 100 ms a hash, the last in the queue waits five seconds; a client would give up on more."""

SHARE: Final = 20
"""Of the queue, for one address: its last login waits a second. More of them hear to come again, and nobody else does."""


class Hashing:
    """A pool that begins with the first `start` and ends with the last `stop`."""

    def __init__(self) -> None:
        self._pool: Pool | None = None
        self._starts = 0

    def start(self, reactor: Any) -> None:
        """Start the threads, if nobody has. Errors: NoThreads."""
        if self._pool is None:
            pool = Pool(reactor, THREADS, MAX_WAITING, "passwords", share=SHARE)
            pool.start()
            self._pool = pool
        self._starts += 1

    def stop(self) -> Deferred[None]:
        """One fewer needs them; the last ends them. What waits then fails with TemporaryFailure."""
        self._starts -= 1
        if self._starts or self._pool is None:
            return succeed(None)
        pool, self._pool = self._pool, None
        return pool.stop()

    def run(self, work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Hash for whoever asks. Errors: those of `work`; TemporaryFailure when too many wait."""
        return fail(TemporaryFailure()) if self._pool is None else self._pool.run(work, *arguments, key=asker())

    def read(self, file: object, work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Read a file: it is for everybody, and no crowd of logins keeps it waiting."""
        if self._pool is None:
            return fail(TemporaryFailure())
        return self._pool.run(work, *arguments, key=file, owed=True)
