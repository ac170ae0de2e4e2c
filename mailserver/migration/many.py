"""Many users' moves, so many at a time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, gatherResults

T = TypeVar("T")


async def each_in_turn(items: Iterable[T], together: int, move: Callable[[T], Coroutine[Any, Any, None]]) -> None:
    """Call `move` for each item, in their order, so many at a time.

    The first error that comes out of it ends all: no further item is begun, those under way are waited for, and it is raised.
    """
    turns = iter(items)
    errors: list[Exception] = []

    async def work() -> None:
        for item in turns:
            try:
                await move(item)
            except Exception as error:  # noqa: BLE001 - it is raised when all have ended
                errors.append(error)
            if errors:
                break

    await gatherResults([Deferred.fromCoroutine(work()) for _ in range(together)])
    if errors:
        raise errors[0]
