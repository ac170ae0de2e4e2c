"""The pages over HTTP/1.1, by twisted.web's channel: one request a connection, and each within a time, a size and a number.

It reads nothing but the path and a few headers: there are no folders to leave, no bodies, no cookies, and no words about what
went wrong inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from inspect import isawaitable
from io import BytesIO
from typing import Any, Final

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request, datetimeToString

from mailserver.net.listener import is_loopback, peer_host
from mailserver.net.places import Dropped, Places
from mailserver.net.tally import Tally
from mailserver.web.guard import names_an_address, shows
from mailserver.web.pages import Answer, Asked, Page

CONNECTIONS: Final = 32
"""Connections at once in each process: a few scrapers and browsers; more are dropped. Each holds 32 KiB at most, and an answer."""

SECONDS: Final = 30.0
"""How long a connection may take, from its first octet to its answer's last: whoever is slower is cut."""

LONGEST_LINE: Final = 8192
MOST_HEADERS: Final = 64

ALWAYS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Connection": "close",
}
"""Headers of every answer: a browser keeps it to itself, shows it nowhere else, and takes it for what it is."""

POLICY: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

log = Logger()


class Site(ServerFactory):
    """The factory of the pages' connections. `token` answers the token of now; b"": there is none."""

    noisy = False

    def __init__(
        self,
        pages: Mapping[str, Page],
        *,
        clock: IReactorTime,
        token: Callable[[], bytes] = lambda: b"",
        listener: str = "http",
        places: Places | None = None,
    ) -> None:
        self.clock = clock
        self.listener = listener
        self.refusals = Tally(_tell_refused)
        self._pages = pages
        self._token = token
        self._places = places or Places(
            CONNECTIONS, CONNECTIONS, tell=_tell_turned_away, setting="the number of pages at once"
        )
        self._channels: set[_Channel] = set()

    def logPrefix(self) -> str:
        """Name the listener in Twisted's own log lines."""
        return self.listener

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Build a connection, or one that ends at once if there are too many."""
        peer = peer_host(addr)
        if reason := self._places.take(peer):
            self._places.tally.count(self.clock.seconds(), listener=self.listener, peer=peer, reason=reason)
            return Dropped()
        channel = _Channel(self, peer)
        self._channels.add(channel)
        return channel

    def abort(self) -> None:
        """Drop every connection."""
        for channel in tuple(self._channels):
            channel.abort()

    # What its connections call.

    def ended(self, channel: _Channel) -> None:
        """Forget a connection."""
        self._channels.discard(channel)
        self._places.give_back(channel.peer)

    def answer(self, request: _Request) -> Any:
        """The answer to a request, or an awaitable of it."""
        method, path = request.method, request.uri.partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return _said(405, "only GET and HEAD are served here")
        page = self._pages.get(path.decode("latin-1"))
        if not (page is not None and page.public) and (refusal := self._refusal(request)):
            return refusal
        if page is None:
            return _said(404, "there is no such page")
        return page.answer(Asked(accept=_field(request, b"Accept").decode("latin-1")))

    def _refusal(self, request: _Request) -> Answer | None:
        """Why a page is not shown; None: it is."""
        host = request.host
        if isinstance(host, UNIXAddress):
            return None  # its file's mode has let the client in
        token = self._token()
        if token:
            if shows(_field(request, b"Authorization"), token):
                return None
            self.refusals.count(self.clock.seconds(), listener=self.listener, peer=request.channel.peer)
            return _said(401, "a token is needed: as Bearer, or as the password of Basic")
        if not is_loopback(peer_host(host)):
            return _said(403, "these pages need a token or a Unix socket")
        if not names_an_address(_field(request, b"Host").decode("latin-1")):
            return _said(421, "ask by an address, or as localhost")
        return None


class _Channel(HTTPChannel):
    """A connection: one request, and its end."""

    maxHeaders = MOST_HEADERS  # noqa: N815 - Twisted's names
    totalHeadersSize = LONGEST_LINE  # noqa: N815
    MAX_LENGTH = LONGEST_LINE
    timeOut = None  # noqa: N815 - an idle client's, and `SECONDS` are everybody's
    transport: Any

    def __init__(self, site: Site, peer: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as all of twisted.web.http
        self.site = site
        self.peer = peer
        self.requestFactory = _Request
        self._late: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Begin its time."""
        self._late = self.site.clock.callLater(SECONDS, self.abort)
        super().connectionMade()  # type: ignore[no-untyped-call]

    def checkPersistence(self, request: object, version: object) -> bool:  # noqa: ARG002 - Twisted's signature
        """Never: connections that wait for a next request would take the places of others."""
        return False

    def abort(self) -> None:
        """End at once."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Give its place back."""
        if self._late is not None and self._late.active():
            self._late.cancel()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self.site.ended(self)


class _Request(Request):
    """A request. A body that comes along goes nowhere."""

    channel: Any
    _waiting: Deferred[Any] | None = None

    def gotLength(self, length: object) -> None:  # noqa: ARG002 - Twisted's signature
        """Make no file for the body, however long it says it is."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Drop it."""

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Answer."""
        self.method, self.uri, self.clientproto = command, path, version
        try:
            answer = self.channel.site.answer(self)
        except Exception:  # noqa: BLE001 - a page's fault, which ends this request alone
            self._failed(Failure())
            return
        if not isawaitable(answer):
            self._say(answer)
            return
        self._waiting = Deferred.fromCoroutine(_awaited(answer))
        self._waiting.addCallbacks(self._say, self._failed)

    def connectionLost(self, reason: Failure) -> None:
        """Wait no longer for the answer."""
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        if self._waiting is not None:
            self._waiting.cancel()

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) and self._disconnected:
            return
        log.failure("fault in a page", failure, event="fault")
        self._say(_said(500, "the server has a fault, which its log tells"))

    def _say(self, answer: Answer) -> None:
        if self._disconnected:
            return
        policy = "; ".join(filter(None, (POLICY, answer.policy)))
        own = {"Content-Type": answer.type, "Content-Length": str(len(answer.body)), "Content-Security-Policy": policy}
        own["Date"] = datetimeToString().decode("ascii")
        if answer.code == 401:  # noqa: PLR2004
            own["WWW-Authenticate"] = 'Basic realm="mailserver", charset="UTF-8"'
        elif answer.code == 405:  # noqa: PLR2004
            own["Allow"] = "GET, HEAD"
        for name, value in {**ALWAYS, **own}.items():
            self.setHeader(name, value)  # type: ignore[no-untyped-call]
        self.setResponseCode(answer.code, HTTPStatus(answer.code).phrase.encode())  # Twisted does not know all
        self.write(answer.body)  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]


async def _awaited(answer: Any) -> Answer:
    said: Answer = await answer
    return said


def _said(code: int, text: str) -> Answer:
    return Answer(body=f"{text}\n".encode(), code=code)


def _field(request: _Request, name: bytes) -> bytes:
    """A header, or nothing. Its octets may be in no encoding: of a name that is a str, Twisted decodes the value as UTF-8."""
    return bytes(request.getHeader(name) or b"")


def _tell_turned_away(*, listener: str, peer: str, reason: str, others: int, remarks: str) -> None:
    log.info(
        "turned away {peer} from {listener}: {reason}{remarks}",
        event="web.turned_away",
        listener=listener,
        peer=peer,
        reason=reason,
        others=others,
        remarks=remarks,
    )


def _tell_refused(*, listener: str, peer: str, others: int, remarks: str) -> None:
    log.warn(
        "{peer} has asked {listener} for a page without its token{remarks}",
        event="web.refused",
        listener=listener,
        peer=peer,
        others=others,
        remarks=remarks,
    )
