"""Threads for the names of other servers: Twisted would start them at the first name, when the system may have none left."""

from __future__ import annotations

from typing import Any, Final

from mailserver.threads import no_threads

LOOKUPS: Final = 2
"""Threads: a name takes milliseconds, and its answer is for a connection that serves many logins."""


def start_lookups(reactor: Any, whose: str) -> None:
    """Start the reactor's threads; idempotent. `whose` names are looked up, for the operator. Errors: NoThreads."""
    threads = reactor.getThreadPool()
    try:
        threads.adjustPoolsize(minthreads=max(threads.min, min(LOOKUPS, threads.max)))
    except (RuntimeError, MemoryError) as error:
        raise no_threads(LOOKUPS, f"the names of {whose}", error) from error
