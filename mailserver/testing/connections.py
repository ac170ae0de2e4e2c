"""The connections of a server for tests, whose replies may be late, in pieces, or cut short."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.protocols.policies import ProtocolWrapper

from mailserver.interfaces import IMaildrop, Mind
from mailserver.net.connection import Connection as AnyConnection
from mailserver.net.core import Core
from mailserver.net.pop3 import POP3Server
from mailserver.net.pop3_listener import POP3ServerFactory
from mailserver.net.transfer import FileSender, Transfer
from mailserver.protocol.effects import Commit, StartTLS
from mailserver.protocol.pop3 import Session
from mailserver.testing.faults import Faults
from mailserver.testing.records import ClientSession
from mailserver.testing.sessions import Acting, Scripted


class Listener(POP3ServerFactory):
    """The factory: each connection has a record, in the order in which they came."""

    def __init__(self, *args: Any, faults: Faults, records: list[ClientSession], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.faults = faults
        self.records = records
        self._over: list[Deferred[None]] = []

    def connection(self, peer: str) -> POP3Server:
        """Build a connection, and begin its record."""
        connection = Connection(self, peer)
        self.records.append(connection.record)
        return connection

    def session(self, peer: str, connection: POP3Server, *, tls: bool) -> Session:
        """Return a session that does what a test wants, with the policy and the stamp of the one that would serve."""
        plain = super().session(peer, connection, tls=tls)
        record = connection.record if isinstance(connection, Connection) else ClientSession()
        return Scripted(plain.policy, self.faults, record, plain.stamp, tls=tls, surroundings=connection.surroundings)

    def ended(self, connection: AnyConnection) -> None:
        """Forget a connection that was lost, and tell who waits for the last one."""
        super().ended(connection)
        if not self.connections:
            waiting, self._over = self._over, []
            for each in waiting:
                each.callback(None)

    def over(self, seconds: float | None = None) -> Deferred[None]:
        """Fire once no connection is open. Errors: TimeoutError, after so many seconds."""
        if not self.connections:
            return succeed(None)
        answer: Deferred[None] = Deferred(self._over.remove)
        self._over.append(answer)
        return answer if seconds is None else answer.addTimeout(seconds, self.clock)


class Connection(POP3Server):
    """A connection that notes what happens, and shapes what leaves."""

    session: Scripted

    def __init__(self, factory: Listener, peer: str) -> None:
        super().__init__(factory, peer)
        self.record = ClientSession()
        self._numbers: Sequence[int] = ()
        self._left = inf  # octets until the connection is cut
        self._through = self._cutting = self._reset = self._hanging = False
        self._piece = 0  # octets of a piece; 0: all leaves at once
        self._seconds = 0.0
        self._held = b""  # what waits for its piece's time
        self._when_left: Callable[[], object] | None = None
        self._departed = 0  # octets
        self._messages: deque[tuple[int, int]] = deque()  # what has departed when one is whole, and its number

    # The record.

    def begin(self, *, tls: bool) -> Core:
        """As any connection."""
        self.record.tls = tls
        return super().begin(tls=tls)

    def encrypt(self, creator: IOpenSSLServerConnectionCreator) -> None:
        """As any connection."""
        self.record.tls = True
        super().encrypt(creator)

    def end(self, cause: str) -> None:
        """Remember what ended the connection; the first cause counts."""
        super().end(cause)
        self.record.ended = self.ended

    def sent(self, body: Transfer | FileSender) -> None:
        """Remember where a message ends: it is retrieved when its last octet leaves, which a cut may prevent."""
        if body.asked.lines is None:
            self._messages.append((self.octets_out + sum(map(len, self._batch)), body.asked.number))
        super().sent(body)

    def _note_departure(self, octets: int) -> None:
        self._departed += octets
        while self._messages and self._messages[0][0] <= self._departed:
            self.record.retrieved.append(self._messages.popleft()[1])

    def _let_in(self, mind: Mind, mechanism: bytes, began: float, maildrop: IMaildrop) -> None:
        self.record.user = mind.user
        super()._let_in(mind, mechanism, began, maildrop)

    def _note_commit(self, effect: Commit) -> None:
        self._numbers = effect.numbers
        self._commit(effect)

    def _updated(self, marked: int, began: float, left: int) -> None:
        self.record.deleted = [] if left else list(self._numbers)
        super()._updated(marked, began, left)

    # What goes wrong.

    def _act(self, effect: Acting) -> None:
        self.flush()
        fault = effect.fault
        if fault.cut is not None:
            self._left, self._reset = fault.cut, fault.reset
        if fault.drop:
            self._reset = fault.reset
            self._cut()
        elif fault.octets:
            self._piece, self._seconds = fault.octets, fault.seconds
            self.session.acted()
        elif fault.seconds == inf:
            self._hanging = True
        elif fault.seconds:
            self.after(fault.seconds, self.session.acted)
        else:
            self.session.acted()

    def readConnectionLost(self) -> None:
        """As any connection; but nothing keeps one that hangs when its client has gone."""
        super().readConnectionLost()
        if self._hanging:
            self.abort()

    def write(self, data: bytes) -> None:
        """Send what is still to be sent, when it is to be sent."""
        if self._through:
            super().write(data)
        elif not self._cutting:
            self._shape(data)

    def _shape(self, data: bytes) -> None:
        data = data[: int(self._left)] if self._left < inf else data
        self._left -= len(data)
        if not data:
            pass
        elif self._piece:
            ticking, self._held = bool(self._held), self._held + data
            if not ticking:
                self._send_piece()
        else:
            self._let_through(data)
        if self._left <= 0:
            self._cut()

    def _let_through(self, data: bytes) -> None:
        self._note_departure(len(data))
        self._through = True  # what writes may call `write` again, with the rest
        super().write(data)
        self._through = False

    def send_file(self, sender: FileSender) -> None:
        """Send it as any body: what the kernel sends by itself could not be cut."""
        self.send(Transfer(sender._body, sender.asked, wire=True))  # noqa: SLF001 - nobody else needs it

    def hang_up(self, *, talking: bool) -> None:
        """Close, but not before the last piece has left."""
        self._after_the_last_piece(partial(super().hang_up, talking=talking))

    def _begin_tls(self, effect: StartTLS) -> None:
        self.flush()  # its pieces still are plain
        self._after_the_last_piece(partial(self._start_tls, effect))

    def _after_the_last_piece(self, act: Callable[[], object]) -> None:
        if self._held:
            self._when_left = act
        else:
            act()

    def _send_piece(self) -> None:
        if self.lost:
            return
        piece, self._held = self._held[: self._piece], self._held[self._piece :]
        self._let_through(piece)
        if self._held:
            self.clock.callLater(self._seconds, self._send_piece)
        elif self._when_left is not None:
            act, self._when_left = self._when_left, None
            act()
            self.pump()

    def _cut(self) -> None:
        """Run nothing more, and end the connection when this turn is over."""
        self._closing = self._cutting = True
        self.end("a fault that a test wants")
        self.clock.callLater(0, self._end_line)

    def _end_line(self) -> None:
        if self.lost:
            return
        if self._reset:
            raw = self.transport
            while isinstance(raw, ProtocolWrapper):  # TLS, which would say goodbye
                raw = raw.transport
            raw.abortConnection()
        else:
            self.hang_up(talking=False)

    performers: ClassVar[Mapping[type, Callable[[Any, Any], None]]] = {
        **POP3Server.performers,
        Commit: _note_commit,
        StartTLS: _begin_tls,
        Acting: _act,
    }
