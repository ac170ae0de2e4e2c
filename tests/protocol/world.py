"""A small world for a session: it answers every effect at once, from a dict, without a reactor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from twisted.cred.credentials import IUsernamePassword
from zope.interface import implementer

from mailserver.credentials import Apop, Credentials, KerberosIdentity, Password
from mailserver.envelope import EnvelopeHeaders
from mailserver.errors import AuthenticationFailed, MessageUnavailable, Refusal, TemporaryFailure
from mailserver.exchange import Ask, Challenge, Done, IExchange, IMechanism, SaslContext, Step, VerifierOf
from mailserver.interfaces import TERMS, Terms
from mailserver.protocol.effects import Close, Commit, Effect, Envelope, Login, Retrieve, Sasl, StartTLS, Turn
from mailserver.protocol.pop3 import Policy, Session
from mailserver.protocol.pop3_commands import COMMANDS
from mailserver.protocol.wire import Stuffer, TopCut
from mailserver.sasl.login import LoginMechanism
from mailserver.sasl.plain import PlainMechanism
from mailserver.snapshot import Message, Snapshot
from tests.corpus import canonical

CHUNK = 7
"""Octets of a read: small and odd, so that edges fall everywhere."""


@implementer(IMechanism)
class OracleMechanism:
    """A mechanism that challenges, asks the oracle, and challenges again: RIDDLE."""

    name = b"RIDDLE"
    cleartext = False
    credentials = IUsernamePassword
    asks = b""

    def fits(self, context: SaslContext) -> bool:
        return True

    def begin(self, context: SaslContext) -> IExchange:
        return Riddle(context)


@implementer(IExchange)
class Riddle:
    """Challenge with the host name, ask for what is known of the name, and let the client repeat it."""

    def __init__(self, context: SaslContext) -> None:
        self.context = context
        self.name = b""
        self.known: object = None

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"who asks %b?" % self.context.hostname)
        if not self.name:
            self.name = response
            return Ask(VerifierOf(response, b"RIDDLE"))
        if response != self.known:
            raise AuthenticationFailed
        return Done(Password(self.name, response))

    def answer(self, value: object) -> Step:
        if value == b"nobody":
            raise AuthenticationFailed
        self.known = value
        return Challenge(b"")


MECHANISMS: tuple[IMechanism, ...] = (PlainMechanism(), LoginMechanism())
"""Those that the dialogs offer, whatever others there are."""


@dataclass
class Settings:
    """What a world is like. Message-numbers here are those of the session."""

    policy: Policy = field(default_factory=lambda: Policy(b"mail.example.org", cleartext=True))
    stamp: bytes = b""
    principal: str = ""
    tls: bool = False
    users: Mapping[bytes, bytes] = field(default_factory=lambda: {b"alice": b"secret"})
    messages: Sequence[bytes] = ()
    uidls: Sequence[bytes] = ()
    gone: frozenset[int] = frozenset()
    left: int = 0
    terms: Terms = TERMS
    login_refusal: Refusal | None = None
    commit_refusal: Refusal | None = None
    oracle_refusal: Refusal | None = None


class World:
    """Performs the effects of one session, and remembers them."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings = settings or Settings()
        self.session = Session(
            settings.policy, COMMANDS, settings.stamp, tls=settings.tls, principal=settings.principal
        )
        self.effects: list[Effect] = []
        self.closed = False
        self.maildrop = Snapshot.of(
            [
                Message(
                    settings.uidls[i] if settings.uidls else b"uid%d" % (i + 1), len(canonical(message)), wire=False
                )
                for i, message in enumerate(settings.messages)
            ]
        )

    def send(self, data: bytes) -> bytes:
        """What the server answers to these octets."""
        self.session.feed(data)
        return self.run()

    def run(self) -> bytes:
        """Perform effects until the session waits for octets, or is over; what it wrote meanwhile."""
        out = self.session.take()
        while (effect := self.session.next()) is not None:
            self.effects.append(effect)
            out += self.session.take()
            out += self._performers[type(effect)](self, effect)
        return b"".join(out + self.session.take())

    def count(self, kind: type[Effect]) -> int:
        """How many effects of a kind there were."""
        return sum(isinstance(effect, kind) for effect in self.effects)

    def _close(self, _: Close) -> list[bytes]:
        self.closed = True
        return []

    def _turn(self, _: Turn) -> list[bytes]:
        self.session.turned()
        return []

    def _start_tls(self, _: StartTLS) -> list[bytes]:
        self.session.tls_started()
        return []

    def _sasl(self, effect: Sasl) -> list[bytes]:
        request = effect.request
        assert isinstance(request, VerifierOf)
        if self.settings.oracle_refusal is not None:
            self.session.refused(self.settings.oracle_refusal)
        else:
            self.session.answered(self.settings.users.get(request.username, b"nobody"))
        return []

    def _login(self, effect: Login) -> list[bytes]:
        if not self._may(effect.credentials):
            self.session.refused(AuthenticationFailed())
        elif self.settings.login_refusal is not None:
            self.session.refused(self.settings.login_refusal)
        else:
            self.session.login_ok(self.maildrop, self.settings.terms)
        return []

    def _may(self, credentials: Credentials) -> bool:
        if isinstance(credentials, KerberosIdentity):
            return credentials.username == credentials.principal.partition("@")[0].encode()
        secret = self.settings.users.get(credentials.username)
        return secret is not None and isinstance(credentials, Password | Apop) and credentials.checkPassword(secret)

    def _commit(self, effect: Commit) -> list[bytes]:
        if self.settings.commit_refusal is not None:
            self.session.refused(self.settings.commit_refusal)
        else:
            self.session.committed(min(self.settings.left, len(effect.numbers)))
        return []

    def _envelope(self, effect: Envelope) -> list[bytes]:
        if effect.number in self.settings.gone:
            self.session.refused(TemporaryFailure())
        else:
            found = EnvelopeHeaders().read(self.settings.messages[effect.number - 1])
            self.session.enveloped(found.completed(b"alice", b"mail.example.org"))
        return []

    def _retrieve(self, effect: Retrieve) -> list[bytes]:
        if effect.number in self.settings.gone:
            self.session.refused(MessageUnavailable())
            return []
        self.session.opened()
        out = [*self.session.take(), *body(self.settings.messages[effect.number - 1], effect.lines)]
        self.session.sent()
        return out

    _performers: Mapping[type[Effect], Callable[[World, Effect], list[bytes]]] = {  # type: ignore[assignment]
        Close: _close,
        Turn: _turn,
        StartTLS: _start_tls,
        Sasl: _sasl,
        Login: _login,
        Commit: _commit,
        Retrieve: _retrieve,
        Envelope: _envelope,
    }


def body(message: bytes, lines: int | None) -> list[bytes]:
    """The rest of the answer to RETR or TOP, read in small chunks."""
    stuffer = Stuffer()
    pieces = [stuffer.feed(message[at : at + CHUNK]) for at in range(0, len(message), CHUNK)]
    pieces.append(stuffer.end())
    if lines is None:
        return pieces
    cut = TopCut(lines)
    out = []
    for piece in pieces[:-1]:
        out.append(cut.feed(piece))
        if cut.done:
            return [*out, b".\r\n"]
    return [*out, pieces[-1]]
