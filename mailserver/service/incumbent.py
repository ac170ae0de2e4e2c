"""The `Server` of a process, which another one follows at a reload, and those before it that still have sessions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailserver.config.problems import Problems
from mailserver.config.settings import Config
from mailserver.service.binding import Gate
from mailserver.service.legacy import Legacy
from mailserver.service.listeners import DRAIN_SECONDS
from mailserver.service.remembered import hear, told
from mailserver.service.server import Server

log = Logger()


class Door(NamedTuple):
    """A bound port: its kind, the endpoint string that it was bound by, and what lets connections through."""

    kind: str
    endpoint: str
    gate: Gate


class Incumbent:
    """It opens the `doors` and the operators' `controls` for its server, which has started, and for each that follows it.

    `number` and `workers` are this worker process's number, and how many there are; 0: the server is one process.
    """

    alive = True

    def __init__(  # noqa: PLR0913, PLR0917 - what a process serves with
        self,
        server: Server,
        reactor: Any,
        doors: Sequence[Door],
        controls: Sequence[Gate],
        number: int = 0,
        workers: int = 0,
    ) -> None:
        self._server = server
        self._reactor = reactor
        self._doors = doors
        self._controls = controls
        self._place = number, workers
        self._next: tuple[Server, Sequence[IProtocolFactory]] | None = None
        self._earlier: list[Server] = []  # the oldest first
        self._retired: Deferred[None] = succeed(None)  # the latest of them
        self._stopped = False
        self._open(self._factories(server))

    def reload(self) -> Deferred[None]:
        """Read certificates and users again, by the settings that are in effect. Never fails."""
        return self._server.reload()

    async def renew(self, config: Config, problems: Problems) -> None:
        """Go on by other settings. Errors: ConfigError, with all problems; faults. Then nothing has changed."""
        await self.prepare(config, problems)
        await self.install()

    async def prepare(self, config: Config, problems: Problems) -> None:
        """Get all ready to `install` other settings. Errors: as those of `renew`."""
        await self.drop()
        server = self._server.successor(config, problems)
        await server.start()
        if self._stopped:
            await server.stop()
            return
        try:
            self._next = server, self._factories(server)
        except BaseException:
            await server.stop()
            raise

    async def install(self) -> None:
        """Let what is prepared serve from now on. The sessions that are open end where they began."""
        if self._next is None:
            return
        (server, factories), self._next = self._next, None
        before, self._server = self._server, server
        self._earlier.append(before)  # both are known to a stop that comes now
        await server.take_over()
        self._open(factories)
        self._retired = Deferred.fromCoroutine(self._retire(before, self._retired)).addBoth(self._over, before)

    async def _retire(self, server: Server, earlier: Deferred[None]) -> None:
        """Stop a server without sessions, after those before it: what it took over from them they may still use."""
        await server.empty()
        await earlier
        await server.stop()

    async def drop(self) -> None:
        """Forget what is prepared."""
        prepared, self._next = self._next, None
        if prepared is not None:
            await prepared[0].stop()

    def empty(self, seconds: float) -> Deferred[None]:
        """Fires when no session is left, or so many seconds have passed. The ports are closed by then, or another's."""
        ends = DeferredList([server.empty() for server in (self._server, *self._earlier)], consumeErrors=True)
        waiting: Deferred[Any] = ends.addTimeout(seconds, self._reactor)
        return waiting.addErrback(lambda failure: failure.trap(TookTooLong)).addCallback(lambda _: None)

    def bequeath(self, legacy: Legacy, _descriptors: list[int]) -> None:
        """Add what another process needs of this one."""
        legacy.tickets = self._server.tickets.passed()

    def remembered(self) -> Iterator[Mapping[str, Any]]:
        """What this one remembers of those who log in, for another process."""
        return told(self._server.memories)

    def hear(self, said: Mapping[str, Any]) -> None:
        """Remember some of what another process has remembered."""
        hear(self._server.memories, said)

    async def retire(self) -> None:
        """The ports are closed: let sessions end by themselves for some time, and then stop."""
        await self.empty(DRAIN_SECONDS)
        await self.stop()

    async def stop(self) -> None:
        """End idle sessions, wait some time for the others, and release everything."""
        self._stopped = True
        await self.drop()
        servers = (*self._earlier, self._server)
        await DeferredList([each.drain() for each in servers], consumeErrors=True)
        for each in servers:
            await each.stop()

    def _factories(self, server: Server) -> list[IProtocolFactory]:
        return [server.factory(door.kind, door.endpoint) for door in self._doors]

    def _open(self, factories: Sequence[IProtocolFactory]) -> None:
        for door, factory in zip(self._doors, factories, strict=True):
            door.gate.open(factory)
        for gate, factory in zip(self._controls, self._server.controls(*self._place), strict=False):
            gate.open(factory)

    def _over(self, outcome: Any, server: Server) -> None:
        self._earlier.remove(server)
        if isinstance(outcome, Failure):
            log.failure("the server of earlier settings could not be stopped", outcome, event="service.stop_fault")
