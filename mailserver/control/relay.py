"""One worker process asks another for its part of an answer, and passes it on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import deferLater
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from mailserver.control.lines import LONGEST, SILENT_SECONDS, Row, line, read

AGAIN_SECONDS: Final = 1.0
"""How long after its end a worker process is asked again for what it has to say: its successor takes as long to start."""

_CANCELLED: Final = CancelledError, ConnectingCancelledError
"""What a cancel raises, the latter where a connection is still being made."""

_PASSED_ON: Final = frozenset({"row", "left_out", "alive"})

Send = Callable[[Row], object]
"""Passes a line on."""


def relay(reactor: Any, path: str, question: Row, send: Send) -> Deferred[bool]:
    """Ask the process that serves at `path`; whether it has answered whole. Errors: ConnectError."""
    asked = Relay(question, send)
    connected: Deferred[Any] = UNIXClientEndpoint(reactor, path, timeout=SILENT_SECONDS).connect(_Once(asked))
    return connected.addCallback(lambda _: asked.whole)


def follow(reactor: Any, number: int, path: str, question: Row, send: Send) -> Deferred[None]:
    """Ask the worker process of a number for an answer that goes on, and where that ends its successor; until it is cancelled."""

    async def asked() -> None:
        while True:
            watch = _Watch(reactor, partial(send, {"silent": number}))
            try:
                with suppress(ConnectError):  # nobody serves there now
                    await relay(reactor, path, question, partial(_pass_on, send, watch))
            finally:
                watch.stop()
            send({"lost": number})
            await deferLater(reactor, AGAIN_SECONDS)

    return ensureDeferred(asked()).addErrback(lambda failure: failure.trap(*_CANCELLED) and None)


def _pass_on(send: Send, watch: _Watch, said: Row) -> None:
    watch.heard()
    if "alive" not in said:
        send(said)


class _Watch:
    """Tells each time when nothing was heard for long."""

    def __init__(self, reactor: Any, tell: Callable[[], object]) -> None:
        self._reactor = reactor
        self._tell = tell
        self._begin()

    def _begin(self) -> None:
        self._late: IDelayedCall = self._reactor.callLater(SILENT_SECONDS, self._look)

    def _look(self) -> None:
        """Read first what has come: perhaps it is this process that has hung."""
        self._late = self._reactor.callLater(0, self._tell)

    def heard(self) -> None:
        """Begin anew."""
        self.stop()
        self._begin()

    def stop(self) -> None:
        """Tell no more."""
        if self._late.active():
            self._late.cancel()


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
        if said.keys() & _PASSED_ON:
            self._send(said)
        else:
            self._ended = "end" in said

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        """Tell whether the answer was whole."""
        if not self.whole.called:
            self.whole.callback(self._ended)
