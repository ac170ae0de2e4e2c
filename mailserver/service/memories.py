"""What a process remembers of clients beyond their sessions: alone, or in common with the other worker processes.

It outlives a reload: the next `Server` goes on with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from mailserver.config.settings import Config
from mailserver.counts import Counts
from mailserver.net.common.delays import CommonDelays
from mailserver.net.common.memory import CommonMemory
from mailserver.net.common.places import CommonPlaces
from mailserver.net.common.throttle import CommonThrottle
from mailserver.net.delays import Delays
from mailserver.net.lmtp_listener import lmtp_places
from mailserver.net.places import Places
from mailserver.net.story import Fetches
from mailserver.net.throttle import Throttle
from mailserver.net.tracing import Tracing
from mailserver.service.heap import heap_trimmer
from mailserver.service.record import Record


@dataclass(frozen=True, slots=True)
class Memories:
    """The failed attempts and usual networks, the connections, the login delays, what was fetched, and what operators follow."""

    throttle: Throttle
    places: Places
    delays: Delays
    mail_places: Places
    """The connections of those who bring mail."""
    fetches: Fetches
    tracing: Tracing = field(default_factory=Tracing)
    record: Record = field(default_factory=Record)
    """What the status page shows of the last hour and day: of this process alone, so that the others' are asked for."""
    counts: Counts = field(default_factory=Counts)
    """What is counted, where there are pages that show it."""

    @classmethod
    def made(cls, config: Config, reactor: Any, common: CommonMemory | None = None) -> Self:
        """Those that the settings ask for. They are in the `common` memory, if there is one."""
        limits, seconds, tidy = config.limits, config.retention.login_delay_seconds, heap_trimmer()
        others = lmtp_places(config.delivery), Fetches()
        first, most, per_address = limits.failure_delay_seconds, limits.connections, limits.connections_per_address
        if common is None:
            return cls(Throttle(reactor, first), Places(most, per_address, tidy), Delays(reactor, seconds), *others)
        return cls(
            CommonThrottle(reactor, first, common),
            CommonPlaces(most, per_address, common, tidy),
            CommonDelays(reactor, seconds, common),
            *others,
        )

    def told(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take notice of failures of another process, as `tidings` has them."""
        self.record.told(rows)
        self.counts.told((level, name) for level, name in filter(None, (row["counted"] for row in rows)))

    def adjust(self, config: Config) -> None:
        """Go on by other settings."""
        limits, most = config.limits, config.delivery.connections
        self.throttle.adjust(limits.failure_delay_seconds)
        self.places.adjust(limits.connections, limits.connections_per_address)
        self.delays.adjust(config.retention.login_delay_seconds)
        self.mail_places.adjust(most, most)
