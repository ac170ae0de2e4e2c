"""The service: it binds its ports, becomes the user that serves, and serves alone or through workers.

    service = MailService(Config(...), reactor)
    service.startService()
    service.serving.addCallback(...)

It listens itself rather than through StreamServerEndpointService, which only logs a failed bind. Nothing is accepted before
all is bound, root is given up and everything was read; where one of these fails, nothing is left listening.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocol, IProtocolFactory
from twisted.internet.protocol import ServerFactory
from twisted.internet.tcp import Port
from twisted.logger import Logger, LogLevel

from mailserver.config.kinds import KINDS
from mailserver.config.problems import Problems
from mailserver.config.settings import Config
from mailserver.errors import ConfigError
from mailserver.service.closing import close_ports
from mailserver.service.endpoints import unfit
from mailserver.service.privileges import become
from mailserver.service.server import Server
from mailserver.service.workers import Workers

log = Logger()

BACKLOG: Final = 1024
"""Connections that may wait to be accepted, unless an endpoint says otherwise: cron starts its clients by the hundred in one
second, and Twisted's 50 would make the others wait for a second SYN."""

_REMEDIES: Final = {
    errno.EADDRINUSE: "it is in use: stop who has it (ss -ltnp shows him), or choose another",
    errno.EACCES: "that needs root: start as root with --user, or choose a port above 1023, as in tcp:10110",
    errno.EADDRNOTAVAIL: "this machine has no such address: see ip address",
}


class Gate(ServerFactory):
    """Holds a port's place until there is something to serve with."""

    noisy = False
    inner: IProtocolFactory | None = None

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def logPrefix(self) -> str:
        """For Twisted's own log lines."""
        return self._kind

    def open(self, inner: IProtocolFactory) -> None:
        """From now on, connections are `inner`'s."""
        self.inner = inner
        inner.doStart()

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:  # type: ignore[override]  # IProtocolFactory's types
        """As `inner` does; nothing before there is one."""
        return None if self.inner is None else self.inner.buildProtocol(addr)

    def stopFactory(self) -> None:
        """Stop `inner` with us."""
        if self.inner is not None:
            self.inner.doStop()


@dataclass(frozen=True, slots=True)
class Socket:
    """A bound port that accepts nothing yet."""

    kind: str
    endpoint: str
    port: Port
    gate: Gate


class MailService(Service):
    """The whole server. With more than one worker it starts processes, and with `user` it changes who this process is.

    `serving` fires with the ports once connections are accepted; it fails with ConfigError, whose text says what to do. With
    `problems` that are known before, it finds out what else is wrong, and fails.
    """

    serving: Deferred[Sequence[IListeningPort]]

    def __init__(
        self, config: Config, reactor: Any, log_level: Any = LogLevel.debug, problems: Problems | None = None
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._problems = Problems(config.places) if problems is None else problems
        self._made: Server | None = None
        self._preparing: Deferred[None] | None = None
        self._log_level = log_level  # below it, workers keep for themselves what they log
        self._outdated = False
        self._sockets: list[Socket] = []
        self._server: Server | Workers | None = None
        self._stopping = DeferredLock()

    def privilegedStartService(self) -> None:
        """Import and bind early: twistd calls this before it gives up root for its own --uid. Elsewhere `startService` does."""
        self._preparing = Deferred.fromCoroutine(self._prepare())

    def startService(self) -> None:
        """Start; `serving` tells the outcome."""
        Service.startService(self)
        self.serving = Deferred.fromCoroutine(self._start())

    def stopService(self) -> Deferred[None]:
        """Take no more connections, drain, and let go of everything."""
        Service.stopService(self)
        self.serving.cancel()
        return Deferred.fromCoroutine(self._stop())

    @property
    def alive(self) -> bool:
        """Whether anybody serves: this process, or one of the workers."""
        return self._server.alive if isinstance(self._server, Workers) else self._server is not None

    def reload(self) -> Deferred[None]:
        """SIGHUP: read certificates and users again. Fires when it is done; a start that is under way does it at its end."""
        if self._server is None:
            self._outdated = True
            return succeed(None)
        return self._server.reload()

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
        """Import, and then bind: what takes time comes first, as no client is to wait for it."""
        if self._config.workers == 1:
            self._made = Server(self._config, self._reactor, self._problems)
        with self._problems.told("listen"):
            kinds = [kind for kind in KINDS if self._problems.sound(f"listen.{kind}")]
            self._sockets = await bind(self._config, self._reactor, kinds)
        if self._problems and self._made is None:  # it is to end: so it finds out itself what a worker would
            self._made = Server(self._config, self._reactor, self._problems)

    async def _serve(self, server: Server) -> None:
        if self._problems.sound("user"):
            with self._problems.told("user"):
                become(self._config.user)
        await server.start()
        self._server = server
        for each in self._sockets:
            each.gate.open(server.factory(each.kind, each.endpoint))
            self._reactor.addReader(each.port)
            self._tell(each)

    async def _employ(self) -> None:
        """This process accepts nothing, and stays who it is: the workers become `user` each."""
        for each in self._sockets:
            if isinstance(each.port.getHost(), UNIXAddress):
                raise ConfigError([f"listen.{each.kind}: a Unix socket is served by one process: set workers = 1"])
        sockets = [(each.kind, each.endpoint, each.port) for each in self._sockets]
        self._server = workers = Workers(self._config, self._reactor, sockets, self._log_level)
        await workers.start()
        for each in self._sockets:
            self._tell(each)

    def _tell(self, bound: Socket) -> None:
        address = spoken(bound.port.getHost())
        log.info("{kind} is served on {address}", event="service.listening", kind=bound.kind, address=address)

    async def _stop(self) -> None:
        async with self._stopping:  # a start that is cancelled stops too, and stopService is to wait for it
            sockets, self._sockets = self._sockets, []
            server, self._server = self._server, None
            await close_ports(each.port for each in sockets)
            if server is not None:
                await server.stop()


async def bind(config: Config, reactor: Any, kinds: Iterable[str] = KINDS) -> list[Socket]:
    """Bind all the ports, and accept nothing yet. Errors: ConfigError with all of them, and then none is bound."""
    bound: list[Socket] = []
    problems: list[str] = []
    for kind in kinds:
        for endpoint in config.listen.of(kind):
            try:
                bound.append(await _bind_one(kind, endpoint, reactor))
            except CannotListenError as error:
                problems.append(f'listen.{kind}: cannot listen on "{endpoint}": {_remedy(error.socketError)}')
            except OSError as error:  # a Unix socket's lock file
                problems.append(f'listen.{kind}: cannot listen on "{endpoint}": {error.strerror}')
            except (ValueError, TypeError, LookupError, OverflowError) as error:  # what Twisted's endpoints raise
                problems.append(f"listen.{kind}: {unfit(endpoint, error)}")
    if problems:
        await close_ports(each.port for each in bound)
        raise ConfigError(problems)
    return bound


async def _bind_one(kind: str, endpoint: str, reactor: Any) -> Socket:
    gate = Gate(kind)
    direct = endpoint.removeprefix("haproxy:")
    parts = re.split(r"(?<!\\):", direct)  # a fourth is the backlog, with or without its name
    queued = parts[0] in ("tcp", "tcp6", "unix") and len(parts) < 4 and ":backlog=" not in direct  # noqa: PLR2004
    try:
        server = serverFromString(reactor, f"{direct}:backlog={BACKLOG}" if queued else direct)
    except LookupError:
        if not direct.startswith("systemd:"):
            raise
        raise ValueError("systemd passed no such socket: the service must be started by its .socket unit") from None
    port = await server.listen(gate)
    reactor.removeReader(port)
    return Socket(kind, endpoint, port, gate)


def _remedy(error: object) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return _REMEDIES.get(error.errno) or error.strerror or str(error)  # a resolver's errno is not the kernel's
    return str(error)


def spoken(address: IAddress) -> str:
    """An address as people write it."""
    if isinstance(address, UNIXAddress):
        return os.fsdecode(address.name or b"")
    host, port = getattr(address, "host", ""), getattr(address, "port", "")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
