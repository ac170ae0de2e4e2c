"""What the answers to operators are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mailserver.config.settings import Config
from mailserver.service.certificates import Certificates
from mailserver.service.explaining.walk import Explainer
from mailserver.service.listeners import Listeners
from mailserver.service.measures import Measures
from mailserver.service.memories import Memories
from mailserver.service.record import Record
from mailserver.service.whole import Whole


@dataclass(frozen=True, slots=True)
class Facts:
    """The parts of one process that questions look at."""

    listeners: Listeners
    memories: Memories
    reactor: Any
    number: int
    """The worker's number; 0: the server is one process."""
    explainer: Explainer | None = None
    """None: it decides on no logins."""
    whole: Whole | None = None
    """The whole server; None: another program embeds it."""
    certificates: Certificates | None = None
    record: Record | None = None
    """What the status page shows beside what is now; None: no such page is served."""
    ports: Sequence[tuple[str, str]] = ()
    """The kind and the endpoint of each port, as the settings have them."""
    measures: Measures | None = None
    """What is measured; None: nothing is counted."""
    config: Config | None = None
    """The settings that are in effect."""
