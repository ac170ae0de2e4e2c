"""Whole sessions for the tests: a factory over a portal that remembers, and clients on every kind of transport."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, LoopingCall, deferLater
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from mailserver.body import BytesBody
from mailserver.envelope import EnvelopeHeaders, read_envelope
from mailserver.errors import MaildropInUse
from mailserver.interfaces import IMaildrop
from mailserver.net import POP3ServerFactory
from mailserver.net.hub import loop_of
from mailserver.snapshot import Message, Snapshot
from mailserver.store.body import FileBody
from mailserver.tls.certificate_store import CertificateStore
from mailserver.wireform import measure
from tests.tls.handshakes import write_pair

LOGIN = b"USER alice\r\nPASS secret\r\n"
GREETING = b"+OK h POP3 server ready\r\n"
HELLO = GREETING + b"+OK\r\n"


@implementer(IMaildrop)
class Maildrop:
    """A maildrop of messages in memory or, with a folder, in files; it tells what was asked of it."""

    def __init__(self, messages: Sequence[bytes], folder: Path | None = None) -> None:
        rows = [measure(message) for message in messages]
        self.messages = Snapshot.of([Message(b"u%d" % n, row.octets, row.wire) for n, row in enumerate(rows, 1)])
        self.stored = messages
        self.folder = folder
        self.told: list[object] = []
        self.answer: Callable[[Any], Any] = lambda body: body
        """What `fetch` makes of the body that it opened."""
        self.commits: Callable[[], Deferred[int]] = lambda: succeed(0)

    def fetch(self, number: int) -> Any:
        data = self.stored[number - 1]
        if self.folder is None:
            return self.answer(BytesBody(data))
        path = self.folder / str(number)
        if not path.exists():
            path.write_bytes(data)
        return self.answer(FileBody(os.open(path, os.O_RDONLY), len(data)))

    def envelope(self, number: int) -> Any:
        return read_envelope(self.fetch(number), EnvelopeHeaders())

    def sent(self, number: int, octets: int) -> None:
        self.told.append(("sent", number, octets))

    def commit(self, numbers: Sequence[int]) -> Deferred[int]:
        self.told.append(("commit", list(numbers)))
        return self.commits()

    def release(self) -> None:
        self.told.append("release")


@implementer(IRealm)
class Realm:
    """Opens one maildrop, exclusively."""

    def __init__(self, maildrop: Any) -> None:
        self.maildrop = maildrop
        self.minds: list[object] = []
        self.held = False

    def requestAvatar(self, avatar_id: object, mind: object, *interfaces: object) -> Any:
        self.minds.append(mind)
        if self.held:
            raise MaildropInUse("held by /home/alice")
        self.held = True
        return IMaildrop, self.maildrop, self.logout

    def logout(self) -> None:
        self.held = False
        self.maildrop.release()


def portal_of(maildrop: Any) -> Portal:
    return Portal(Realm(maildrop), [InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret", bob=b"secret")])


class Greeted(POP3ServerFactory):
    """Its greeting has no stamp, so that transcripts are the same each time."""

    def _can_take(self, credentials: Any) -> bool:
        return "Hashed" not in credentials.__name__ and super()._can_take(credentials)


def make_factory(maildrop: Any = (), *, clock: Clock | None = None, **options: Any) -> POP3ServerFactory:
    portal = options.pop("portal", None) or portal_of(maildrop or Maildrop(()))
    return Greeted(portal, clock=clock or Clock(), hostname="h", **{"cleartext": "always", **options})


class Wire(StringTransport):
    """A transport that counts writes, those after its end too, and pauses its producer as a socket's would."""

    def __init__(self, peer: IAddress | None = None) -> None:
        super().__init__(peerAddress=peer)
        self.writes: list[bytes] = []
        self.limit: int | None = None
        """Octets after which the producer is paused, as a socket's transport does."""

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        super().write(data)
        if self.producer is not None and self.limit is not None and len(data) > self.limit:
            self.hold()

    def hold(self) -> None:
        self.producer.pauseProducing()

    def go(self) -> None:
        self.producer.resumeProducing()


class Talk:
    """A session on a `Wire`."""

    def __init__(self, factory: POP3ServerFactory, peer: IAddress | None = None, *, logged_in: bool = True) -> None:
        self.factory = factory
        self.clock: Any = factory.clock
        self.wire = Wire(peer)
        self.server: Any = factory.buildProtocol(peer)
        self.server.makeConnection(self.wire)
        if logged_in:
            self.say(LOGIN)
            self.heard()

    def say(self, data: bytes) -> None:
        self.server.dataReceived(data)

    def heard(self) -> bytes:
        """What came since the last time."""
        data = self.wire.value()
        self.wire.clear()
        self.wire.writes.clear()
        return data

    def turn(self) -> bool:
        """Go round the reactor once: call what waits for its next turn, not what that leaves for the one after."""
        due = [call for call in self.clock.getDelayedCalls() if call.getTime() <= self.clock.seconds()]
        for call in due:
            self.clock.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)
        return bool(due)

    def turns(self) -> bytes:
        """Go round until nothing waits for the next turn; what came since the last time."""
        while self.turn():
            pass
        return self.heard()

    def lose(self) -> None:
        from twisted.internet.protocol import connectionDone

        self.server.connectionLost(connectionDone)

    @property
    def closed(self) -> bool:
        return bool(self.wire.disconnecting or self.wire.disconnected)


@implementer(IHalfCloseableProtocol)
class Client(Protocol):
    """A client over a real socket."""

    def __init__(self) -> None:
        self.received = b""
        self.waiting: list[tuple[Callable[[bytes], object], Deferred[bytes]]] = []
        self.ended: Deferred[bytes] = Deferred()
        self.eof = False

    def until(self, found: Callable[[bytes], object]) -> Deferred[bytes]:
        """Fires with all that was received once `found` is content with it."""
        done: Deferred[bytes] = Deferred()
        self.waiting.append((found, done))
        self.dataReceived(b"")
        return done

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        for each in [each for each in self.waiting if each[0](self.received)]:
            self.waiting.remove(each)
            each[1].callback(self.received)

    def readConnectionLost(self) -> None:
        self.eof = True
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Any) -> None:
        self.reason = reason
        self.ended.callback(self.received)


class SocketCase(TestCase):
    """Servers on loopback, with the clock in the test's hands."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.loop: Any = loop_of(reactor)
        """What the servers listen with, as the service does."""
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.servers: list[Any] = []
        self.clients: list[Client] = []
        self.addCleanup(lambda: ensureDeferred(self._part()))

    async def _part(self) -> None:
        for client in self.clients:
            if client.transport.connected or client.transport.disconnecting:
                client.transport.abortConnection()
        for server in self.servers:
            while server.transport.connected:
                await self.turn()

    def folder(self) -> Path:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        return folder

    def certificates(self) -> CertificateStore:
        return CertificateStore([write_pair(self.folder(), "a", ["localhost"])])

    def listen(self, serving: Factory, factory: POP3ServerFactory | None = None) -> int:
        """The port of a server; what `factory`, else `serving`, builds is kept in `servers`."""
        watched: Any = factory or serving
        build = watched.buildProtocol

        def built(addr: IAddress | None) -> Any:
            self.servers.append(build(addr))
            return self.servers[-1]

        watched.buildProtocol = built
        if isinstance(getattr(watched, "clock", None), Clock):
            self.keep_turning(watched.clock)
        port = self.loop.listenTCP(0, serving, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def keep_turning(self, clock: Clock) -> None:
        """Call what waits on `clock` for the reactor's next turn, which is no matter of time."""
        turns = LoopingCall(clock.advance, 0)
        turns.start(0.001)
        self.addCleanup(turns.stop)

    async def connect(self, port: int, source: str = "127.0.0.1") -> Client:
        endpoint = TCP4ClientEndpoint(self.reactor, "127.0.0.1", port, bindAddress=(source, 0))
        client: Client = await connectProtocol(endpoint, Client())
        self.clients.append(client)
        return client

    def turn(self) -> Deferred[None]:
        """Fires when the reactor has gone round once."""
        return deferLater(self.reactor, 0)

    def named(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self.events if each.get("event") == event]
