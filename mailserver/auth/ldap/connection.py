"""A connection to a server of the directory: one question at a time, each within a time, and nothing taken on trust."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed, UserError
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.auth.ldap.ber import Malformed, frame
from mailserver.auth.ldap.messages import (
    MAX_ID,
    SUCCESS,
    Entry,
    Reference,
    Response,
    Result,
    bind,
    message,
    read_message,
    unbind,
)
from mailserver.auth.ldap.messages import start_tls as start_tls_request
from mailserver.auth.ldap.settings import Server

MAX_OCTETS: Final = 4 * 1024 * 1024
"""Octets of one message, and of all that answer one question: a page of 500 entries with photographs is no user's entry."""


GOODBYE_SECONDS: Final = 1.0
"""How long a server may take to end TLS: it has nothing more to say."""


class Trouble(Exception):
    """A server that did not answer as it should, so that nothing is known of the user; in words for the log."""


class Lost(Trouble):
    """The connection ended before the answer."""


class Late(Trouble):
    """No answer in time."""


@implementer(IHandshakeListener)
class Connection(Protocol):
    """A connection; `ask` questions one after another. After an error it is closed. A cancel closes it, too."""

    transport: Any

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._data = bytearray()
        self._number = 0
        self._of = ""
        self._found: list[Response] = []
        self._octets = 0
        self._answer: Deferred[list[Response]] | None = None
        self._secured: Deferred[None] | None = None
        self._why: Failure | None = None
        self._goodbye: Any = None
        self._gone: list[Deferred[None]] = []
        self.is_gone = False
        self.closed = False

    async def ask(self, of: str, operation: bytes, *controls: bytes, seconds: float) -> tuple[list[Entry], Result]:
        """The entries that answer an operation, and how it ended. Errors: Trouble."""
        if self.closed or self._answer is not None:
            raise Lost("the connection is closed")
        self._number = self._number % MAX_ID + 1
        self._of, self._found, self._octets = of, [], 0
        answer = self._answer = Deferred(lambda _: self._leave())
        late = self._clock.callLater(seconds, self.fail, Late(f"no answer within {seconds:g} s"))
        self.transport.write(message(self._number, operation, *controls))
        try:
            found = await answer
        finally:
            self._answer = None
            if late.active():
                late.cancel()
        entries = [each for each in found if isinstance(each, Entry)]
        return entries, next(each for each in found if isinstance(each, Result))

    async def bind(self, name: str, password: bytes, seconds: float) -> Result:
        """Prove a password. Errors: Trouble; ValueError for an empty password with a name."""
        return (await self.ask("bind", bind(name, password), seconds=seconds))[1]

    async def start_tls(self, context: Any, seconds: float) -> None:
        """Begin TLS, which verifies the server. Errors: Trouble."""
        result = (await self.ask("extended", start_tls_request(), seconds=seconds))[1]
        if result.code != SUCCESS:
            self.abort()
            raise Trouble(f"StartTLS: {result.words}")
        if self._data:  # what came in clear behind the answer must not pass as if TLS had brought it
            self.abort()
            raise Trouble("StartTLS: octets in clear behind the answer")
        self.transport.startTLS(context)
        await self.secured(seconds)

    async def secured(self, seconds: float) -> None:
        """Wait for the handshake. Errors: Trouble."""
        late = self._clock.callLater(seconds, self.fail, Late(f"no TLS within {seconds:g} s"))
        secured = self._secured = Deferred(lambda _: self._leave())
        try:
            await secured
        finally:
            self._secured = None
            if late.active():
                late.cancel()

    def fail(self, error: Trouble) -> None:
        """Close the connection, and answer who waits with this error."""
        self._why = self._why or Failure(error)
        self.abort()

    def abort(self) -> None:
        """Close the connection at once; idempotent."""
        self.closed = True
        if self.transport is not None:
            self.transport.abortConnection()
        self._end(self._why or Failure(Lost("the connection was closed")))

    def close(self) -> None:
        """Say goodbye; idempotent."""
        if not self.closed and self._answer is None:
            self.closed = True
            self.transport.write(message(self._number % MAX_ID + 1, unbind()))
            self.transport.loseConnection()
            self._goodbye = self._clock.callLater(GOODBYE_SECONDS, self.abort)
            return
        self.abort()

    def gone(self) -> Deferred[None]:
        """Fires when nothing of it is left."""
        if self.is_gone or self.transport is None:
            return succeed(None)
        left: Deferred[None] = Deferred()
        self._gone.append(left)
        return left

    # What Twisted calls.

    def handshakeCompleted(self) -> None:
        """The server was verified."""
        if self._secured is not None and not self._secured.called:
            self._secured.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """Take the messages that are whole."""
        self._data += data
        try:
            while not self.closed and (size := frame(self._data, MAX_OCTETS)) is not None and size <= len(self._data):
                octets = bytes(self._data[:size])
                del self._data[:size]
                self._take(octets)
        except Malformed as error:
            self.fail(Trouble(f"the answer is not LDAP: {error}"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Whoever waits hears it."""
        self.closed = self.is_gone = True
        if self._goodbye is not None and self._goodbye.active():
            self._goodbye.cancel()
        self._end(self._why or Failure(Lost(_words(reason))))
        for each in self._gone:
            each.callback(None)

    def _take(self, octets: bytes) -> None:
        number, response = read_message(octets)
        if number == 0:  # a notice of disconnection (RFC 4511 section 4.4.1)
            words = response.words if isinstance(response, Result) else "without a reason"
            self.fail(Lost(f"the server ends the connection: {words}"))
            return
        if self._answer is None or number != self._number:
            raise Malformed("it answers what nobody asked")
        self._octets += len(octets)
        if self._octets > MAX_OCTETS:
            raise Malformed(f"an answer has more than {MAX_OCTETS} octets")
        if isinstance(response, Entry | Reference) and self._of != "search":
            raise Malformed("it answers another question")
        self._found.append(response)
        if isinstance(response, Result):
            if response.of != self._of:
                raise Malformed("it answers another question")
            self._answer.callback(self._found)

    def _end(self, why: Failure) -> None:
        for waiting in (self._answer, self._secured):
            if waiting is not None and not waiting.called:
                waiting.errback(why)

    def _leave(self) -> None:
        """Who waits was cancelled: an answer that comes now would be taken for that of the next question."""
        self._why = Failure(CancelledError())
        self.abort()


class _Once(Factory):
    """Twisted's own for one protocol would log each connection."""

    noisy = False

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: Any) -> Connection:  # noqa: ARG002 - IProtocolFactory names it so
        return self._connection


async def connect(reactor: Any, server: Server, context: Any, seconds: float, *, start_tls: bool) -> Connection:
    """A connection, with TLS where it must be. Errors: Trouble. `context` verifies the server (`tls_for`)."""
    connection = Connection(reactor)
    endpoint: Any = (
        UNIXClientEndpoint(reactor, server.host, timeout=seconds)
        if server.scheme == "ldapi"
        else HostnameEndpoint(reactor, server.host, server.port, timeout=seconds)
    )
    trying: Deferred[Any] = endpoint.connect(_Once(connection))
    trying.addTimeout(seconds, reactor, lambda *_: Failure(Late(f"no connection within {seconds:g} s")))
    try:
        await trying
    except ConnectingCancelledError:
        raise CancelledError from None
    except (ConnectError, UserError, OSError) as error:
        raise Lost(f"no connection: {_error(error)}") from None
    try:
        if server.scheme == "ldaps":
            connection.transport.startTLS(context)
            await connection.secured(seconds)
        elif server.scheme == "ldap" and start_tls:
            await connection.start_tls(context, seconds)
    except BaseException:
        connection.abort()
        raise
    return connection


def _words(reason: Failure) -> str:
    """Why a connection ended, for the log."""
    if reason.check(ConnectionClosed):
        return "the server closed the connection"
    return f"the connection broke: {_error(reason.value)}"


def _error(error: BaseException | None) -> str:
    """An error in words; those of TLS come as lists of lists."""
    arguments: tuple[object, ...] = getattr(error, "args", ())
    text = str(arguments[0]) if len(arguments) == 1 else str(error)
    return f"{type(error).__name__}: {ascii(text)[1:-1][:200]}"
