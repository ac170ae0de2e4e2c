"""What the answers to operators are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mailserver.service.explaining.walk import Explainer
from mailserver.service.listeners import Listeners
from mailserver.service.memories import Memories
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
