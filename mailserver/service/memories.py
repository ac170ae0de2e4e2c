"""What a process remembers of clients beyond their sessions: alone, or in common with the other worker processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from mailserver.config.settings import Retention
from mailserver.limits import Limits
from mailserver.net.common.delays import CommonDelays
from mailserver.net.common.memory import CommonMemory
from mailserver.net.common.places import CommonPlaces
from mailserver.net.common.throttle import CommonThrottle
from mailserver.net.delays import Delays
from mailserver.net.places import Places
from mailserver.net.throttle import Throttle
from mailserver.net.tracing import Tracing
from mailserver.service.heap import heap_trimmer


@dataclass(frozen=True, slots=True)
class Memories:
    """The failed attempts and usual networks, the connections, the login delays, and what operators follow."""

    throttle: Throttle
    places: Places
    delays: Delays
    tracing: Tracing = field(default_factory=Tracing)

    @classmethod
    def made(cls, limits: Limits, retention: Retention, reactor: Any, common: CommonMemory | None = None) -> Self:
        """Those that the settings ask for. They are in the `common` memory, if there is one."""
        seconds, tidy = retention.login_delay_seconds, heap_trimmer()
        first, most, per_address = limits.failure_delay_seconds, limits.connections, limits.connections_per_address
        if common is None:
            return cls(Throttle(reactor, first), Places(most, per_address, tidy), Delays(reactor, seconds))
        return cls(
            CommonThrottle(reactor, first, common),
            CommonPlaces(most, per_address, common, tidy),
            CommonDelays(reactor, seconds, common),
        )
