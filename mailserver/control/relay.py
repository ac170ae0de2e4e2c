"""One worker process asks another for its part of an answer, and passes it on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import deferLater
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from mailserver.control.lines import LONGEST, Row, line, read

WORKER_SECONDS: Final = 5.0
"""How long another worker process may take to answer: one that is busy for longer is worth to be named to the operator."""

AGAIN_SECONDS: Final = 1.0
"""How long after its end a worker process is asked again for what it has to say: its successor takes as long to start."""

_CANCELLED: Final = CancelledError, ConnectingCancelledError
"""What a cancel raises, the latter where a connection is still being made."""

Send = Callable[[Row], object]
"""Passes a line on."""


def relay(reactor: Any, path: str, question: Row, send: Send) -> Deferred[bool]:
    """Ask the process that serves at `path`; whether it has answered whole. Errors: ConnectError."""
    asked = Relay(question, send)
    connected: Deferred[Any] = UNIXClientEndpoint(reactor, path, timeout=WORKER_SECONDS).connect(_Once(asked))
    return connected.addCallback(lambda _: asked.whole)


def follow(reactor: Any, number: int, path: str, question: Row, send: Send) -> Deferred[None]:
    """Ask the worker process of a number for an answer that goes on, and where that ends its successor; until it is cancelled."""

    async def asked() -> None:
        while True:
            with suppress(ConnectError):  # nobody serves there now
                await relay(reactor, path, question, send)
            send({"lost": number})
            await deferLater(reactor, AGAIN_SECONDS)

    return ensureDeferred(asked()).addErrback(lambda failure: failure.trap(*_CANCELLED) and None)


class _Once(Factory):
    """The factory of one relay, which says nothing in the log."""

    noisy = False

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: ARG002 - Twisted's signature
        """Answer the relay."""
        return self._relay


class Relay(LineOnlyReceiver):
    """Asks another worker process, and passes its rows on as they come, and what it has left out."""

    delimiter = b"\n"
    MAX_LENGTH = LONGEST
    transport: Any

    def __init__(self, question: Row, send: Callable[[Row], object]) -> None:
        self.whole: Deferred[bool] = Deferred(lambda _: self.transport.abortConnection())
        self._question = question
        self._send = send
        self._ended = False

    def connectionMade(self) -> None:
        """Ask."""
        self.transport.write(line(self._question))

    def lineReceived(self, line: bytes) -> None:
        """Pass a row on."""
        said = read(line) or {}
        if "row" in said or "left_out" in said:
            self._send(said)
        else:
            self._ended = "end" in said

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        """Tell whether the answer was whole."""
        if not self.whole.called:
            self.whole.callback(self._ended)
