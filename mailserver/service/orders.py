"""What a worker process does at its parent's orders, and what it asks its parent."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailserver.config.problems import Problems
from mailserver.config.reading import revive
from mailserver.errors import Unusable
from mailserver.service.channel import (
    ANSWER,
    ASKED,
    BURY,
    DROP,
    INSTALL,
    PREPARE,
    PREPARED,
    REFUSED,
    RELOADED,
    RETIRE,
    TELL,
    say,
)
from mailserver.service.incumbent import Incumbent
from mailserver.service.whole import RELOAD, RESTART, Outcome, bounded

log = Logger()


class Parent:
    """The whole server, for questions that a worker answers: it asks its parent."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._waiting: dict[int, Deferred[Outcome]] = {}

    def reload(self) -> Deferred[Outcome]:
        """Ask for a reload."""
        return self._ask(RELOAD)

    def restart(self) -> Deferred[Outcome]:
        """Ask for a restart."""
        return self._ask(RESTART)

    def answered(self, number: int, outcome: Outcome) -> None:
        """The parent has answered."""
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            waiting.callback(outcome)

    def _ask(self, what: str) -> Deferred[Outcome]:
        number = next(self._numbers)
        waiting = self._waiting[number] = Deferred[Outcome]()
        say(ASKED, what=what, number=number)
        return waiting


class Orders:
    """Obeys, one order at a time: the parent waits for the end of each that has one."""

    def __init__(
        self,
        incumbent: Incumbent,
        parent: Parent,
        retire: Callable[[], Coroutine[Any, Any, None]],
        bury: Callable[[], object],
        tell: Callable[[Any], object],
    ) -> None:
        self._incumbent = incumbent
        self._parent = parent
        self._retire = retire
        self._bury = bury
        self._tell = tell

    def obey(self, order: Mapping[str, Any]) -> None:
        """Do as the parent wants."""
        name = order["order"]
        if name == ANSWER:
            self._parent.answered(order["number"], Outcome.read(order["outcome"]))
        elif name == PREPARE:
            Deferred.fromCoroutine(self._prepare(order)).addCallbacks(_prepared, _refused)
        elif name == INSTALL:
            Deferred.fromCoroutine(self._incumbent.install()).addErrback(_faulty).addCallback(lambda _: say(RELOADED))
        elif name == RETIRE:
            Deferred.fromCoroutine(self._retire()).addErrback(_faulty)
        elif name == BURY:
            self._bury()
        elif name == TELL:
            self._tell(order["troubles"])
        elif name == DROP:
            Deferred.fromCoroutine(self._incumbent.drop()).addErrback(_faulty)

    async def _prepare(self, order: Mapping[str, Any]) -> None:
        config = revive(order["config"], sound=not order["found"])
        await self._incumbent.prepare(config, Problems.adopted(config.places, order["found"], order["unsound"]))


def _prepared(_: None) -> None:
    say(PREPARED)


def _refused(failure: Failure) -> None:
    error = failure.value
    if isinstance(error, Unusable):
        say(REFUSED, problems=bounded(error.problems))
    else:
        _faulty(failure)
        say(REFUSED, problems=["a fault of the server, which its log tells; the settings stay as they were"])


def _faulty(failure: Failure) -> None:
    log.failure("fault in a reload", failure, event="service.reload_fault")
