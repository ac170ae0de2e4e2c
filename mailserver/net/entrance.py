"""How a client of POP3 gets in: the oracle's answers, the turns at a secret, and the portal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface

from mailserver.asker import asked_by
from mailserver.credentials import ActingFor, BearerToken, Credentials, KerberosIdentity, Unproven, proven, renamed
from mailserver.errors import AuthenticationFailed, HeldTooLong, LoginRefused, refusal_for
from mailserver.exchange import VerifierOf
from mailserver.interfaces import IMaildrop, Mind
from mailserver.net.compat import adapt
from mailserver.net.connection import Connection
from mailserver.net.failures import settle, translate
from mailserver.net.story import facts, printable, tell_failed_login, tell_held_login
from mailserver.net.throttle import Attempt, network
from mailserver.protocol.effects import Login, Sasl
from mailserver.protocol.pop3 import Session

if TYPE_CHECKING:
    from mailserver.net.listener import POP3ServerFactory

log = Logger()


class Entrance(Connection):
    """A connection whose client logs in. What that needs of the world comes from its factory."""

    __slots__ = ("_attempt", "_logout", "_maildrop", "factory", "number", "principal", "session")

    session: Session

    def __init__(self, factory: POP3ServerFactory, peer: str) -> None:
        super().__init__(factory.clock, peer)
        self.factory: POP3ServerFactory = factory
        self.number = factory.number()
        self.principal = ""
        self._attempt: Attempt | None = None  # at a secret, until its outcome is known
        self._maildrop: IMaildrop | None = None
        self._logout: Callable[[], object] | None = None

    def allowed_seconds(self) -> float:
        """After the login, the time without a sign of life; before it, `stranger_seconds` alone counts."""
        limits = self.factory.limits
        return limits.login_seconds if self._maildrop is None else limits.idle_seconds

    def stranger_seconds(self) -> float:
        """The time counts from the connection on: a slow guesser gains nothing by noise, or by reading slowly."""
        return self.factory.limits.login_seconds if self._maildrop is None else inf

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """To leave in the middle of an attempt is a failure."""
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
        if self._half_closed or self.draining:
            attempt.refuse()  # nobody waits for it any more; if it need not wait it is under way
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

    performers: ClassVar[Mapping[type, Callable[[Any, Any], None]]] = {Sasl: _sasl, Login: _login}
