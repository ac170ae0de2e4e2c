"""The pages over HTTP/1.1, by twisted.web's channel: one request a connection, and each within a time, a size and a number.

It reads nothing but the path and a few headers: there are no folders to leave, no bodies, no cookies, and no words about what
went wrong inside.
"""

from __future__ import annotations

from collections import Counter
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
from mailserver.net.places import Dropped
from mailserver.net.tally import Tally
from mailserver.net.throttle import network
from mailserver.web.guard import names_an_address, shows
from mailserver.web.pages import Answer, Asked, Page
from mailserver.web.target import BadTarget, Target, read_target

CONNECTIONS: Final = 32
"""Connections at once of a port in each process: a few scrapers and browsers. Each holds 32 KiB at most, and an answer."""

ALPN: Final = b"http/1.1"
"""The protocol's name where a client of TLS says which it speaks (RFC 7301 section 6)."""

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

_TOO_LONG: Final = b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

_FULL: Final = f"all {CONNECTIONS} places are taken"

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
    ) -> None:
        self.clock = clock
        self.listener = listener
        self.refusals = Tally(_tell_refused)
        self._turned_away = Tally(_tell_turned_away)
        self._pages = pages
        self._token = token
        self._channels: dict[_Channel, None] = {}  # the oldest first

    def logPrefix(self) -> str:
        """Name the listener in Twisted's own log lines."""
        return self.listener

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Build a connection. Where there are too many, it has the place of another one, or ends at once if it finds none."""
        channel = _Channel(self, peer_host(addr))
        self._channels[channel] = None
        if len(self._channels) <= CONNECTIONS:
            return channel
        leaving = self._leaving(channel)
        self.ended(leaving)
        self._turned_away.count(self.clock.seconds(), listener=self.listener, peer=leaving.peer, reason=_FULL)
        if leaving is channel:
            return Dropped()
        leaving.abort()
        return channel

    def _leaving(self, newcomer: _Channel) -> _Channel:
        """Who must leave for a newcomer: the oldest connection of the address with most of them; the newcomer, if there is no other.

        Otherwise whoever holds all places and says nothing would keep everybody out; and one address only pushes out its own, as soon as
        it has more than each other. A page that is being made is waited for: that client had to show the token, or is on this machine.
        """
        waiting = [each for each in self._channels if not each.answering]
        share = Counter(network(each.peer) for each in waiting)
        return max(waiting[:-1], key=lambda each: share[network(each.peer)], default=newcomer)

    def abort(self) -> None:
        """Drop every connection."""
        for channel in tuple(self._channels):
            channel.abort()

    # What its connections call.

    def ended(self, channel: _Channel) -> None:
        """Forget a connection."""
        self._channels.pop(channel, None)

    def answer(self, request: _Request) -> Any:
        """The answer to a request, or an awaitable of it."""
        if request.method not in (b"GET", b"HEAD"):
            return _said(405, "only GET and HEAD are served here")
        try:
            hosts = request.requestHeaders.getRawHeaders(b"Host", ())
            target = read_target(request.uri, hosts, old=request.clientproto == b"HTTP/1.0")
        except BadTarget as error:
            return _said(400, str(error))
        page = self._pages.get(target.path)
        if not (page is not None and page.public) and (refusal := self._refusal(request, target)):
            return refusal
        if page is None:
            return _said(404, "there is no such page")
        return page.answer(Asked(accept=_field(request, b"Accept").decode("latin-1")))

    def _refusal(self, request: _Request, target: Target) -> Answer | None:
        """Why a page is not shown; None: it is."""
        host = request.host
        if isinstance(host, UNIXAddress):
            return None  # its file's mode has let the client in
        token = self._token()
        if token:
            given = _field(request, b"Authorization")
            if shows(given, token):
                return None
            if given:  # a browser comes without, and asks for it only then
                self.refusals.count(self.clock.seconds(), listener=self.listener, peer=request.channel.peer)
            return _said(401, "a token is needed: as Bearer, or as the password of Basic")
        if not is_loopback(peer_host(host)):
            return _said(403, "these pages need a token or a Unix socket")
        if not names_an_address(target.host):
            return _said(421, "ask by an address, or as localhost")
        return None


class _Channel(HTTPChannel):
    """A connection: one request, and its end."""

    maxHeaders = MOST_HEADERS  # noqa: N815 - Twisted's names
    totalHeadersSize = LONGEST_LINE  # noqa: N815
    MAX_LENGTH = LONGEST_LINE
    timeOut = None  # noqa: N815 - an idle client's, and `SECONDS` are everybody's
    transport: Any
    answering = False
    """Whether a page is being made for its request."""

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

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: ARG002 - Twisted's signature
        """Say so, and end: by RFC 9112 section 3 where it is the first line, by RFC 6585 section 5 where it is a header."""
        self.transport.write(
            _TOO_LONG % (b"431 Request Header Fields Too Large" if self.requests else b"414 URI Too Long")
        )
        self.transport.loseConnection()

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
        self.channel.answering = True
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
        self.channel.answering = False
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
        "{peer} has asked {listener} for a page with a wrong token{remarks}",
        event="web.refused",
        listener=listener,
        peer=peer,
        others=others,
        remarks=remarks,
    )
