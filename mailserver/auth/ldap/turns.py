"""Turns at something of which there are only a few: a bounded queue, with a share of it for each asker."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable

from twisted.internet.defer import Deferred, succeed

from mailserver.errors import TemporaryFailure


class Turns:
    """Lets `count` in at a time; the others wait: `waiting` in all, and `share` of one key. Keys are served in turn.

    This is for questions that no thread waits for; `pool.Pool` is for those that one does.
    """

    def __init__(self, count: int, waiting: int, share: int) -> None:
        self._free = count
        self._waiting = waiting
        self._share = share
        self._queues: OrderedDict[Hashable, deque[Deferred[None]]] = OrderedDict()
        self._queued = 0
        self._giving = False

    def take(self, key: Hashable) -> Deferred[None]:
        """Fires when it is this one's turn, which `give_back` must end. Errors: TemporaryFailure, if too many wait.

        A cancel leaves the queue.
        """
        if self._free and not self._queues:
            self._free -= 1
            return succeed(None)
        own = self._queues.get(key, ())
        if len(own) >= self._share or not self._has_room(len(own)):
            raise TemporaryFailure
        turn: Deferred[None] = Deferred(lambda _: self._leave(key, turn))
        self._queues.setdefault(key, deque()).append(turn)
        self._queued += 1
        return turn

    def give_back(self) -> None:
        """The end of a turn. The next one may end before this returns, so this never calls itself: 200 would be too deep."""
        self._free += 1
        if self._giving:
            return
        self._giving = True
        while self._free and self._queues:
            self._free -= 1
            self._next().callback(None)
        self._giving = False

    def _next(self) -> Deferred[None]:
        """The first one of the first key, which is the last key then."""
        key = next(iter(self._queues))
        turn = self._queues[key][0]
        self._leave(key, turn)
        if key in self._queues:
            self._queues.move_to_end(key)
        return turn

    def _has_room(self, own: int) -> bool:
        """Whether one more may wait; a key with more in the queue than this one gives up its last."""
        if self._queued < self._waiting:
            return True
        key = max(self._queues, key=lambda each: len(self._queues[each]))
        if len(self._queues[key]) <= own + 1:
            return False
        last = self._queues[key][-1]
        self._leave(key, last)
        last.errback(TemporaryFailure())
        return True

    def _leave(self, key: Hashable, turn: Deferred[None]) -> None:
        queue = self._queues[key]
        queue.remove(turn)
        self._queued -= 1
        if not queue:
            del self._queues[key]
