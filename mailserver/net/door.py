"""The login in one place, for the clients of any protocol: names, portal, oracle and throttle.

A listener has a `Door`, which keeps no state of clients; each client has a `Visit`. Neither knows a connection. A login may be
answered at once, or its error raised; otherwise the caller waits for the answer, cancels it when the client has left, and then
calls `Visit.leave`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from twisted.cred.error import UnhandledCredentials
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface

from mailserver.answers import Answer, ask, is_later, then
from mailserver.asker import asked_by
from mailserver.credentials import ActingFor, BearerToken, Credentials, KerberosIdentity, Unproven, proven, renamed
from mailserver.errors import (
    AuthenticationFailed,
    HeldTooLong,
    LoginRefused,
    LoginTooSoon,
    Refusal,
    StoreError,
    TemporaryFailure,
)
from mailserver.exchange import VerifierOf
from mailserver.interfaces import IOracle, IRevocable, Mind
from mailserver.names import Names
from mailserver.net.attempts import Attempt, Hold
from mailserver.net.failures import (
    printable,
    tell_early_login,
    tell_failed_login,
    tell_held_login,
    tell_put_off_login,
    translate,
)
from mailserver.net.throttle import Throttle, network
from mailserver.refusals import refusal_for

Avatar = tuple[type[Interface], object, Callable[[], None]]
Adapt = Callable[[type[Interface], Any], Any]
"""Converts an avatar, given its interface, to the object that the listener serves, or to a Deferred of it."""

log = Logger()


class Door:
    """The login of a listener's clients. Several listeners may share its parts.

    `portal` is any cred portal. It is asked for an avatar of the first of `interfaces` that its realm knows, and `adapt`
    converts the avatar. `names` reads the names that clients give, before portal and oracle see them. Cancelling a login
    cancels the portal's checkers, and its realm if that is `IRevocable`. Other realms, and portals that are not cred's own,
    might lose something if they were cancelled: they go on, and an avatar that they then answer is logged out.
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

    def attempt(self, peer: str, user: str) -> Attempt:
        """Ask for a turn to verify `user`'s secret. The users of an account share its turns."""
        return self._throttle.attempt(peer, user, user if self.names is None else self.names.owner(user).maildrop)

    def hold(self, peer: str, user: str) -> Hold:
        """What such an attempt would have to wait for now."""
        return self._throttle.hold(peer, user, user if self.names is None else self.names.owner(user).maildrop)

    def ask(self, request: object) -> Deferred[object]:
        """Pass a SASL exchange's request to the oracle."""
        if self.names is not None and isinstance(request, VerifierOf):
            name = self.names.read(request.username)
            if name is not None:  # otherwise the oracle finds that the name is invalid, in the usual time
                request = replace(request, username=name.encode("utf-8"), typed=request.typed or request.username)
        return fail(TemporaryFailure()) if self._oracle is None else self._oracle.ask(request)

    def log_in(self, credentials: Any, mind: Mind) -> Answer[Avatar]:
        """Log in at the portal. One of cred's own is asked step by step, as its `login` does, so that each may answer at once."""
        if self._foreign:
            return _shielded(maybeDeferred(self._portal.login, credentials, mind, *self._interfaces))
        for interface, checker in self._portal.checkers.items():
            if interface.providedBy(credentials):
                return then(ask(checker.requestAvatarId, credentials), self._admit, mind)
        raise UnhandledCredentials("no checker takes such credentials")

    def _admit(self, avatar_id: Any, mind: Mind) -> Answer[Avatar]:
        realm = self._portal.realm
        avatar = ask(realm.requestAvatar, avatar_id, mind, *self._interfaces)
        if not is_later(avatar) or avatar.called or IRevocable.providedBy(realm):
            return avatar
        return _shielded(avatar)


class Visit:
    """One client's login: the name it gave, its attempt at a secret until that is settled, and its avatar's logout.

    `ask` and `log_in` wait for a turn before a secret is verified; a ticket, which nobody can guess, needs none. At most one
    answer may be pending. If it fails, `refuse` settles it.
    """

    __slots__ = ("_attempt", "_door", "logout", "peer", "principal", "user")

    def __init__(self, door: Door, peer: str) -> None:
        self.peer = peer
        self.user = ""
        """The user whose maildrop the client requests, in a form for the log; "" until it names one."""
        self.principal = ""
        """The authenticated name, where it differs from the user's."""
        self._door = door
        self._attempt: Attempt | None = None  # the attempt at a secret, until its outcome is known
        self.logout: Callable[[], object] | None = None
        """The avatar's logout, from the login until it was called."""

    def ask(self, request: object) -> Answer[object]:
        """Ask the oracle; a request about a secret waits for its turn."""
        match request:
            case VerifierOf(username=name) | BearerToken(claimed=name):
                names = self._door.names
                read = None if names is None else names.read(name)
                self.user = printable(name if read is None else read.encode("utf-8"))
                return self._in_turn(self._ask, request)
        return self._ask(request)

    def log_in(self, credentials: Credentials, mind: Mind) -> Answer[Any]:
        """Log in at the portal; answers the result of the door's `adapt`, at once if nothing has to be waited for."""
        names = self._door.names
        if names is not None:
            credentials = renamed(credentials, names.read)
        if isinstance(credentials, KerberosIdentity):
            self.principal = printable(credentials.principal.encode("utf-8", "backslashreplace"))
        self.user = printable(credentials.username) or self.principal
        verified, attempt = proven(credentials), self._attempt
        if verified and attempt is not None and attempt.visitor.user != self.user:
            self._end_attempt(Attempt.withdrawn)  # another user's: a token's owner may differ from the claimed name
        if verified or (attempt is not None and isinstance(credentials, Unproven)):
            return self._log_in(credentials, mind)
        return self._in_turn(self._log_in, credentials, mind)

    def refuse(
        self, failure: Failure, facts: Mapping[str, Any], mechanism: bytes | None = None, exchange: bytes = b""
    ) -> Refusal:
        """Settle a failed login by `mechanism`, or a failed request of an `exchange`; returns the refusal for the client.

        The rest goes to the log, with `facts` that name the session.
        """
        self.log_out(facts)  # if the avatar could not be adapted
        if mechanism is not None and isinstance(refusal_for(failure.value), AuthenticationFailed):
            waited = 0.0 if self._attempt is None else self._attempt.waited
            tell_failed_login(facts, mechanism, failure.value, waited)
        if failure.check(HeldTooLong):
            tell_held_login(facts)
        elif failure.check(TemporaryFailure):
            tell_put_off_login(facts, mechanism or exchange)
        if isinstance(failure.value, LoginTooSoon):
            tell_early_login(facts, failure.value.seconds)
        self._end_attempt(lambda attempt: _settle(attempt, failure))
        return translate(failure, facts, login=mechanism is not None)

    def give_up_turn(self) -> None:
        """Stop waiting for a turn: the pending answer fails with HeldTooLong, and nothing is verified."""
        if self._attempt is not None:
            self._attempt.refuse()

    def leave(self) -> None:
        """Give up an attempt that is not settled: leaving while it is verified counts as a failure."""
        self._end_attempt(Attempt.abandoned)

    def log_out(self, facts: Mapping[str, Any]) -> None:
        """Log the avatar out, once."""
        logout, self.logout = self.logout, None
        try:
            if logout is not None:
                logout()
        except Exception:  # noqa: BLE001 - a foreign portal may raise anything; the rest must go on
            log.failure("fault in the logout of {user!r} from {peer}", event="fault", **facts)

    # Inside.

    def _in_turn(self, verify: Callable[..., Answer[Any]], *what: Any) -> Answer[Any]:
        """Call `verify` when it is the turn of an attempt at the user's secret."""
        if self._attempt is not None:
            self._end_attempt(Attempt.abandoned)  # that of a cancelled exchange
        attempt = self._attempt = self._door.attempt(self.peer, self.user)
        turn: Deferred[Any] | None = attempt.turn
        if turn is None:
            return verify(*what)
        return turn.addCallback(lambda _: verify(*what))

    def _end_attempt(self, tell: Callable[[Attempt], object]) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            tell(attempt)

    def _ask(self, request: object) -> Deferred[object]:
        return asked_by(network(self.peer), None, self._door.ask, request).addCallback(self._answered)

    def _answered(self, value: object) -> object:
        if self._attempt is not None and (value is None or isinstance(value, LoginRefused)):
            self._attempt.failed()  # an invalid token, whatever response follows
        return value

    def _log_in(self, credentials: Credentials, mind: Mind) -> Answer[Any]:
        login = asked_by(network(self.peer), mind, self._door.log_in, credentials, mind)
        return then(login, self._let_in, credentials, mind)

    def _let_in(self, avatar: Avatar, credentials: Credentials, mind: Mind) -> Answer[Any]:
        interface, whole, self.logout = avatar
        return then(self._door.adapt(interface, whole), self._entered, credentials, mind)

    def _entered(self, served: Any, credentials: Credentials, mind: Mind) -> Any:
        self._end_attempt(Attempt.succeeded)
        if not credentials.username:  # only the ticket has named the user
            self.user = printable(mind.user.encode("utf-8")) or self.user
        if isinstance(credentials, ActingFor):
            self.principal, self.user = self.user, printable(credentials.authzid)
        return served


def _settle(attempt: Attempt, failure: Failure) -> None:
    """Settle an attempt at a secret after a failed login. If only the store or the login delay refuses, the secret was right."""
    if failure.check(StoreError, LoginTooSoon):
        attempt.succeeded()
    elif isinstance(refusal_for(failure.value), AuthenticationFailed):
        attempt.failed()
    else:
        attempt.withdrawn()


def _shielded(asked: Deferred[Avatar]) -> Deferred[Avatar]:
    """The same answer; a cancel does not reach `asked`, and its avatar is then logged out."""
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
    except Exception:  # noqa: BLE001 - a foreign portal may raise anything
        log.failure("fault in the logout of a client that has left", event="fault")
