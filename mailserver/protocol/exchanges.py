"""The SASL exchanges of a session (RFC 5034): one at a time, over the mechanisms that fit its connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from mailserver.errors import BadCommand, Refusal, TooManyExchanges
from mailserver.exchange import Done, IExchange, IMechanism, SaslContext, Step
from mailserver.protocol import texts
from mailserver.protocol.wire import from_base64

EXCHANGES: Final = 20
"""SASL exchanges of a connection that came to no login: a client that tries all it knows, and cancels, needs a dozen."""


class Exchanges:
    """Begins exchanges, and says whether one is under way."""

    __slots__ = ("_begun", "_exchange", "_known", "_surroundings", "mechanism")

    def __init__(self, known: Sequence[IMechanism], surroundings: Callable[[], SaslContext]) -> None:
        self._known = known
        self._surroundings = surroundings  # asked when it counts: TLS may begin later, and its bindings cost
        self._exchange: IExchange | None = None
        self._begun = 0
        self.mechanism = b""
        """The name of the last one's."""

    @property
    def under_way(self) -> bool:
        """Whether the client's next line is a response."""
        return self._exchange is not None

    def fitting(self, *, secure: bool) -> list[IMechanism]:
        """Return the mechanisms that can be used now; while the line is not `secure`, none that shows a password."""
        return self._fitting(self._surroundings(), secure=secure)

    def begin(self, mechanism: IMechanism, response: bytes | None, *, secure: bool) -> Step:
        """Begin one; `response` is the initial one, in base64, or None (RFC 5034 section 4)."""
        self._begun += 1
        if self._begun > EXCHANGES:
            raise TooManyExchanges
        self.mechanism = mechanism.name
        initial = None if response is None else from_base64(b"" if response == b"=" else response)
        context = self._surroundings()
        if not mechanism.fits(context):
            raise Refusal(texts.UNFIT_MECHANISM)
        offered = frozenset(each.name for each in self._fitting(context, secure=secure))
        self._exchange = mechanism.begin(replace(context, offered=offered))
        return self._stepped(self._exchange.step(initial))

    def respond(self, line: bytes) -> Step:
        """Take a line as the client's response; ``*`` cancels the exchange (RFC 5034 section 4)."""
        if line == b"*":
            raise BadCommand(texts.CANCELLED)
        return self._stepped(self._open.step(from_base64(line)))

    def answer(self, value: object) -> Step:
        """Take the oracle's answer to what was asked."""
        return self._stepped(self._open.answer(value))

    def end(self) -> None:
        """Forget the exchange under way, if there is one."""
        self._exchange = None

    @property
    def _open(self) -> IExchange:
        if self._exchange is None:
            raise RuntimeError("no exchange is under way")
        return self._exchange

    def _stepped(self, step: Step) -> Step:
        if isinstance(step, Done):
            self._exchange = None
            self._begun -= 1  # it counts as a login from here on
        return step

    def _fitting(self, context: SaslContext, *, secure: bool) -> list[IMechanism]:
        return [m for m in self._known if (secure or not m.cleartext) and m.fits(context)]
