"""The connection limits over all worker processes: `net.places`, with the counts in the common memory.

Each process counts its own connections, in a cell of its own: those of one that was killed are there until its successor starts.
"""

from __future__ import annotations

from collections.abc import Callable

from mailserver.net.common.memory import CommonMemory
from mailserver.net.places import Places
from mailserver.net.throttle import network


class CommonPlaces(Places):
    """The connections of one of several processes, which share the limits. What it knows of itself is as for one process."""

    def __init__(
        self, connections: int, per_address: int, memory: CommonMemory, tidy: Callable[[], object] = lambda: None
    ) -> None:
        super().__init__(connections, per_address, tidy)
        self._memory = memory
        self._table = memory.places
        self._hash = memory.hash
        if memory.inherits:
            memory.set_taken(0)
            for slot in self._table.counted():
                self._table.set_own(slot, 0)

    def take(self, peer: str | None) -> str:
        """Take a place for a client, if there is one with those that the other processes have taken.

        An address never has more than its limit. All together may have as many more as processes accept in the same microsecond.
        """
        if self.all_taken >= self.most:
            return "limits.connections"
        if peer is None:
            reason = super().take(peer)
            self._memory.set_taken(self.taken)
            return reason
        key = self._hash(network(peer))
        bucket = self._table.bucket(key)
        self._table.hold(bucket)
        try:
            return self._take(peer, key, bucket)
        finally:
            self._table.let_go(bucket)

    def _take(self, peer: str, key: bytes, bucket: int) -> str:
        slot = self._table.find(key, bucket)
        if slot < 0:
            slot = self._table.claim(key, bucket, _nothing)
        elif self._table.count(slot) >= self.per_address:
            return "limits.connections_per_address"
        reason = super().take(peer)
        self._memory.set_taken(self.taken)
        if slot >= 0:  # else its bucket is full of others' addresses: it counts for this process alone
            self._table.set_own(slot, self.by_address[network(peer)])
        return reason

    @property
    def all_taken(self) -> int:
        """As for one process, of all."""
        return self._memory.taken

    def connections_of(self, address: str) -> int:
        """As for one process, of all."""
        key = self._hash(address)
        slot = self._table.find(key, self._table.bucket(key))
        return self._table.count(slot) if slot >= 0 else super().connections_of(address)

    def give_back(self, peer: str | None) -> None:
        """Release a place. It takes no lock: the cell is this process's own, and keeps its slot from others as long as it counts."""
        super().give_back(peer)
        self._memory.set_taken(self.taken)
        if peer is None:
            return
        address = network(peer)
        key = self._hash(address)
        slot = self._table.find(key, self._table.bucket(key))
        if slot >= 0 and self._table.own(slot):
            self._table.set_own(slot, self.by_address.get(address, 0))


def _nothing(_slot: int) -> int:
    """Which address without a connection makes room: any."""
    return 0
