"""The door: names, portal, oracle and throttle in one place, for the clients of any protocol.

A listener has a `Door`, which keeps nothing of anybody; each of its clients has a `Visit` there. Both answer with Deferreds and
know no connection: who asks waits for the answer, cancels it when the client has left, and then calls `Visit.leave`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from mailserver.asker import asked_by
from mailserver.credentials import ActingFor, BearerToken, Credentials, KerberosIdentity, Unproven, proven, renamed
from mailserver.errors import (
    AuthenticationFailed,
    HeldTooLong,
    LoginRefused,
    Refusal,
    StoreError,
    TemporaryFailure,
    refusal_for,
)
from mailserver.exchange import VerifierOf
from mailserver.interfaces import IOracle, IRevocable, Mind
from mailserver.names import Names
from mailserver.net.failures import printable, tell_failed_login, tell_held_login, translate
from mailserver.net.throttle import Attempt, Throttle, network

Avatar = tuple[type[Interface], object, Callable[[], None]]
Adapt = Callable[[type[Interface], Any], Any]
"""Makes of an avatar, and of the interface that it has, what its listener serves; that, or a Deferred of it."""

log = Logger()


class Door:
    """Where the clients of a listener log in. Its parts may be other listeners', too.

    `portal` is any cred portal; it is asked for an avatar of the `interfaces`, the first that its realm knows, of which `adapt`
    makes what the listener serves. `names` reads the names that clients give, before portal and oracle see them. To cancel
    a login cancels what the portal's checkers do, and what its realm does if it is `IRevocable`; of another realm, and of a
    portal that is not cred's own, nobody knows what would be lost: they go on, and whom they let in is logged out.
    """

    def __init__(  # noqa: PLR0913 - its parts, named where they are given
        self,
        portal: Any,
        throttle: Throttle,
        *,
        interfaces: Sequence[type[Interface]],
        adapt: Adapt,
        oracle: IOracle | None = None,
        names: Names | None = None,
    ) -> None:
        self.names = names
        self.adapt = adapt
        self._throttle = throttle
        self._interfaces = interfaces
        self._oracle = oracle
        self._portal = portal
        self._foreign = type(portal) is not Portal
        if not self._foreign:
            self._portal = Portal(_Realm(portal))
            self._portal.checkers = portal.checkers

    def attempt(self, peer: str, user: str) -> Attempt:
        """Ask for a turn to verify what a client gave as `user`'s secret. An account has one for all of its users."""
        return self._throttle.attempt(peer, user, user if self.names is None else self.names.owner(user).maildrop)

    def ask(self, request: object) -> Deferred[object]:
        """Carry a SASL exchange's question to the oracle."""
        if self.names is not None and isinstance(request, VerifierOf):
            name = self.names.read(request.username)
            if name is not None:  # else the oracle finds that it is nobody's, and takes its time
                request = replace(request, username=name.encode("utf-8"), typed=request.typed or request.username)
        return fail(TemporaryFailure()) if self._oracle is None else self._oracle.ask(request)

    def log_in(self, credentials: Any, mind: Mind) -> Deferred[Any]:
        """Ask the portal, as cred's `login` does."""
        asked: Deferred[Any] = maybeDeferred(self._portal.login, credentials, mind, *self._interfaces)
        return _shielded(asked) if self._foreign else asked


class Visit:
    """One client at the door: whom he says he is, the attempt at a secret that is not settled, and the logout he owes.

    `ask` and `log_in` wait for the turn of the secret that they are about; a ticket, which nobody guesses, needs none. At most
    one answer is waited for at a time. Where it is a failure, `refuse` settles it.
    """

    __slots__ = ("_attempt", "_door", "logout", "peer", "principal", "user")

    def __init__(self, door: Door, peer: str) -> None:
        self.peer = peer
        self.user = ""
        """Whose maildrop is wanted, as the log may show it; "" until he is named."""
        self.principal = ""
        """Who has proved it, where that is another name."""
        self._door = door
        self._attempt: Attempt | None = None  # at a secret, until its outcome is known
        self.logout: Callable[[], object] | None = None
        """The avatar's, from the login on until it was called."""

    def ask(self, request: object) -> Deferred[object]:
        """Ask the oracle: about a secret when its turn has come, about anything else at once."""
        match request:
            case VerifierOf(username=name) | BearerToken(claimed=name):
                names = self._door.names
                read = None if names is None else names.read(name)
                self.user = printable(name if read is None else read.encode("utf-8"))
                return self._in_turn(self._ask, request)
        return self._ask(request)

    def log_in(self, credentials: Credentials, mind: Mind) -> Deferred[Any]:
        """Log in at the portal; answers what the door's `adapt` made of the avatar."""
        names = self._door.names
        if names is not None:
            credentials = renamed(credentials, names.read)
        if isinstance(credentials, KerberosIdentity):
            self.principal = printable(credentials.principal.encode("utf-8", "backslashreplace"))
        self.user = printable(credentials.username) or self.principal
        verified, attempt = proven(credentials), self._attempt
        if verified and attempt is not None and attempt.visitor.user != self.user:
            self._end_attempt(Attempt.withdrawn)  # it was another's: a token's owner need not be who was claimed
        if verified or (attempt is not None and isinstance(credentials, Unproven)):
            return self._log_in(credentials, mind)
        return self._in_turn(self._log_in, credentials, mind)

    def refuse(self, failure: Failure, facts: Mapping[str, Any], mechanism: bytes | None = None) -> Refusal:
        """Settle an answer that failed, a login by `mechanism` or a question; returns what the client hears of it.

        `facts` name the session for the operator, who hears the rest.
        """
        self.log_out(facts)  # of an avatar that could not be adapted
        if mechanism is not None and isinstance(refusal_for(failure.value), AuthenticationFailed):
            waited = 0.0 if self._attempt is None else self._attempt.waited
            tell_failed_login(facts, mechanism, failure.value, waited)
        if failure.check(HeldTooLong):
            tell_held_login(facts)
        self._end_attempt(lambda attempt: _settle(attempt, failure))
        return translate(failure, facts)

    def give_up_turn(self) -> None:
        """Wait for a turn no longer: what waits for one fails with HeldTooLong, and nothing is verified."""
        if self._attempt is not None:
            self._attempt.refuse()

    def leave(self) -> None:
        """Give up an attempt that is not settled: to leave in the middle of one is a failure."""
        self._end_attempt(Attempt.abandoned)

    def log_out(self, facts: Mapping[str, Any]) -> None:
        """Give the avatar back, once."""
        logout, self.logout = self.logout, None
        try:
            if logout is not None:
                logout()
        except Exception:  # noqa: BLE001 - a portal of somebody else's may raise what it likes; the rest must go on
            log.failure("fault in the logout of {user!r} from {peer}", event="fault", **facts)

    # Inside.

    def _in_turn(self, verify: Callable[..., Deferred[Any]], *what: Any) -> Deferred[Any]:
        """Go on with `verify` when it is the turn of an attempt at the user's secret."""
        self._end_attempt(Attempt.abandoned)  # what an exchange had begun that was cancelled
        attempt = self._attempt = self._door.attempt(self.peer, self.user)
        if attempt.granted.called:
            return verify(*what)
        turn: Deferred[Any] = attempt.granted
        return turn.addCallback(lambda _: verify(*what))

    def _end_attempt(self, tell: Callable[[Attempt], object]) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            tell(attempt)

    def _ask(self, request: object) -> Deferred[object]:
        return asked_by(network(self.peer), self._door.ask, request).addCallback(self._answered)

    def _answered(self, value: object) -> object:
        if self._attempt is not None and (value is None or isinstance(value, LoginRefused)):
            self._attempt.failed()  # a bad token, whatever its bearer says to that
        return value

    def _log_in(self, credentials: Credentials, mind: Mind) -> Deferred[Any]:
        login = asked_by(network(self.peer), self._door.log_in, credentials, mind)
        return login.addCallback(self._let_in, credentials, mind)

    def _let_in(self, avatar: Avatar, credentials: Credentials, mind: Mind) -> Any:
        interface, whole, self.logout = avatar
        served = self._door.adapt(interface, whole)
        if isinstance(served, Deferred):
            return served.addCallback(self._entered, credentials, mind)
        return self._entered(served, credentials, mind)

    def _entered(self, served: Any, credentials: Credentials, mind: Mind) -> Any:
        self._end_attempt(Attempt.succeeded)
        if not credentials.username:  # a ticket alone has named him
            self.user = printable(mind.user.encode("utf-8")) or self.user
        if isinstance(credentials, ActingFor):
            self.principal, self.user = self.user, printable(credentials.authzid)
        return served


def _settle(attempt: Attempt, failure: Failure) -> None:
    """Tell an attempt at a secret why no login came of it. Whom the store refuses has shown the right one."""
    if failure.check(StoreError):
        attempt.succeeded()
    elif isinstance(refusal_for(failure.value), AuthenticationFailed):
        attempt.failed()
    else:
        attempt.withdrawn()


@implementer(IRealm)
class _Realm:
    """The realm of `portal`, whose answer may be cancelled."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: type[Interface]) -> Deferred[Avatar]:  # noqa: N803 - IRealm names it so
        realm: Any = self._portal.realm
        asked: Deferred[Avatar] = maybeDeferred(realm.requestAvatar, avatarId, mind, *interfaces)
        return asked if asked.called or IRevocable.providedBy(realm) else _shielded(asked)


def _shielded(asked: Deferred[Avatar]) -> Deferred[Avatar]:
    """The same answer; to cancel it leaves `asked` alone, and logs out whom that brings."""
    answer: Deferred[Avatar] = Deferred()

    def arrived(result: Any) -> None:
        if not answer.called:
            answer.callback(result)
        elif not isinstance(result, Failure):
            _log_out(result[2])

    asked.addBoth(arrived)
    return answer


def _log_out(logout: Callable[[], object]) -> None:
    try:
        logout()
    except Exception:  # noqa: BLE001 - a portal of somebody else's may raise what it likes
        log.failure("fault in the logout of somebody who has left", event="fault")
