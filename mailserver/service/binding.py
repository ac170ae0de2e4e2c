"""Binds all ports of the settings, or none, and accepts no connection until their factories are ready."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.address import UNIXAddress
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory
from twisted.internet.protocol import ServerFactory
from twisted.internet.tcp import Port

from mailserver.config.kinds import KINDS, Listen, interface_of, parts_of
from mailserver.config.problems import Problems
from mailserver.errors import ConfigError
from mailserver.net.hub import loop_of
from mailserver.net.ports import Port as OurPort
from mailserver.net.unix_ports import UNIXPort
from mailserver.service.closing import close_ports
from mailserver.service.endpoints import unfit
from mailserver.service.legacy import Legacy, Passed
from mailserver.service.ownership import Ownership, owned

BACKLOG: Final = 1024
"""Connections that may wait to be accepted, unless an endpoint says otherwise: cron starts its clients by the hundred in one
second, and Twisted's 50 would make the others wait for a second SYN."""

_MOST_PORT: Final = 65535

_PLAIN: Final = frozenset({"tcp", "tcp6", "unix", "systemd"})
"""Endpoints that only listen, and so can do it in our own loop; what a plugin's needs of a reactor nobody knows."""

_REMEDIES: Final = {
    errno.EADDRINUSE: "it is in use: stop the program that uses it (see ss -ltnp), or choose another",
    errno.EACCES: "that needs root: start as root with --user, or choose a port above 1023, as in tcp:10110",
    errno.EADDRNOTAVAIL: "this machine has no such address: see ip address",
}


_UNIX_REMEDIES: Final = {
    errno.ENOENT: "its folder is not there: make it, under systemd by RuntimeDirectory=",
    errno.ENOTDIR: "its folder is none",
    errno.EACCES: "this process may not write to its folder",
    errno.EPERM: "only root may give it to another user, or to a group of others (under systemd, CAP_CHOWN is needed)",
}
"""What keeps a Unix socket from its folder, or from its owner."""


class Gate(ServerFactory):
    """The factory of a bound port: none until its real factory is ready, and another one after a reload."""

    noisy = False
    inner: IProtocolFactory | None = None

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def logPrefix(self) -> str:
        """For Twisted's own log lines."""
        return self._kind

    def open(self, inner: IProtocolFactory) -> None:
        """Let `inner` serve connections from now on; what is open stays with the one before."""
        before, self.inner = self.inner, inner
        inner.doStart()
        if before is not None:
            before.doStop()

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:  # type: ignore[override]  # IProtocolFactory's types
        """As `inner`; None before there is one."""
        return None if self.inner is None else self.inner.buildProtocol(addr)

    def stopFactory(self) -> None:
        """Stop `inner` as well."""
        if self.inner is not None:
            self.inner.doStop()


@dataclass(frozen=True, slots=True)
class Socket:
    """A bound port that does not accept connections yet."""

    kind: str
    endpoint: str
    port: Port
    gate: Gate
    file: bool = False
    """Whether it has a file that another process has made, and leaves to this one."""

    def passed(self, endpoint: str, descriptor: int) -> Passed:
        """As another process is told of it, which inherits this descriptor."""
        return Passed(endpoint, descriptor, made=isinstance(self.port, UNIXPort) and self.port.made)

    def own(self) -> None:
        """Have all of it: the other process has left it."""
        if self.file and isinstance(self.port, UNIXPort):
            self.port.own()

    def leave(self) -> None:
        """Leave it to another process, which has it, too."""
        if isinstance(self.port, OurPort):
            self.port.leave()
        else:
            self.port._shouldShutdown = False  # noqa: SLF001 - a port of Twisted's, of which none is our subclass

    @property
    def address(self) -> str:
        """The address that it is bound to, in readable form."""
        return written(self.port.getHost())

    @property
    def pages(self) -> bool:
        """Whether it is for operators' pages, which say until the end how the server is."""
        return self.kind in KINDS and KINDS[self.kind].pages

    def accept(self) -> None:
        """Begin to accept connections; the gate is open."""
        self.port.startReading()


class CannotBind(Exception):
    """A port cannot be bound. The text is for the operator."""


async def bind(
    listen: Listen, reactor: Any, kinds: Iterable[str] = KINDS, legacy: Legacy | None = None
) -> list[Socket]:
    """Bind all the ports without accepting connections; those of a `legacy` are bound already.

    Errors: ConfigError with all problems; then no port is bound.
    """
    loop = loop_of(reactor)
    bound: list[Socket] = []
    problems: list[str] = []
    for kind in kinds:
        for endpoint in listen.of(kind):
            passed = legacy.take(endpoint.removeprefix("haproxy:")) if legacy else None
            if passed is not None:
                bound.append(adopted(kind, endpoint, passed, loop))
                continue
            try:
                bound.append(await bind_one(kind, endpoint, reactor, loop))
            except CannotBind as error:
                problems.append(f"listen.{kind}: {error}")
    if problems:
        await close_ports(each.port for each in bound)
        raise ConfigError(problems)
    return bound


async def bind_one(kind: str, endpoint: str, reactor: Any, loop: Any, given: str = "") -> Socket:
    """Bind one port without accepting connections; `loop` is the `loop_of` the reactor.

    Errors: CannotBind, which names the endpoint as it was `given`.
    """
    try:
        return await _bind_one(kind, endpoint, reactor, loop)
    except CannotListenError as error:
        why = _remedy(error.socketError)
    except OSError as error:
        why = _UNIX_REMEDIES.get(error.errno or 0) or str(error.strerror)
    except (ValueError, TypeError, LookupError, OverflowError) as error:  # what Twisted's endpoints raise
        raise CannotBind(unfit(given or endpoint, error)) from None
    raise CannotBind(f'cannot listen on "{given or endpoint}": {why}')


def adopted(kind: str, endpoint: str, passed: Passed, loop: Any) -> Socket:
    """A port of a socket that another process has bound, without accepting connections."""
    gate = Gate(kind)
    with socket.socket(fileno=passed.descriptor) as theirs:  # Twisted duplicates it
        port = loop.adoptStreamPort(theirs.fileno(), theirs.family, gate)
    port.stopReading()
    return Socket(kind, endpoint, port, gate, file=passed.made)


async def _bind_one(kind: str, endpoint: str, reactor: Any, loop: Any) -> Socket:
    gate = Gate(kind)
    server, ownership = _parsed(kind, endpoint, reactor, loop)
    port = await server.listen(gate)
    port.stopReading()
    try:
        ownership.give(getattr(port.getHost(), "name", b""))
    except OSError:
        await close_ports([port])
        raise
    return Socket(kind, endpoint, port, gate)


def check_endpoints(listen: Listen, reactor: Any, problems: Problems) -> None:
    """Add what is wrong with the endpoint strings themselves, without binding; of systemd's sockets nothing is known here."""
    for kind in filter(lambda each: problems.sound(f"listen.{each}"), KINDS):
        for endpoint in listen.of(kind):
            if not endpoint.removeprefix("haproxy:").startswith("systemd:"):
                with problems.collect(f"listen.{kind}"):
                    check_endpoint(kind, endpoint, reactor, f"listen.{kind}")


def check_endpoint(kind: str, endpoint: str, reactor: Any, setting: str) -> None:
    """See that an endpoint can be read, and that this machine has its address. Errors: ConfigError, which names the setting."""
    try:
        server, _ = _parsed(kind, endpoint, reactor, reactor)
        _try_address(interface_of(endpoint.removeprefix("haproxy:")), getattr(server, "_port", 0))
    except OSError as error:
        raise ConfigError([f'{setting}: cannot listen on "{endpoint}": {_remedy(error)}']) from None
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise ConfigError([f"{setting}: {unfit(endpoint, error)}"]) from None


def _try_address(interface: str, port: object) -> None:
    """See that there is such a port, and such an address on this machine, by a socket to which nobody can connect. Errors: ValueError, OSError."""
    if isinstance(port, int) and not 0 <= port <= _MOST_PORT:
        raise ValueError("port must be 0-65535")
    if interface:
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as trial:
            try:
                trial.bind((interface, 0))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:  # anything else the start says better
                    raise


def _parsed(kind: str, endpoint: str, reactor: Any, loop: Any) -> tuple[Any, Ownership]:
    """Twisted's endpoint, and whose its Unix socket's file is to be. Errors: ValueError, TypeError, LookupError, OverflowError."""
    direct, ownership = endpoint.removeprefix("haproxy:"), Ownership()
    if direct.startswith("unix:"):
        direct, ownership = owned(direct)
        direct += _mode(kind, direct)
    direct += _interface(kind, direct)
    parts = parts_of(direct)  # a fourth is the backlog, with or without its name
    queued = parts[0] in ("tcp", "tcp6", "unix") and len(parts) < 4 and ":backlog=" not in direct  # noqa: PLR2004
    try:
        return serverFromString(
            loop if parts[0] in _PLAIN else reactor, f"{direct}:backlog={BACKLOG}" if queued else direct
        ), ownership
    except LookupError:
        if not direct.startswith("systemd:"):
            raise
        raise ValueError("systemd passed no such socket: the service must be started by its .socket unit") from None


def _mode(kind: str, endpoint: str) -> str:
    """The mode of a Unix socket's file that no endpoint gives: Twisted's would let everybody connect, also where nobody logs in."""
    _form, path, *options = parts_of(endpoint)
    named = any(part.startswith("mode=") for part in (path, *options))
    given = named or any("=" not in option for option in options)
    return "" if given or KINDS[kind].login else ":mode=660"


def _interface(kind: str, endpoint: str) -> str:
    """The interface of pages whose endpoint names none: they are for this machine, unless the operator says otherwise."""
    home = {"tcp": "127.0.0.1", "tcp6": "\\:\\:1"}.get(endpoint.partition(":")[0])
    paged = kind in KINDS and KINDS[kind].pages and home and not interface_of(endpoint)
    return f":interface={home}" if paged else ""


def _remedy(error: object) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return _REMEDIES.get(error.errno) or error.strerror or str(error)  # a resolver's errno is not the kernel's
    return str(error)


def written(address: IAddress) -> str:
    """An address in readable form."""
    if isinstance(address, UNIXAddress):
        return os.fsdecode(address.name or b"")
    host, port = getattr(address, "host", ""), getattr(address, "port", "")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
