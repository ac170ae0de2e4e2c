"""The POP3 protocol: how each of the session's effects is performed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, cast

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface

from mailserver.asker import asked_by
from mailserver.credentials import ActingFor, BearerToken, Credentials, KerberosIdentity, Unproven, proven, renamed
from mailserver.envelope import Envelope as Details
from mailserver.errors import (
    AuthenticationFailed,
    HeldTooLong,
    LoginRefused,
    MessageGone,
    OutcomeUnknown,
    StoreError,
    refusal_for,
)
from mailserver.exchange import VerifierOf
from mailserver.interfaces import IBody, IMaildrop, Mind
from mailserver.net.compat import adapt
from mailserver.net.connection import Connection
from mailserver.net.core import Core
from mailserver.net.failures import settle, translate
from mailserver.net.story import (
    UNSETTLED,
    end_of,
    facts,
    printable,
    tell_failed_login,
    tell_held_login,
    tell_remark,
    tell_session,
    tell_tls_failure,
)
from mailserver.net.throttle import Attempt, network
from mailserver.net.tls_transport import start_tls
from mailserver.net.transfer import SENDFILE_LEAST, FileSender, Transfer
from mailserver.protocol.effects import Close, Commit, Envelope, Login, Retrieve, Sasl, StartTLS, Turn
from mailserver.protocol.pop3 import Session

if TYPE_CHECKING:
    from mailserver.net.listener import POP3ServerFactory

log = Logger()


class POP3Server(Connection):
    """One POP3 connection. What it needs of the world comes from its factory."""

    __slots__ = (
        "_attempt",
        "_committing",
        "_logout",
        "_maildrop",
        "deleted",
        "factory",
        "fetched",
        "number",
        "principal",
        "retrieved",
        "session",
    )

    session: Session

    def __init__(self, factory: POP3ServerFactory, peer: str) -> None:
        super().__init__(factory.clock, peer)
        self.factory: POP3ServerFactory = factory
        self.number = factory.number()
        self.principal = ""
        self.retrieved = 0
        self.fetched: set[int] | None = None
        self.deleted: int | None = None  # until the UPDATE state has removed them
        self._attempt: Attempt | None = None  # at a secret, until its outcome is known
        self._maildrop: IMaildrop | None = None
        self._logout: Callable[[], object] | None = None
        self._committing = False

    def begin(self, *, tls: bool) -> Core:
        """Return the session that the listener's policy gives this client."""
        self.session = self.factory.session(self.peer, self, tls=tls)
        return self.session

    def perform(self, effect: Any) -> None:
        """Begin to do what the session asked for."""
        self.performers[type(effect)](self, effect)

    def allowed_seconds(self) -> float:
        """After the login, the time without a sign of life; before it, `stranger_seconds` alone counts."""
        limits = self.factory.limits
        return limits.login_seconds if self._maildrop is None else limits.idle_seconds

    def stranger_seconds(self) -> float:
        """The time counts from the connection on: a slow guesser gains nothing by noise, or by reading slowly."""
        return self.factory.limits.login_seconds if self._maildrop is None else inf

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Give everything back, and tell what an operator would want to know of a client that did not get in."""
        self.factory.ended(self)
        self.end(end_of(reason))
        if isinstance(reason.value, SSL.Error):
            tell_tls_failure(self, reason.value)
        remark = self.core.remark if isinstance(self.core, Session) else None
        if remark is not None:
            tell_remark(self, remark)
        self._end_attempt(Attempt.abandoned)
        super().connectionLost(reason)

    def readConnectionLost(self) -> None:
        """Keep no place for a client that has closed its side while it waits for its turn."""
        super().readConnectionLost()
        if self._attempt is not None:
            self._attempt.refuse()

    def drain(self) -> None:
        """Close as soon as nothing is under way: to wait for a turn is nothing."""
        super().drain()
        if self._attempt is not None:
            self._attempt.refuse()

    def leave(self) -> None:
        """Log out, and say in one line what the session did. A commit that has begun goes on: QUIT was read."""
        if self._logout is None or self._committing:
            return
        self._log_out()
        tell_session(self)

    @property
    def name(self) -> str:
        """What the log calls the session."""
        return self.factory.name_of(self.number)

    def facts(self) -> dict[str, Any]:
        """Return what the log tells of whoever is logged in, or tried to be."""
        return facts(self)

    def _log_out(self) -> None:
        logout, self._logout = self._logout, None
        try:
            if logout is not None:
                logout()
        except Exception:  # noqa: BLE001 - a portal of somebody else's may raise what it likes; the rest must go on
            log.failure("fault in the logout of {user!r} from {peer}", event="fault", **self.facts())

    # The effects.

    def _close(self, _: Close) -> None:
        refusal = self.core.closed_by if isinstance(self.core, Session) else None
        self.end("QUIT" if refusal is None else f"refusal: {refusal.line.decode('ascii')}")
        self.close()

    def _turn(self, _: Turn) -> None:
        self.after(0, self.session.turned)

    def _start_tls(self, _: StartTLS) -> None:
        self.flush()
        self.tls, self.plain, self._direct = True, False, False
        self.transport = start_tls(self.transport, self, cast(IOpenSSLServerConnectionCreator, self.factory.tls))
        self.session.tls_started()

    def _sasl(self, effect: Sasl) -> None:
        """Ask the oracle: about a secret when its turn has come, about a ticket, which nobody guesses, at once."""
        match effect.request:
            case VerifierOf(username=name) | BearerToken(claimed=name):
                names = self.factory.names
                read = None if names is None else names.read(name)
                self.user = printable(name if read is None else read.encode("utf-8"))
                self._in_turn(lambda: self._ask(effect))
            case _:
                self._ask(effect)

    def _ask(self, effect: Sasl) -> None:
        asked = asked_by(network(self.peer), self.factory.ask, effect.request)
        self.wait(asked, self._answered, self._login_refused, revocable=True)

    def _answered(self, value: object) -> None:
        if self._attempt is not None and (value is None or isinstance(value, LoginRefused)):
            self._attempt.failed()  # a bad token, whatever its bearer says to that
        self.session.answered(value)

    def _login(self, effect: Login) -> None:
        names = self.factory.names
        credentials = effect.credentials if names is None else renamed(effect.credentials, names.read)
        if isinstance(credentials, KerberosIdentity):
            self.principal = printable(credentials.principal.encode("utf-8", "backslashreplace"))
        self.user = printable(credentials.username) or self.principal
        if self._attempt is not None and self._attempt.visitor.user != self.user and proven(credentials):
            self._end_attempt(Attempt.withdrawn)  # it was another's: a token's owner need not be who was claimed
        if proven(credentials) or (self._attempt is not None and isinstance(credentials, Unproven)):
            self._log_in(effect, credentials)
        else:
            self._in_turn(lambda: self._log_in(effect, credentials))

    def _in_turn(self, verify: Callable[[], object]) -> None:
        """Go on with `verify` when it is the turn of an attempt at the user's secret."""
        self._end_attempt(Attempt.abandoned)  # what an exchange had begun that was cancelled
        attempt = self._attempt = self.factory.attempt(self.peer, self.user)
        self.wait(attempt.granted, lambda _: verify(), self._login_refused)

    def _end_attempt(self, tell: Callable[[Attempt], object]) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            tell(attempt)

    def _log_in(self, effect: Login, credentials: Credentials) -> None:
        mind = Mind(self.peer, self.session.tls, self.factory.listener, self.name)
        login = asked_by(network(self.peer), self.factory.logins.begin, credentials, mind)
        login.addCallback(self._take_avatar)
        self.wait(
            login,
            lambda maildrop: self._logged_in(maildrop, credentials, mind),
            lambda failure: self._login_failed(failure, effect),
            revocable=True,
        )

    def _take_avatar(self, login: tuple[type[Interface], Any, Callable[[], object]]) -> IMaildrop | Deferred[IMaildrop]:
        interface, avatar, self._logout = login
        return avatar if interface is IMaildrop else adapt(avatar, self.clock)

    def _logged_in(self, maildrop: IMaildrop, credentials: Credentials, mind: Mind) -> None:
        if not credentials.username:  # a ticket alone has named him
            self.user = printable(mind.user.encode("utf-8")) or self.user
        if self.lost:
            self.leave()
            return
        self._maildrop = maildrop
        self.restrain(0)
        self._end_attempt(Attempt.succeeded)
        if isinstance(credentials, ActingFor):
            self.principal, self.user = self.user, printable(credentials.authzid)
        self.session.login_ok(maildrop.messages)

    def _login_failed(self, failure: Failure, effect: Login) -> None:
        self._log_out()  # of an avatar that could not be adapted
        if isinstance(refusal_for(failure.value), AuthenticationFailed):
            waited = 0.0 if self._attempt is None else self._attempt.waited
            tell_failed_login(self, effect.mechanism, failure.value, waited)
        self._login_refused(failure)

    def _login_refused(self, failure: Failure) -> None:
        if failure.check(HeldTooLong):
            tell_held_login(self)
        self._end_attempt(lambda attempt: settle(attempt, failure))
        self.session.refused(translate(failure, self.facts()))

    def _commit(self, effect: Commit) -> None:
        commit = self._drop.commit(effect.numbers)
        self._committing = True
        commit.addBoth(self._committed)
        self.wait(commit, lambda left: self._updated(len(effect.numbers), left), self._refused)

    def _committed(self, result: Any) -> Any:
        self._committing = False
        return result

    def _updated(self, marked: int, left: int) -> None:
        self.deleted, self.ended = marked - left, "QUIT"
        self.session.committed(left)
        if self.lost:
            self.leave()

    def _refused(self, failure: Failure) -> None:
        if failure.check(OutcomeUnknown):
            self.ended = UNSETTLED
        self.session.refused(translate(failure, self.facts()))
        if self.lost:
            self.leave()

    @property
    def _drop(self) -> IMaildrop:
        if self._maildrop is None:
            raise RuntimeError("no maildrop is open")
        return self._maildrop

    def _retrieve(self, effect: Retrieve) -> None:
        try:
            body = self._drop.fetch(effect.number)
        except StoreError:
            self._refused(Failure())
            return
        if isinstance(body, Deferred):
            self.wait(body, lambda opened: self._send(effect, opened), self._refused)
        else:
            self._send(effect, body)

    def _send(self, effect: Retrieve, body: IBody) -> None:
        if self.lost:
            body.close()
            return
        row = self.session.messages[effect.number - 1]
        self.session.opened()
        direct = self.plain and row.wire and effect.lines is None and row.octets >= SENDFILE_LEAST
        fileno = body.fileno() if direct else None
        if fileno is None:
            self.send(Transfer(body, lambda octets: self._sent(effect, octets), wire=row.wire, lines=effect.lines))
        else:
            self.send_file(
                FileSender(self.transport, body, fileno, row.octets, lambda octets: self._sent(effect, octets))
            )

    def _sent(self, effect: Retrieve, octets: int) -> None:
        if effect.lines is None:
            self.retrieved += 1
            if self.fetched is None:
                self.fetched = set()
            self.fetched.add(effect.number)
            self._drop.sent(effect.number, octets)
        self.session.sent()

    def _envelope(self, effect: Envelope) -> None:
        try:
            envelope = self._drop.envelope(effect.number)
        except StoreError:
            self._no_envelope(Failure())
            return
        if isinstance(envelope, Deferred):
            self.wait(envelope, self._enveloped, self._no_envelope)
        else:
            self._enveloped(envelope)

    def _enveloped(self, envelope: Details) -> None:
        self.session.enveloped(envelope.completed(self.user.encode("utf-8"), self.session.policy.hostname))

    def _no_envelope(self, failure: Failure) -> None:
        """A message that is gone gets an answer all the same: fetchmail reads no -ERR here. RETR will refuse it."""
        if failure.check(MessageGone):
            translate(failure, self.facts())
            self._enveloped(Details())
        else:
            self._refused(failure)

    performers: ClassVar[Mapping[type, Callable[[Any, Any], None]]] = {
        Close: _close,
        Turn: _turn,
        StartTLS: _start_tls,
        Sasl: _sasl,
        Login: _login,
        Commit: _commit,
        Retrieve: _retrieve,
        Envelope: _envelope,
    }
