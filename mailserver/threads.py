"""Threads for a pool: all of them start or none, and all end at a word in their inbox."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Final

from mailserver.errors import Unusable

JOIN_SECONDS: Final = 1.0
"""How long to wait for an idle thread to end, which takes no time; it should end before Python does."""


class NoThreads(Unusable):
    """The system gives this process no more threads."""


def no_threads(count: int, name: str, error: Exception) -> NoThreads:
    """The error, with the remedy for the operator."""
    return NoThreads(
        f"cannot start {count} threads for {name} ({error}): the limit of this user or service is reached; "
        "raise ulimit -u or systemd's TasksMax=, or see that there is memory"
    )


def begin(
    count: int,
    name: str,
    serve: Callable[[Any], object],
    inbox: SimpleQueue[Any],
    made: Callable[..., threading.Thread] = threading.Thread,
) -> list[threading.Thread]:
    """Start so many threads that serve an inbox until they find None there. Errors: NoThreads, and then no thread is left."""
    alive: list[threading.Thread] = []
    for number in range(count):
        # A daemon thread, since the process must end even where a system call hangs forever.
        thread = made(target=serve, args=(inbox,), name=f"{name}-{number}", daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            dismiss(inbox, alive)
            raise no_threads(count, name, error) from error
        alive.append(thread)
    return alive


def dismiss(inbox: SimpleQueue[Any], threads: Sequence[threading.Thread], *, join: bool = True) -> None:
    """Let the threads of an inbox end, and wait for it, unless one of them hangs."""
    for _ in threads:
        inbox.put(None)
    if join:
        for each in threads:
            each.join(JOIN_SECONDS)
