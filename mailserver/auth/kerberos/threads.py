"""The threads in which libkrb5 is called: it locks files, and asks DNS, KDCs and plugins, for as long as these take."""

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
"""The part of the queue that one address may fill: cron may start all clients of a site behind it."""


class Krb5Pool:
    """Runs functions of a `Krb5` in threads of its own, with an end to how many may wait.

    A context of libkrb5 may be used by one thread alone: each makes its own when it first needs one, and it goes with the
    thread.
    """

    def __init__(self, threads: int, waiting: int) -> None:
        """One address has `SHARE` of what may wait."""
        self._threads = threads
        self._waiting = waiting
        self._local = threading.local()
        self._pool: Pool | None = None

    @property
    def running(self) -> bool:
        """Whether it was started."""
        return self._pool is not None

    def start(self, reactor: Any, check: Callable[[Krb5], object]) -> Deferred[None]:
        """Get ready, with all threads. If `check` fails, none is left.

        Errors: KerberosUnavailable, NoThreads, and those of `check`.
        """
        if self._pool is not None:
            return succeed(None)
        self._pool = Pool(reactor, self._threads, self._waiting, "kerberos", share=-(-self._waiting // SHARE))
        return (
            execute(self._pool.start).addCallback(lambda _: self.run(check)).addCallbacks(lambda _: None, self._failed)
        )

    def stop(self) -> Deferred[None]:
        """End the threads and their contexts; what waits fails with TemporaryFailure. Idempotent."""
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
