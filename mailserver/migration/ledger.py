"""The state as the reactor sees it: what is added is written by a thread, together with all that was added meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailserver.migration.state import Moved, State


class Ledger:
    """Adds to `state`; `run` calls a function in a thread."""

    def __init__(self, state: State, run: Callable[..., Deferred[Any]]) -> None:
        self._state = state
        self._run = run
        self._added: list[Moved] = []
        self._waiting: list[Deferred[None]] = []
        self._writes = False
        self.failure: Failure | None = None
        """Why something was not written."""

    @property
    def known(self) -> Mapping[bytes, bytes]:
        """As `State.known`."""
        return self._state.known

    def add(self, moved: Moved) -> None:
        """Note it, soon."""
        self._added.append(moved)
        if not self._writes:
            self._write()

    def settled(self) -> Deferred[None]:
        """Fires when all is written, or could not be, which `failure` tells."""
        settled: Deferred[None] = Deferred()
        self._waiting.append(settled)
        self._settle()
        return settled

    def _write(self) -> None:
        added, self._added = self._added, []
        self._writes = True
        self._run(self._state.add, added).addBoth(self._written)

    def _written(self, result: object) -> None:
        self._writes = False
        if isinstance(result, Failure):
            self.failure = result
        elif self._added:
            self._write()
        self._settle()

    def _settle(self) -> None:
        if not self._writes:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)
