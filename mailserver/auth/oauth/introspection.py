"""Token introspection (RFC 7662): asks the issuer over HTTP whether a token is valid, and who its owner is.

The issuer may be slow, be down, or give an invalid answer. That says nothing about the token, so it is a TemporaryFailure.
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

from mailserver.auth.lookups import start_lookups
from mailserver.auth.oauth.settings import OAuthSettings
from mailserver.errors import TemporaryFailure

MAX_REQUESTS = 100
"""Requests at once: a service that hangs must not hold all sessions."""

MAX_OCTETS = 64 * 1024
"""Octets of an answer, which has a dozen claims."""

NETWORK_ERRORS = (ConnectError, DNSLookupError, ResponseFailed)
"""The errors of a request that got no answer."""

log = Logger()


class InvalidAnswer(Exception):
    """An answer that RFC 7662 does not allow, or none in time; the text says why, and contains nothing of the answer."""


class Introspection:
    """A client of the endpoint in `settings`."""

    def __init__(self, settings: OAuthSettings, reactor: Any) -> None:
        self._settings = settings
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor)
        self._client: HTTPClient = HTTPClient(Agent(reactor, pool=self._pool))
        self._pending: set[Deferred[Any]] = set()

    def start(self) -> None:
        """Start the threads. Errors: NoThreads."""
        start_lookups(self._reactor, "issuers")

    def stop(self) -> Deferred[None]:
        """Cancel the pending requests, and close the connections."""
        for request in tuple(self._pending):
            request.cancel()
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed

    async def claims(self, token: bytes) -> Mapping[str, object] | None:
        """The token's claims, as the issuer knows them; None when it is not active. Errors: TemporaryFailure."""
        if len(self._pending) >= MAX_REQUESTS:
            raise TemporaryFailure
        request = self._answer(token)
        self._pending.add(request)
        try:
            return _read(await request)
        except CancelledError:  # the client has left, or we stop: not the issuer's fault
            raise TemporaryFailure from None
        except (InvalidAnswer, *NETWORK_ERRORS) as error:
            log.warn(
                "token introspection at {url} failed: {reason}",
                event="auth.introspection",
                url=self._settings.introspection,
                reason=str(error) if isinstance(error, InvalidAnswer) else type(error).__name__,
            )
            raise TemporaryFailure from None
        finally:
            self._pending.discard(request)

    def _answer(self, token: bytes) -> Deferred[bytes]:
        """The endpoint's answer, within the timeout. After that, or when it is cancelled, Twisted's own result is dropped."""
        request = Deferred.fromCoroutine(self._ask(token))
        answer: Deferred[bytes] = Deferred(lambda _: give_up(CancelledError()))

        def give_up(why: Exception) -> None:
            answer.errback(why)
            request.cancel()

        late = self._reactor.callLater(self._settings.timeout_seconds, give_up, InvalidAnswer("no answer in time"))

        def answered(result: Any) -> None:
            if late.active():
                late.cancel()
            if not answer.called:
                answer.callback(result)

        request.addBoth(answered)
        return answer

    async def _ask(self, token: bytes) -> bytes:
        settings = self._settings
        credentials = (quote_plus(settings.client_id), quote_plus(settings.client_secret))  # RFC 6749 section 2.3.1
        response = await self._client.post(
            settings.introspection,
            data={"token": token.decode("ascii"), "token_type_hint": "access_token"},
            headers=Headers({"Accept": ["application/json"]}),
            auth=credentials if settings.client_id else None,
            allow_redirects=False,  # only the configured URL may see the token
        )
        body = Body()
        response.deliverBody(body)
        data = await body.whole
        if response.code != OK:
            raise InvalidAnswer(f"status {response.code}")
        return data


def _read(data: bytes) -> Mapping[str, object] | None:
    """The claims of an answer; None when it says that the token is not active. Errors: InvalidAnswer."""
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        raise InvalidAnswer("it is not JSON") from None
    match answer:
        case {"active": True}:
            return dict(answer)
        case {"active": False}:
            return None
    raise InvalidAnswer("it does not say whether the token is active")


class Body(Protocol):
    """Collects a response's body, up to `MAX_OCTETS`."""

    transport: Any  # of an HTTP response

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _: self.give_up())
        self._data = bytearray()

    def give_up(self) -> None:
        """Close the connection: nobody needs the rest."""
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Add a piece of the body."""
        self._data += data
        if len(self._data) > MAX_OCTETS:
            self.give_up()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Answer with the whole body, or fail."""
        if self.whole.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss) and len(self._data) <= MAX_OCTETS:
            self.whole.callback(bytes(self._data))
        else:
            self.whole.errback(InvalidAnswer("it was cut short, or is too long"))
