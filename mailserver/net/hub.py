"""A loop of our own for accepting and reading: many sockets behind one descriptor of Twisted's reactor.

Twisted's epoll reactor spends 17 us of a short session (of 230) on contexts and look-ups around its calls, and 14 us on its
accept. A `Hub` has an epoll of its own, which is itself one descriptor in the reactor: when some of its sockets are ready, the
reactor calls the hub once, and the hub calls the sockets. Ports and transports are Twisted's, in subclasses whose `reactor` is the
hub, so writing, producers, half-closes and aborts are Twisted's code. Where it cannot be used, Twisted's ports serve: see `loop_of`.

TLS on the socket itself puts its own `doRead` and `doWrite` in a transport's place, so the hub looks these up at each call.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocolFactory, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.net.ports import Port
from mailserver.net.unix_ports import AdoptedUNIXPort, UNIXPort

log = Logger()

BATCH: Final = 64
"""Sockets that are served in one turn of the reactor: at 40 us each, its timers and threads wait for 3 ms. The kernel names those
that were left over first the next time."""

_IN: Final[int] = getattr(select, "EPOLLIN", 0)  # Python has epoll on Linux only
_OUT: Final[int] = getattr(select, "EPOLLOUT", 0)
_GONE: Final[int] = getattr(select, "EPOLLHUP", 0) | getattr(select, "EPOLLERR", 0)


def loop_of(reactor: Any) -> Any:
    """What a service's ports listen with: a new `Hub` where the reactor is Twisted's epoll reactor, else the reactor itself."""
    try:
        from twisted.internet.epollreactor import EPollReactor
    except ImportError:  # not Linux
        return reactor
    return Hub(reactor) if isinstance(reactor, EPollReactor) else reactor


@implementer(IReadDescriptor)
class Hub:
    """The loop, and all that Twisted's ports and transports ask of a reactor.

    It is in the reactor, and has a descriptor, while it has sockets. The reactor's end is the end of their connections.
    """

    __slots__ = ("_epoll", "_members", "_reactor", "_wanted", "shared", "turns")

    def __init__(self, reactor: Any) -> None:
        self.shared = False
        """Whether the process was forked: then its child, such as one of a checker's, may hold each of the sockets, too."""
        self.turns = 0
        """How often it was called so far; a port sees by it whether connections arrive without a pause."""
        self._reactor = reactor
        self._epoll: Any = None
        self._members: dict[int, Any] = {}
        self._wanted: dict[int, int] = {}  # the events that each member asks for, never none
        os.register_at_fork(after_in_parent=self._forked)

    # What endpoints and workers ask of a reactor.

    def listenTCP(self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = "") -> Port:
        """As the reactor's."""
        return _listening(Port(port, factory, backlog, interface, self))

    def listenUNIX(
        self,
        address: bytes,
        factory: IProtocolFactory,
        backlog: int = 50,
        mode: int = 0o666,
        wantPID: int = 0,  # noqa: ARG002
    ) -> Port:
        """As the reactor's, but without a lock file: the port itself finds out whether somebody listens at the address."""
        return _listening(UNIXPort(address, factory, backlog, mode, self))

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: IProtocolFactory) -> Port:
        """As the reactor's."""
        if addressFamily == socket.AF_UNIX:
            return _listening(AdoptedUNIXPort._fromListeningDescriptor(self, fileDescriptor, factory))
        return _listening(Port._fromListeningDescriptor(self, fileDescriptor, addressFamily, factory))

    # What ports and transports ask of a reactor.

    def addReader(self, member: Any) -> None:
        """Call `member.doRead` when its socket is readable."""
        self._ask(member, _IN)

    def addWriter(self, member: Any) -> None:
        """Call `member.doWrite` when its socket is writable."""
        self._ask(member, _OUT)

    def removeReader(self, member: Any) -> None:
        """Call `member.doRead` no more."""
        self._decline(member.fileno(), _IN)

    def removeWriter(self, member: Any) -> None:
        """Call `member.doWrite` no more."""
        self._decline(member.fileno(), _OUT)

    def seconds(self) -> float:
        """As the reactor's."""
        return float(self._reactor.seconds())

    def callLater(self, delay: float, call: Callable[..., object], *args: object, **kwargs: object) -> Any:
        """As the reactor's."""
        return self._reactor.callLater(delay, call, *args, **kwargs)

    # What transports ask of a hub.

    def forget(self, fd: int) -> None:
        """Forget a socket that is closed right after: if it is not `shared`, that ends the epoll's interest without a system call."""
        if self._members.pop(fd, None) is not None:
            del self._wanted[fd]
            self._rest()

    # What the reactor calls.

    def fileno(self) -> int:
        """The epoll's descriptor."""
        return -1 if self._epoll is None else int(self._epoll.fileno())

    def logPrefix(self) -> str:
        """For Twisted's own log lines."""
        return "hub"

    def doRead(self) -> None:
        """Serve a batch of the sockets that are ready, each once."""
        self.turns += 1
        find: Callable[[int], Any] = self._members.get
        for fd, events, member in [(fd, events, find(fd)) for fd, events in self._epoll.poll(0, BATCH)]:
            if member is None or member is not find(fd):
                continue  # the socket was closed, if only in this batch; its number may be another connection's by now
            reading = False
            why: Any = None
            try:
                if events & _IN:
                    reading, why = True, member.doRead()
                    if events & _OUT and not why and find(fd) is member:
                        reading, why = False, member.doWrite()
                elif events & _GONE:  # as in Twisted's reactors, who reads has read to the end
                    reading = bool(self._wanted[fd] & _IN)
                    why = CONNECTION_DONE if reading else CONNECTION_LOST
                else:
                    why = member.doWrite()
            except BaseException as error:  # noqa: BLE001 - as in Twisted's reactors; else it would end all connections
                log.failure("fault at a socket", event="fault")
                why = error
            if why:
                self._end(member, why, reading=reading)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends, so all connections end."""
        for fd, member in tuple(self._members.items()):
            if self._members.get(fd) is member:  # else another one's end was its end, too
                self._end(member, reason.value, reading=False)

    # Inside.

    def _forked(self) -> None:
        self.shared = True

    def _ask(self, member: Any, events: int) -> None:
        fd = member.fileno()
        before = self._wanted.get(fd, 0)
        after = before | events
        if after == before:
            return
        if before:
            self._epoll.modify(fd, after)
        else:
            if self._epoll is None:
                self._epoll = select.epoll()
                self._reactor.addReader(self)
            self._epoll.register(fd, after)
            self._members[fd] = member
        self._wanted[fd] = after

    def _decline(self, fd: int, events: int) -> None:
        before = self._wanted.get(fd, 0)
        after = before & ~events
        if after == before:
            return
        if after:
            self._epoll.modify(fd, after)
            self._wanted[fd] = after
        else:
            self._epoll.unregister(fd)
            self.forget(fd)

    def _rest(self) -> None:
        if not self._members:
            self._reactor.removeReader(self)
            self._epoll.close()
            self._epoll = None

    def _end(self, member: Any, why: Any, *, reading: bool) -> None:
        """End a connection, or only its input, as Twisted's reactors do."""
        try:
            self.removeReader(member)
            if reading and isinstance(why, ConnectionDone):
                member.readConnectionLost(Failure(why))
            else:
                self.removeWriter(member)
                member.connectionLost(Failure(why))
        except BaseException:  # noqa: BLE001 - as in `doRead`
            log.failure("fault at the end of a connection", event="fault")


def _listening(port: Port) -> Port:
    port.startListening()
    return port
