"""The parts of a process, in one list: started in their order, reloaded in it, and stopped the other way round."""

from __future__ import annotations

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailserver.config.problems import Problems
from mailserver.interfaces import IPart
from mailserver.service.closing import stop_all

log = Logger()


class Parts:
    """Each stands behind those that it needs. Of one that fails, the operator hears by the setting that it was made of."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._parts: list[tuple[IPart, str]] = []
        self._running: list[IPart] = []

    def add(self, part: object, setting: str) -> None:
        """Put it at the end of the list. What provides no `IPart`, such as a checker without threads, is left out."""
        if IPart.providedBy(part):
            self._parts.append((IPart(part), setting))

    async def start(self, reactor: object) -> None:
        """Start all, each when the one before it is ready or has failed.

        What the operator must mend is collected, and the others start all the same, so that he hears of all in one run.
        Errors: ConfigError, with what was collected; faults. Then nothing is left running.
        """
        try:
            for part, setting in self._parts:
                with self._problems.collect(setting):
                    await maybeDeferred(part.start, reactor)
                    self._running.append(part)
            self._problems.check()
        except BaseException:
            await self.stop()
            raise

    def reload(self) -> Deferred[None]:
        """Let those that run read again what may have changed.

        None waits for another, as one may hang on its file system. What fails is logged; the Deferred never does.
        """
        reloads = [maybeDeferred(part.reload).addErrback(_not_reloaded, part) for part in self._running]
        return DeferredList(reloads).addCallback(lambda _: None)

    async def stop(self) -> None:
        """Stop those that run, the last first, and wait for each. What fails is logged; idempotent."""
        running, self._running = self._running, []
        await stop_all([part.stop for part in running])


def _not_reloaded(failure: Failure, part: IPart) -> None:
    log.failure("{part} could not reload", failure, event="service.reload_failed", part=type(part).__name__)
