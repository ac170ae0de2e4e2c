"""The networks of users' earlier logins, for all worker processes: `net.regulars` in the common memory."""

from __future__ import annotations

import struct
from typing import Final

from twisted.internet.interfaces import IReactorTime

from mailserver.net.common.memory import CommonMemory
from mailserver.net.common.table import KEY
from mailserver.net.regulars import KNOWN_NETWORKS, Regulars, Visitor

_TIME: Final = struct.Struct("=d")
_NETWORKS: Final = struct.Struct(f"{KEY}s" * KNOWN_NETWORKS)


class CommonRegulars(Regulars):
    """A record holds the time of a user's last login, and the hashes of networks, the latest last."""

    def __init__(self, memory: CommonMemory, clock: IReactorTime) -> None:
        super().__init__()
        self._clock = clock
        self._table = memory.regulars
        self._hash = memory.hash

    def __contains__(self, visitor: Visitor) -> bool:
        """Whether the user has logged in from this network, in whichever process.

        It takes no lock: if the record changes at this moment, the user waits with the strangers this once.
        """
        key = self._hash(visitor.secret)
        slot = self._table.find(key, self._table.bucket(key))
        return slot >= 0 and self._hash(*visitor[:2]) in self._networks(slot)

    def welcome(self, visitor: Visitor) -> None:
        """Remember a login. The user with the oldest one is forgotten for it, of those in the same bucket."""
        key, network = self._hash(visitor.secret), self._hash(*visitor[:2])
        bucket = self._table.bucket(key)
        slot = self._table.find(key, bucket)
        if slot < 0 or self._latest(slot) != network:
            self._table.hold(bucket)
            try:
                slot = self._add(key, network, bucket)
            finally:
                self._table.let_go(bucket)
        _TIME.pack_into(
            self._table.octets, self._table.record(slot), self._clock.seconds()
        )  # of whomever, if it has changed hands

    def _add(self, key: bytes, network: bytes, bucket: int) -> int:
        slot = self._table.find(key, bucket)
        if slot < 0:
            slot = self._table.claim(key, bucket, self._time)
        others = [each for each in self._networks(slot) if each != network]
        start = self._table.record(slot) + _TIME.size
        self._table.octets[start : start + _NETWORKS.size] = b"".join([*others, network][-KNOWN_NETWORKS:])
        return slot

    def _latest(self, slot: int) -> bytes:
        end = self._table.record(slot) + _TIME.size + _NETWORKS.size
        return self._table.octets[end - KEY : end]

    def _time(self, slot: int) -> float:
        time: float = _TIME.unpack_from(self._table.octets, self._table.record(slot))[0]
        return time

    def _networks(self, slot: int) -> tuple[bytes, ...]:
        return _NETWORKS.unpack_from(self._table.octets, self._table.record(slot) + _TIME.size)
