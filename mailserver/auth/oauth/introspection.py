"""Token introspection (RFC 7662): the issuer is asked, over HTTP, whether a token is good and whose it is.

The issuer may be slow, down, or answer nonsense. None of that says anything about the token: it is a TemporaryFailure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone, ResponseFailed
from twisted.web.http import OK, PotentialDataLoss
from twisted.web.http_headers import Headers

from mailserver.auth.oauth.settings import OAuthSettings
from mailserver.errors import TemporaryFailure
from mailserver.pool import no_threads

MAX_ASKING = 100
"""Questions at once: a service that hangs must not collect all the sessions there are."""

MAX_OCTETS = 64 * 1024
"""Of an answer, which has a dozen claims."""

LOOKUPS = 2
"""Threads for the DNS, which Twisted would start when the first question comes; then there may be no more to be had."""

TROUBLE = (ConnectError, DNSLookupError, ResponseFailed)
"""What can go wrong on the way."""

log = Logger()


class Nonsense(Exception):
    """An answer that is none of RFC 7662's; its text says why, and holds nothing of it."""


class Introspection:
    """A client of the endpoint in `settings`."""

    def __init__(self, settings: OAuthSettings, reactor: Any) -> None:
        self._settings = settings
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor)
        self._client: HTTPClient = HTTPClient(Agent(reactor, pool=self._pool))
        self._asking: set[Deferred[Any]] = set()

    def start(self) -> None:
        """Have the threads ready. Errors: NoThreads."""
        threads = self._reactor.getThreadPool()
        try:
            threads.adjustPoolsize(minthreads=max(threads.min, min(LOOKUPS, threads.max)))
        except (RuntimeError, MemoryError) as error:
            raise no_threads(LOOKUPS, "the names of issuers", error) from error

    def stop(self) -> Deferred[None]:
        """Give up on what was asked, and close the connections."""
        for asked in tuple(self._asking):
            asked.cancel()
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed

    async def claims(self, token: bytes) -> Mapping[str, object] | None:
        """What the issuer says of the token; None when it is not active. Errors: TemporaryFailure."""
        if len(self._asking) >= MAX_ASKING:
            raise TemporaryFailure
        asked = self._answer(token)
        self._asking.add(asked)
        try:
            return _read(await asked)
        except CancelledError:  # the client has left, or we stop: no trouble of the issuer's
            raise TemporaryFailure from None
        except (Nonsense, *TROUBLE) as error:
            log.warn(
                "token introspection at {url} failed: {reason}",
                event="auth.introspection",
                url=self._settings.introspection,
                reason=str(error) if isinstance(error, Nonsense) else type(error).__name__,
            )
            raise TemporaryFailure from None
        finally:
            self._asking.discard(asked)

    def _answer(self, token: bytes) -> Deferred[bytes]:
        """What the endpoint says, in time. Whatever Twisted makes of a question that is given up, nobody hears of it."""
        asked = Deferred.fromCoroutine(self._ask(token))
        answer: Deferred[bytes] = Deferred(lambda _: give_up(CancelledError()))

        def give_up(why: Exception) -> None:
            answer.errback(why)
            asked.cancel()

        late = self._reactor.callLater(self._settings.timeout_seconds, give_up, Nonsense("no answer in time"))

        def answered(result: Any) -> None:
            if late.active():
                late.cancel()
            if not answer.called:
                answer.callback(result)

        asked.addBoth(answered)
        return answer

    async def _ask(self, token: bytes) -> bytes:
        settings = self._settings
        credentials = (quote_plus(settings.client_id), quote_plus(settings.client_secret))  # RFC 6749 section 2.3.1
        response = await self._client.post(
            settings.introspection,
            data={"token": token.decode("ascii"), "token_type_hint": "access_token"},
            headers=Headers({"Accept": ["application/json"]}),
            auth=credentials if settings.client_id else None,
            allow_redirects=False,  # nobody but the configured URL gets to see the token
        )
        body = _Body()
        response.deliverBody(body)
        data = await body.whole
        if response.code != OK:
            raise Nonsense(f"status {response.code}")
        return data


def _read(data: bytes) -> Mapping[str, object] | None:
    """The claims of an answer; None when it says that the token is not active. Errors: Nonsense."""
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        raise Nonsense("it is no JSON") from None
    match answer:
        case {"active": True}:
            return dict(answer)
        case {"active": False}:
            return None
    raise Nonsense("it does not say whether the token is active")


class _Body(Protocol):
    """Collects a body, up to `MAX_OCTETS`."""

    transport: Any  # of an HTTP response

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _: self.give_up())
        self._data = bytearray()

    def give_up(self) -> None:
        """Close: nobody wants to know the rest."""
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Keep a piece."""
        self._data += data
        if len(self._data) > MAX_OCTETS:
            self.give_up()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Hand the body over."""
        if self.whole.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss) and len(self._data) <= MAX_OCTETS:
            self.whole.callback(bytes(self._data))
        else:
            self.whole.errback(Nonsense("it was cut short, or is too long"))
