"""The listener's door: a session of it is asked, as a client would ask it, whether it takes such a login."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from zope.interface import Interface

from mailserver.credentials import (
    ActingFor,
    Apop,
    CramMd5,
    IKerberosIdentity,
    KerberosIdentity,
    Password,
    VerifiedIdentity,
)
from mailserver.exchange import IMechanism, SaslContext
from mailserver.foresight import Attempt
from mailserver.net.kpop import KPOPServerFactory
from mailserver.net.pop3_listener import POP3ServerFactory
from mailserver.protocol.effects import Login
from mailserver.protocol.pop3 import Session
from mailserver.reasons import NEEDS_TLS, NOT_OFFERED, Reason
from mailserver.sasl import BY_NAME, MECHANISMS
from mailserver.saslprep import prepared

KNOWN: Final[Mapping[str, IMechanism]] = {each.name.decode("ascii"): each for each in (*MECHANISMS, *BY_NAME)}
"""The SASL mechanisms, by name."""

_BINDINGS: Final = {b"tls-exporter": b"", b"tls-server-end-point": b""}


class Asked(NamedTuple):
    """What the portal would be asked by such a login."""

    credentials: Any
    """With names as the client has sent them, and no secret."""
    interface: type[Interface]
    """Of the credentials, or of the request that comes before them."""
    mechanism: bytes
    """The name in `IVerifiers`; b"": a password, or no secret at all."""
    secret: bool
    """Whether a secret is verified, for which the throttle gives turns."""


class _Client:
    """What a session asks of its connection."""

    def __init__(self, hostname: bytes, identities: tuple[bytes, ...], *, tls: bool) -> None:
        self._context = SaslContext(hostname, tls, b"nonce", _BINDINGS if tls else {}, identities if tls else ())

    def surroundings(self) -> SaslContext:
        """The context of an exchange."""
        return self._context


def asked(attempt: Attempt) -> Asked:
    """What the portal would be asked; an unknown mechanism is one that takes a password."""
    name, user = attempt.mechanism or "USER", attempt.user.encode("utf-8", "surrogateescape")
    if attempt.principal:
        return Asked(KerberosIdentity(attempt.principal, user), IKerberosIdentity, b"", secret=False)
    if name == "USER":
        return Asked(Password(user.strip(b" "), b""), IUsernamePassword, b"", secret=True)
    if name == "APOP":
        return Asked(Apop(b"", user.strip(b" "), b""), IUsernameHashedPassword, b"APOP", secret=True)
    mechanism = KNOWN.get(name)
    interface = IUsernamePassword if mechanism is None else mechanism.credentials
    own, other = (
        prepared(attempt.master.encode("utf-8", "surrogateescape") or user),
        prepared(user) if attempt.master else b"",
    )
    by_secret = mechanism.asks if mechanism is not None and interface is not IKerberosIdentity else b""
    if interface is IUsernameHashedPassword:
        return Asked(CramMd5(own, b"", b""), interface, name.encode("ascii"), secret=True)
    proof = Password(own, b"") if interface is IUsernamePassword else VerifiedIdentity(own)
    whole = ActingFor(proof, other) if other and other != own else proof
    return Asked(whole, interface, by_secret, secret=name != "EXTERNAL")


class Taken(NamedTuple):
    """Whether a listener takes such a login."""

    refusal: Reason | None
    """Why it does not; None: it does."""
    reply: str
    """What the client hears of that."""
    can: Sequence[str]
    """The ways to log in that it takes of this client."""


def take(listener: POP3ServerFactory, attempt: Attempt, *, tls: bool, certificates: bool) -> Taken:
    """Ask a session of the listener. With `certificates` the client's own names the user."""
    own = (attempt.master or attempt.user).encode("utf-8", "surrogateescape")
    session = _session(listener, attempt, (prepared(own),) if certificates else (), tls=tls)
    can = ["USER"] if session.policy.user and session.secure else []
    if not session.principal:
        can += [*(["APOP"] if session.stamp else []), *(each.name.decode("ascii") for each in session.mechanisms())]
    reply = _replied(session, attempt)
    if reply is None:
        return Taken(None, "", can)
    unsafe = session.remark is not None and session.remark.why is NEEDS_TLS
    return Taken(NEEDS_TLS if unsafe else NOT_OFFERED, reply, can)


def _session(listener: POP3ServerFactory, attempt: Attempt, identities: tuple[bytes, ...], *, tls: bool) -> Session:
    if isinstance(listener, KPOPServerFactory):
        return listener.session_of(attempt.principal or "nobody", tls=tls)
    client: Any = _Client(b"", identities, tls=tls)
    return listener.session(attempt.peer, client, tls=tls)


def _replied(session: Session, attempt: Attempt) -> str | None:
    """The session's refusal of such a login; None: it would hand it on."""
    session.take()
    user = attempt.user.encode("utf-8", "surrogateescape")
    match attempt.mechanism or "USER":
        case "USER":
            lines = b"USER %b\r\nPASS x\r\n" % user
        case "APOP":
            lines = b"APOP %b %b\r\n" % (user, b"0" * 32)
        case "PLAIN":  # the one mechanism whose whole exchange is one line
            own, other = (attempt.master.encode("utf-8", "surrogateescape"), user) if attempt.master else (user, b"")
            lines = b"AUTH PLAIN\r\n%b\r\n" % b64encode(b"\0".join((other, own, b"x")))
        case name:
            lines = b"AUTH %b\r\n" % name.encode("ascii", "replace")
    session.feed(lines)
    if isinstance(session.next(), Login):
        return None
    refusals = [each for each in session.take() if each.startswith(b"-ERR")]
    return refusals[0].decode("ascii", "replace").removeprefix("-ERR").strip() if refusals else None
