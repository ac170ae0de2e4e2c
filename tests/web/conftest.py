"""What the pages have logged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.logger import globalLogPublisher


class Logs:
    """The events of a test; what it does not take may be no fault."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def take(self, name: str) -> list[dict[str, Any]]:
        """The events of this name so far."""
        return [each for each in self.events if each.get("event") == name]


@pytest.fixture
def logs() -> Iterator[Logs]:
    found = Logs()
    globalLogPublisher.addObserver(found.events.append)
    yield found
    globalLogPublisher.removeObserver(found.events.append)
