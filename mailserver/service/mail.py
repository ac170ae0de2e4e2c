"""The service: binds its ports, becomes the user that serves, and serves alone or by worker processes.

    service = MailService(Config(...), reactor)
    service.startService()
    service.serving.addCallback(...)

It does not use StreamServerEndpointService, which only logs a failed bind. It accepts connections only after all ports are bound,
root is given up and all files are read; if one of these fails, nothing is left listening.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger, LogLevel

from mailserver.config.cores import cores
from mailserver.config.kinds import KINDS
from mailserver.config.problems import Problems
from mailserver.config.reading import Misread
from mailserver.config.settings import Config
from mailserver.errors import ConfigError
from mailserver.service.binding import Socket, bind
from mailserver.service.closing import close_ports
from mailserver.service.common import forget
from mailserver.service.control import SETTING, bind_control
from mailserver.service.incumbent import Door, Incumbent
from mailserver.service.legacy import FIRST, Legacy
from mailserver.service.passing import Journal
from mailserver.service.privileges import become
from mailserver.service.server import Server
from mailserver.service.whole import Whole
from mailserver.service.workers import Workers
from mailserver.tls.tickets import MemoryTickets

log = Logger()


class MailService(Service):
    """The whole server. With more than one worker it starts processes, and with `user` it changes this process's user.

    `serving` fires with the ports once connections are accepted; it fails with ConfigError, whose text says what to do. Where
    `config` is only what could be used of a `misread` file, it finds out what else is wrong, and fails.
    """

    serving: Deferred[Sequence[IListeningPort]]

    def __init__(  # noqa: PLR0913 - what a server is given, the last by name
        self,
        config: Config,
        reactor: Any,
        log_level: Any = LogLevel.debug,
        misread: Misread | None = None,
        journal: Journal | None = None,
        *,
        whole: Whole | None = None,
        legacy: Legacy | None = None,
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._problems = Problems(config.places) if misread is None else Problems.after(misread)
        self._made: Server | None = None
        self._preparing: Deferred[None] | None = None
        self._log_level = log_level  # worker processes do not send events below it
        self._journal = journal  # takes their finished lines; without it they send events
        self._whole = whole  # whom operators ask for a reload and a restart
        self._legacy = legacy  # of another process, whose place this one takes
        self._was_root = legacy is not None and legacy.was_root
        self._outdated = False
        self._sockets: list[Socket] = []
        self._controls: list[Socket] = []  # that of all processes, then each worker's own
        self._server: Incumbent | Workers | None = None
        self._stopping = DeferredLock()

    def privilegedStartService(self) -> None:
        """Import and bind early: twistd calls this before it gives up root for its own --uid. Elsewhere `startService` does."""
        self._preparing = Deferred.fromCoroutine(self._prepare())

    def startService(self) -> None:
        """Start; `serving` has the outcome."""
        Service.startService(self)
        self.serving = Deferred.fromCoroutine(self._start())

    def stopService(self) -> Deferred[None]:
        """Accept no more connections, drain, and release everything."""
        Service.stopService(self)
        self.serving.cancel()
        return Deferred.fromCoroutine(self._stop())

    @property
    def alive(self) -> bool:
        """Whether this process or a worker process serves."""
        return self._server is not None and self._server.alive

    def reload(self) -> Deferred[None]:
        """At SIGHUP: read certificates and users again. Fires when that is done; a running start does it at its end."""
        if self._server is None:
            self._outdated = True
            return succeed(None)
        return self._server.reload()

    @property
    def config(self) -> Config:
        """The settings that are in effect."""
        return self._config

    async def renew(self, config: Config, problems: Problems) -> None:
        """Go on by other settings, with the ports, the processes and the user of the start, which `config` has as they are.

        Sessions that are open end by the settings that they began with. Errors: ConfigError, with all problems, among them those
        that are known already; faults. Then nothing has changed.
        """
        if self._server is None:
            raise ConfigError(["the server does not serve yet, or it stops: try again"])
        await self._server.renew(config, problems)
        self._config = config

    # Another process takes the place of this one.

    def leaves(self) -> tuple[Legacy, list[int]]:
        """What this process leaves to another one, and the descriptors that it inherits, from `legacy.FIRST` on."""
        sockets = [*self._sockets, *self._controls]
        endpoints = [each.endpoint.removeprefix("haproxy:") for each in sockets]
        passed = [
            each.passed(endpoint, at) for at, (each, endpoint) in enumerate(zip(sockets, endpoints, strict=True), FIRST)
        ]
        legacy = Legacy(passed, was_root=self._was_root)
        descriptors = [each.port.fileno() for each in sockets]
        if self._server is not None:
            self._server.bequeath(legacy, descriptors)
        return legacy, descriptors

    def taken(self) -> list[int]:
        """The descriptors that this process has taken of the other one's."""
        return self._legacy.taken if self._legacy else []

    def own(self) -> None:
        """Have the ports alone, since the other process has left them, or is gone."""
        for each in (*self._sockets, *self._controls):
            each.own()

    def bury(self) -> None:
        """The other process is gone, perhaps killed."""
        if isinstance(self._server, Workers):
            self._server.bury()

    def remembered(self) -> Iterator[Mapping[str, Any]]:
        """What this process remembers of those who log in, for another one; with workers it is in the memory that goes along."""
        return self._server.remembered() if isinstance(self._server, Incumbent) else iter(())

    def hear(self, said: Mapping[str, Any]) -> None:
        """Remember some of what the other process has remembered."""
        if isinstance(self._server, Incumbent):
            self._server.hear(said)

    def leave(self, taken: Container[int]) -> None:
        """Leave the sockets that another process has `taken`: their end is no more that of this one's ports."""
        for at, each in enumerate((*self._sockets, *self._controls), FIRST):
            if at in taken:
                each.leave()

    async def retire(self) -> None:
        """Accept no more, and go on until the last session has ended by itself, or for DRAIN_SECONDS; then end as at a stop."""
        sockets = [*self._sockets, *self._controls]
        self._sockets, self._controls = [], []
        await close_ports(each.port for each in sockets)
        if self._server is not None:
            await self._server.retire()

    async def _start(self) -> Sequence[IListeningPort]:
        try:
            await (self._preparing or self._prepare())
            await (self._employ() if self._made is None else self._serve(self._made))
        except BaseException:
            await self._stop()
            raise
        if self._outdated:
            self.reload()
        return [each.port for each in self._sockets]

    async def _prepare(self) -> None:
        """Import, and then bind: the slow step comes first, so that no client waits for it."""
        if self._config.workers == 1:
            if self._legacy is not None and self._legacy.common is not None:
                forget(self._legacy.common)
            tickets = MemoryTickets.adopted(*self._legacy.tickets) if self._legacy else None
            self._made = Server(
                self._config, self._reactor, self._problems, tickets, whole=self._whole, was_root=self._was_root
            )
        with self._problems.collect("listen"):
            kinds = [kind for kind in KINDS if self._problems.sound(f"listen.{kind}")]
            self._sockets = await bind(self._config.listen, self._reactor, kinds, self._legacy)
        with self._problems.collect(SETTING):
            workers = 0 if self._config.workers == 1 else self._config.workers or cores()
            self._controls = await bind_control(self._config, self._reactor, workers, self._legacy)
        if self._problems and self._made is None:
            # The start will fail: find also the problems that a worker process would find.
            self._made = Server(self._config, self._reactor, self._problems)

    async def _serve(self, server: Server) -> None:
        if self._problems.sound("user"):
            with self._problems.collect("user"):
                self._was_root |= os.geteuid() == 0 and bool(self._config.user)
                become(self._config.user)
        await server.start()
        doors = [Door(each.kind, each.endpoint, each.gate) for each in self._sockets]
        self._server = Incumbent(server, self._reactor, doors, [each.gate for each in self._controls])
        for each in self._sockets:
            each.accept()
            _log_listening(each)
        for each in self._controls:
            each.accept()

    async def _employ(self) -> None:
        """Start the worker processes, which become `user`; this process accepts nothing and keeps its user."""
        sockets = [(each.kind, each.endpoint, each.port) for each in self._sockets]
        controls = [each.port for each in self._controls]
        self._server = workers = Workers(
            self._config,
            self._reactor,
            sockets,
            self._log_level,
            self._journal,
            controls=controls,
            whole=self._whole,
            legacy=self._legacy,
        )
        await workers.start()
        if self._legacy is not None:
            await workers.complete()
        for each in self._sockets:
            _log_listening(each)

    async def _stop(self) -> None:
        async with self._stopping:  # a cancelled start stops as well, and stopService must wait for it
            sockets, self._sockets, self._controls = [*self._sockets, *self._controls], [], []
            server, self._server = self._server, None
            await close_ports(each.port for each in sockets if not each.pages)
            if server is not None:
                await server.stop()
            await close_ports(each.port for each in sockets if each.pages)


def _log_listening(bound: Socket) -> None:
    log.info("{kind} is served on {address}", event="service.listening", kind=bound.kind, address=bound.address)
