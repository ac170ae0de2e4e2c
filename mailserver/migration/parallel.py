"""Blocking work for many users, of which some are at work at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")

WINDOW: Final = 4
"""Items for each thread that are taken before they are needed: a user who takes long lets the next ones go on."""


def in_parallel(work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """The results of `work` in the order of the items; an error comes out in its item's turn, and ends it.

    The threads are daemons: whoever is interrupted ends at once, and not when the last server has answered.
    """
    inbox: SimpleQueue[tuple[Future[R], T] | None] = SimpleQueue()
    for number in range(threads):
        threading.Thread(target=_serve, args=(work, inbox), name=f"in parallel {number}", daemon=True).start()
    pending: deque[Future[R]] = deque()
    try:
        for item in items:
            pending.append(Future())
            inbox.put((pending[-1], item))
            if len(pending) >= threads * WINDOW:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
        for _ in range(threads):
            inbox.put(None)


def _serve(work: Callable[[T], R], inbox: SimpleQueue[tuple[Future[R], T] | None]) -> None:
    while (job := inbox.get()) is not None:
        future, item = job
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(work(item))
        except BaseException as error:  # noqa: BLE001 - whoever waits for the result gets it
            future.set_exception(error)
