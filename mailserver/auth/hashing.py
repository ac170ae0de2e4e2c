"""The threads that verify slow password hashes. Several passwd-files may share them: the last one to stop ends them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed

from mailserver.asker import asker
from mailserver.errors import TemporaryFailure
from mailserver.pool import Pool

THREADS: Final = 2
"""Enough to keep a core or two busy with hashes and leave the others to the mail; Argon2 may take 64 MiB in each thread."""

MAX_WAITING: Final = 100
"""At 100 ms a hash, the last login in the queue waits five seconds; clients would not wait much longer."""

SHARE: Final = 20
"""Logins of one address that may wait: its last one waits a second. Further ones are refused with TemporaryFailure, and
other addresses are not affected.
"""


class Hashing:
    """A pool that begins with the first `start` and ends with the last `stop`."""

    def __init__(self) -> None:
        self._pool: Pool | None = None
        self._starts = 0

    def start(self, reactor: Any) -> None:
        """Start the threads, unless they run. Errors: NoThreads."""
        if self._pool is None:
            pool = Pool(reactor, THREADS, MAX_WAITING, "passwords", share=SHARE)
            pool.start()
            self._pool = pool
        self._starts += 1

    def stop(self) -> Deferred[None]:
        """Undo one `start`; the last `stop` ends the threads, and work that still waits fails with TemporaryFailure."""
        self._starts -= 1
        if self._starts or self._pool is None:
            return succeed(None)
        pool, self._pool = self._pool, None
        return pool.stop()

    def run(self, work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Hash, with a share of the queue for each `asker`. Errors: those of `work`; TemporaryFailure when too many wait."""
        return fail(TemporaryFailure()) if self._pool is None else self._pool.run(work, *arguments, key=asker())

    def read(self, file: object, work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Read a file: all logins need it, so a full queue of hashes does not keep it out."""
        if self._pool is None:
            return fail(TemporaryFailure())
        return self._pool.run(work, *arguments, key=file, mandatory=True)
