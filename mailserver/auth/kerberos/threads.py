"""The threads that call libkrb5: it locks files and waits for DNS, KDCs and plugins, without a time limit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.python.failure import Failure

from mailserver.asker import asker
from mailserver.auth.kerberos.krb5 import Krb5
from mailserver.auth.kerberos.libkrb5 import KerberosError, KerberosUnavailable
from mailserver.errors import TemporaryFailure
from mailserver.pool import Pool

SHARE: Final = 5
"""One address may fill one SHARE-th of the queue: cron may start all clients of a site behind one address."""


class Krb5Pool:
    """Runs functions of a `Krb5` in threads of its own, with a bounded queue.

    Only one thread may use a context of libkrb5, so each thread makes its own at its first call, and the context ends with
    the thread.
    """

    def __init__(self, threads: int, waiting: int) -> None:
        """Up to `waiting` calls queue up; one address has its `SHARE` of them."""
        self._threads = threads
        self._waiting = waiting
        self._local = threading.local()
        self._pool: Pool | None = None

    @property
    def running(self) -> bool:
        """Whether the pool was started."""
        return self._pool is not None

    def start(self, reactor: Any, check: Callable[[Krb5], object]) -> Deferred[None]:
        """Start all threads and run `check` in one. If it fails, no thread is left.

        Errors: KerberosUnavailable, NoThreads, and those of `check`.
        """
        if self._pool is not None:
            return succeed(None)
        self._pool = Pool(reactor, self._threads, self._waiting, "kerberos", share=-(-self._waiting // SHARE))
        return (
            execute(self._pool.start).addCallback(lambda _: self.run(check)).addCallbacks(lambda _: None, self._failed)
        )

    def stop(self) -> Deferred[None]:
        """End the threads and their contexts; calls that wait fail with TemporaryFailure. Idempotent."""
        pool, self._pool = self._pool, None
        return succeed(None) if pool is None else pool.stop()

    def run(self, work: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """The result of ``work(krb5, *args)`` from a thread. Errors: those of `work`; TemporaryFailure when too many wait."""
        return fail(TemporaryFailure()) if self._pool is None else self._pool.run(self._call, work, *args, key=asker())

    def _failed(self, failure: Failure) -> Failure:
        self.stop()
        if failure.check(KerberosError):
            raise KerberosUnavailable(f"libkrb5 does not work here: {failure.value}; see krb5.conf")
        return failure

    def _call(self, work: Callable[..., Any], *args: Any) -> Any:
        krb5 = getattr(self._local, "krb5", None)
        if krb5 is None:
            krb5 = self._local.krb5 = Krb5()
        return work(krb5, *args)
