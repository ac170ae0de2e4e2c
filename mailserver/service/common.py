"""The memory of all worker processes, as their parent has it: it hands it on, and never looks into it."""

from __future__ import annotations

import os
import secrets
from typing import Any, Self

from twisted.logger import Logger

from mailserver.net.common.memory import make, size_of
from mailserver.service.legacy import CommonPassed, Legacy

log = Logger()


def forget(passed: CommonPassed | None) -> None:
    """Go on without another server's memory."""
    if passed is not None:
        os.close(passed.descriptor)
    log.warn(
        "failed logins and delays are forgotten: there are more or fewer processes now, or their memory has another form",
        event="restart.forgotten",
    )


class Common:
    """A memory for `count` worker processes, and as many of another server, whose place this one takes or which takes this one's."""

    def __init__(self, count: int, connections: int, key: str, half: int = 0, descriptor: int | None = None) -> None:
        self.descriptor = descriptor
        """None: it is not open, or no more."""
        self._count = count
        self._connections = connections  # by which it was made, whatever the limit is after a reload
        self._key = key
        self._half = half

    @classmethod
    def following(cls, legacy: Legacy | None, count: int, connections: int) -> Self:
        """Another server's memory, if it fits; else one of its own."""
        passed = legacy.common if legacy else None
        if passed is not None:
            whole = size_of(2 * passed.count, passed.connections)
            if passed.count == count and os.fstat(passed.descriptor).st_size == whole:
                return cls(count, passed.connections, passed.key, 1 - passed.half, passed.descriptor)
        if legacy is not None:
            forget(passed)
        return cls(count, connections, secrets.token_hex(32))

    def open(self) -> None:
        """Make it, unless it is another server's."""
        if self.descriptor is None:
            self.descriptor = make(2 * self._count, self._connections)

    def close(self) -> None:
        """Close it."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def passed(self, descriptor: int) -> CommonPassed:
        """For another server, which inherits it as this descriptor."""
        return CommonPassed(descriptor, self._key, self._count, self._connections, self._half)

    def spec(self, number: int) -> dict[str, Any]:
        """For the worker of a number, from 1 on."""
        own = self._half * self._count + number - 1
        return {
            "key": self._key,
            "number": own,
            "other": (1 - self._half) * self._count + number - 1,
            "processes": 2 * self._count,
            "connections": self._connections,
        }
