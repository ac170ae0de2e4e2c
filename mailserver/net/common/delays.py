"""The login delays over all worker processes: `net.delays` in the common memory."""

from __future__ import annotations

import struct
from typing import Final

from twisted.internet.interfaces import IReactorTime

from mailserver.net.common.memory import CommonMemory
from mailserver.net.delays import Delays, within

_OVER: Final = struct.Struct("=d")
"""When the delay is over."""


class CommonDelays(Delays):
    """The delays of all processes. Each ends by itself, also that of a login in whose middle its process was killed."""

    def __init__(self, clock: IReactorTime, seconds: int, memory: CommonMemory) -> None:
        super().__init__(clock, seconds)
        self._table = memory.delays
        self._hash = memory.hash

    def left(self, name: str) -> float:
        """As for one process, of a login in any."""
        key = self._hash(name)
        slot = self._table.find(key, self._table.bucket(key))
        return max(0.0, self._until(slot) - self._clock.seconds()) if slot >= 0 else 0.0

    def forget(self, name: str) -> None:
        """As for one process, for all."""
        super().forget(name)
        key = self._hash(name)
        bucket = self._table.bucket(key)
        self._table.hold(bucket)
        try:
            slot = self._table.find(key, bucket)
            if slot >= 0:
                self._table.free(slot)
        finally:
            self._table.let_go(bucket)

    def _begin(self, name: str, delay: int, now: float) -> float:
        key = self._hash(name)
        bucket = self._table.bucket(key)
        self._table.hold(bucket)
        try:
            slot = self._table.find(key, bucket)
            left = within(delay, self._until(slot) - now) if slot >= 0 else 0.0
            if left:
                return left
            if slot < 0:
                slot = self._table.claim(key, bucket, self._until)  # instead of the one that is over next
            self._remember(name, now + delay)  # for the name: the memory has only its hash
            _OVER.pack_into(self._table.octets, self._table.record(slot), now + delay)
            return 0
        finally:
            self._table.let_go(bucket)

    def _until(self, slot: int) -> float:
        over: float = _OVER.unpack_from(self._table.octets, self._table.record(slot))[0]
        return over
