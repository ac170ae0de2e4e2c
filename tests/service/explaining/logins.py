"""A server in this process, whose logins are compared with what is said of them beforehand."""

from __future__ import annotations

import gc
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from hashlib import md5, pbkdf2_hmac, sha256
from pathlib import Path
from typing import Any, TypeVar

from OpenSSL import SSL
from twisted.internet import reactor as installed
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import globalLogPublisher
from zope.interface import directlyProvides

from mailserver.config.kinds import KINDS
from mailserver.config.problems import Problems
from mailserver.config.reading import decode
from mailserver.foresight import Attempt
from mailserver.reasons import NOT_OFFERED, of_event
from mailserver.service.explaining.steps import Walk
from mailserver.service.server import Server
from tests.gss import GssClient
from tests.net.sessions import Wire
from tests.net.tickets import ACCEPTED, HELLO, piece
from tests.realm import Realm, ap_req
from tests.sasl.clients import digest_md5

T = TypeVar("T")
reactor: Any = installed

PASSWORD = "s3same"

HANDSHAKE = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
"""Of a client in TLS without a certificate of its own."""


def spin(work: Coroutine[Any, Any, T], until: Callable[[], object] = lambda: True) -> T:
    """The result of a coroutine that waits for threads."""
    found: list[Any] = []
    done = Deferred.fromCoroutine(work).addBoth(found.append)
    assert done is not None
    while not found:
        reactor.iterate(0.002)
    if hasattr(found[0], "raiseException"):
        found[0].raiseException()
    return found[0]


@contextmanager
def lookups() -> Iterator[None]:
    """Where a reactor does not run, it looks up no names; meanwhile it does."""
    reactor.getThreadPool().start()
    try:
        yield
    finally:
        reactor._stopThreadPool()


class Login:
    """A real login, over a transport in memory: what was heard, and the reasons in the log."""

    def __init__(self, server: Server, attempt: Attempt, password: str = PASSWORD, realm: Realm | None = None) -> None:
        """`realm` gives the tickets."""
        self._realm = realm
        listener, tls = server.explainer._listener(attempt)
        peer = IPv4Address("TCP", attempt.peer, 4711)
        self._wire: Any = Wire(peer)
        if tls:
            directlyProvides(self._wire, ISSLTransport)
            self._wire.getHandle = lambda: HANDSHAKE
        self._events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self._events.append)
        self._server: Any = listener.buildProtocol(peer)
        self._heard = b""
        self._server.makeConnection(self._wire)
        self._talk = self._dialog(attempt, password)

    @property
    def let_in(self) -> bool:
        return b"+OK maildrop has " in self._heard

    @property
    def why(self) -> str:
        """The reason's name; "": let in."""
        if self.let_in:
            return ""
        assert not [event for event in self._events if event.get("event") == "fault"], self._events
        found = [reason for event in self._events if (reason := of_event(event)) is not None]
        return found[-1].name if found else NOT_OFFERED.name

    def run(self) -> Login:
        """Log in, and leave."""
        self.enter()
        self.leave()
        return self

    def enter(self) -> None:
        """Say one line after the other, each when the one before is answered."""
        for line in self._talk:
            before = len(self._heard)
            self._server.dataReceived(line)
            while not self._listen(before):
                reactor.iterate(0.002)
            if b"\r\n-ERR" in b"\r\n" + self._heard or self._wire.disconnecting:
                return

    def leave(self) -> None:
        self._server.connectionLost(connectionDone)
        globalLogPublisher.removeObserver(self._events.append)

    def _listen(self, before: int) -> bool:
        """Whether an answer has come."""
        self._heard += self._wire.value()
        self._wire.clear()
        return len(self._heard) > before or bool(self._wire.disconnecting)

    def _dialog(self, attempt: Attempt, password: str) -> Iterator[bytes]:  # noqa: C901 - a case for each mechanism
        self._listen(0)
        if b"-ERR" in self._heard:
            return
        user = attempt.user.encode("utf-8", "surrogateescape")
        if attempt.mechanism == "GSSAPI":
            yield from self._gssapi(attempt.principal, user)
            return
        if attempt.principal:
            yield from self._ticket(attempt.principal)
        match attempt.mechanism or "USER":
            case "USER":
                yield b"USER %b\r\n" % user
                yield b"PASS %b\r\n" % password.encode()
            case "APOP":
                stamp = self._heard[self._heard.find(b"<") : self._heard.find(b">") + 1]
                yield b"APOP %b %b\r\n" % (user, md5(stamp + password.encode()).hexdigest().encode())
            case "PLAIN":
                own, other = (attempt.master.encode(), user) if attempt.master else (user, b"")
                yield b"AUTH PLAIN %b\r\n" % b64encode(b"\0".join((other, own, password.encode())))
            case "CRAM-MD5":
                yield b"AUTH CRAM-MD5\r\n"
                digest = hmac.digest(password.encode(), self._challenge(), "md5").hex().encode()
                yield b64encode(user + b" " + digest) + b"\r\n"
            case "SCRAM-SHA-256":
                yield b"AUTH SCRAM-SHA-256 %b\r\n" % b64encode(b"n,,n=%b,r=nonce" % user)
                said = self._challenge()
                yield b64encode(scram(b"n=%b,r=nonce" % user, said, password.encode())) + b"\r\n"
                yield b"\r\n"  # after the server's proof
            case "DIGEST-MD5":
                yield b"AUTH DIGEST-MD5\r\n"
                uri = b"pop/mail.example.org"
                response, _ = digest_md5(user, password.encode(), self._challenge(), uri=uri)
                yield b64encode(response) + b"\r\n"
                yield b"\r\n"  # as above
            case "XOAUTH2" | "OAUTHBEARER" as name:
                yield from _bearer(name, user, password.encode())
            case name:
                yield b"AUTH %b\r\n" % name.encode()

    def _ticket(self, principal: str) -> Iterator[bytes]:
        """KPOP's preamble, with a ticket of the realm, or else the name of one."""
        tickets = self._realm
        ticket = ap_req(tickets, principal.partition("@")[0], mutual=False) if tickets else principal.encode()
        yield HELLO + piece(ticket)
        self._heard = self._heard.replace(ACCEPTED, b"")

    def _gssapi(self, principal: str, authzid: bytes) -> Iterator[bytes]:
        yield b"AUTH GSSAPI\r\n"
        assert self._realm is not None
        client = GssClient(self._realm, principal.partition("@")[0])
        yield b64encode(client.first) + b"\r\n"
        client.step(self._challenge())
        yield b"\r\n"
        client.unwrap(self._challenge())
        yield b64encode(client.wrap(b"\1\0\0\0" + authzid)) + b"\r\n"

    def _challenge(self) -> bytes:
        return b64decode(self._heard.splitlines()[-1].removeprefix(b"+ "))


def _bearer(mechanism: str, user: bytes, token: bytes) -> Iterator[bytes]:
    """By a token (RFC 7628, and what came before it)."""
    begin, end = (b"user=%b", b"") if mechanism == "XOAUTH2" else (b"n,a=%b,", b"AQ==")
    yield b"AUTH %b\r\n" % mechanism.encode()
    yield b64encode(begin % user + b"\1auth=Bearer %b\1\1" % token) + b"\r\n"
    yield end + b"\r\n"  # after the JSON of a failure


def scram(bare: bytes, said: bytes, password: bytes) -> bytes:
    """The client's last message (RFC 5802 section 3), with the proof."""
    nonce, salt, rounds = (part[2:] for part in said.split(b","))
    salted = pbkdf2_hmac("sha256", password, b64decode(salt), int(rounds))
    key = hmac.digest(salted, b"Client Key", "sha256")
    rest = b"c=biws,r=" + nonce
    signature = hmac.digest(sha256(key).digest(), b",".join((bare, said, rest)), "sha256")
    proof = bytes(one ^ other for one, other in zip(key, signature, strict=True))
    return rest + b",p=" + b64encode(proof)


@contextmanager
def served(folder: Path, users: str = "", settings: Mapping[str, Any] | None = None) -> Iterator[Server]:
    """A server with a passwd-file, without ports; ``{folder}`` in `users` and in the settings is this folder."""
    (folder / "users").write_text(users.replace("{folder}", str(folder)))
    given = {"cleartext": "always", "checkers": [f"passwd-file:{folder}/users"]}
    asked = {key: dict(value) if isinstance(value, Mapping) else value for key, value in (settings or {}).items()}
    whole: dict[str, Any] = {
        "hostname": "mail.example.org",
        "listen": {"pop3": ["tcp:0"], "control": ""},
        "store": {"url": "memory:"},
        **asked,
        "auth": {**given, **asked.get("auth", {})},
    }
    config, problems = decode(_filled(whole, str(folder))), Problems()
    server = Server(config, reactor, problems, sweeps=False)
    gc.freeze()  # its start collects garbage, in all that the tests before have left
    spin(server.start())
    try:
        for kind in KINDS.values():
            for endpoint in config.listen.of(kind.name):
                server.factory(kind.name, endpoint)
        yield server
    finally:
        spin(server.stop())


def _filled(value: Any, folder: str) -> Any:
    if isinstance(value, str):
        return value.replace("{folder}", folder)
    if isinstance(value, dict):
        return {key: _filled(each, folder) for key, each in value.items()}
    return [_filled(each, folder) for each in value] if isinstance(value, list) else value


def explained(server: Server, attempt: Attempt) -> Walk:
    return spin(server.explainer.explain(attempt))
