"""The parts of a process, in one list: started and reloaded in order, and stopped in reverse order."""

from __future__ import annotations

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailserver.config.problems import Problems
from mailserver.interfaces import IPart
from mailserver.service.closing import stop_all

log = Logger()


class Parts:
    """The list; each part comes after those that it needs. A part's error names the setting that it was made from."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._parts: list[tuple[IPart, str]] = []
        self._running: list[IPart] = []
        self._borrowed: list[tuple[IPart, IPart]] = []

    def add(self, part: object, setting: str) -> None:
        """Add a part at the end. An object that does not provide `IPart`, such as a checker without threads, is left out."""
        if IPart.providedBy(part):
            self._parts.append((IPart(part), setting))

    def borrow(self, part: object, owners: object, setting: str) -> None:
        """Add a part that stands for the one of `owners`, which runs in the list of an earlier `Server`: it is not started.

        Until `take_over` it is not this list's to stop, either.
        """
        if IPart.providedBy(part):
            self._parts.append((IPart(part), setting))
            self._borrowed.append((IPart(part), IPart(owners)))

    def take_over(self, owner: Parts) -> None:
        """Own what was borrowed: the list that it is from neither reloads nor stops it any more."""
        borrowed, self._borrowed = self._borrowed, []
        for _, part in borrowed:
            owner._running = [each for each in owner._running if each is not part]

    async def start(self, reactor: object) -> None:
        """Start all parts, each when the one before it is ready or has failed.

        Errors that the operator must correct are collected, and the other parts still start, so that one run reports all.
        Errors: ConfigError, with the collected ones; faults. Then nothing is left running.
        """
        try:
            for part, setting in self._parts:
                with self._problems.collect(setting):
                    if not self._is_borrowed(part):
                        await maybeDeferred(part.start, reactor)
                    self._running.append(part)
            self._problems.check()
        except BaseException:
            await self.stop()
            raise

    def reload(self) -> Deferred[None]:
        """Reload the running parts.

        They do not wait for one another, since one may hang on its file system. Failures are logged; the Deferred never fails.
        """
        reloads = [maybeDeferred(part.reload).addErrback(_not_reloaded, part) for part in self._running]
        return DeferredList(reloads).addCallback(lambda _: None)

    async def stop(self) -> None:
        """Stop the running parts in reverse order, and wait for each. Failures are logged; idempotent."""
        running, self._running = self._running, []
        await stop_all([part.stop for part in running if not self._is_borrowed(part)])

    def _is_borrowed(self, part: IPart) -> bool:
        return any(each is part for each, _ in self._borrowed)


def _not_reloaded(failure: Failure, part: IPart) -> None:
    log.failure("{part} could not reload", failure, event="service.reload_failed", part=type(part).__name__)
