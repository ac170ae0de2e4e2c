"""The checker of Kerberos passwords: the KDC verifies the password, and the keytab verifies the KDC."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NoReturn, cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver import reasons
from mailserver.auth.kerberos.keytab import check_keytab, service_host
from mailserver.auth.kerberos.krb5 import Krb5, UnprovenKdc
from mailserver.auth.kerberos.libkrb5 import FIRST_ERROR, KerberosError, KerberosUnavailable
from mailserver.auth.kerberos.principals import DENIED
from mailserver.auth.kerberos.threads import Krb5Pool
from mailserver.auth.schemes import plausible
from mailserver.auth.verified import VerifiedPasswords
from mailserver.errors import LoginRefused, TemporaryFailure
from mailserver.foresight import IForesees, Prospect, Way
from mailserver.interfaces import IPart
from mailserver.names import user_name

THREADS: Final = 4
"""The threads mostly wait for the KDC, which takes 5 ms a password when it is near."""

MAX_WAITING: Final = 100
"""As for hashes. A KDC that drops requests keeps a thread busy for half a minute; the requests of clients that hang up leave
the queue.
"""

LIFETIME_SECONDS: Final = 600
"""How long a right password is remembered: twice the interval of clients that poll every five minutes. So long, at most, an
old password or a locked principal still works; a ticket would still work for hours.
"""

REFUSALS: Final = frozenset(
    FIRST_ERROR + code
    for code in (
        1,  # the principal has expired
        6,  # the principal does not exist
        12,  # a policy forbids the request
        18,  # the principal is locked
        21,  # the principal is not valid yet
        23,  # the password has expired
        24,  # the password is wrong
        25,  # the KDC requires more than a password
        31,  # the password is wrong, for a principal without preauthentication
        210,  # KRB5_PREAUTH_FAILED: no offered preauthentication works with a password
    )
)
"""The errors that mean a refusal. All others are faults: of the KDC, the network or the clocks."""

KDC_DOWN: Final = (
    "Kerberos cannot check passwords now, so that only one gets in that was right in the last ten minutes: see the log"
)
"""What `mailserver explain` says."""

log = Logger()


@implementer(ICredentialsChecker, IForesees, IPart)
class KerberosPassword:
    """A checker that logs in to Kerberos with the name and the password, and discards the ticket.

    The name is a principal's in `realm` (default: krb5.conf's default realm). With `domain`, only names that end in
    ``@domain`` are checked, and the part before it is the principal's. The keytab has a ``pop/`` key (of `host`, if given),
    which detects a spoofed KDC. Call `start` before the first login, or give `find_reactor` so that it starts itself.
    """

    credentialInterfaces = (IUsernamePassword,)  # noqa: N815 - ICredentialsChecker names it so

    def __init__(  # noqa: PLR0913 - settings, each with its default
        self,
        keytab: str,
        *,
        realm: str = "",
        domain: str = "",
        host: str = "",
        find_reactor: Callable[[], Any] | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """Errors: ValueError for an invalid host."""
        self._keytab = keytab
        self._realm = realm
        self._domain = domain
        self._host = service_host(host)
        self._find_reactor = find_reactor
        self._cache = VerifiedPasswords(seconds, LIFETIME_SECONDS)
        self._pool = Krb5Pool(THREADS, MAX_WAITING)

    def __repr__(self) -> str:
        return f"KerberosPassword({self._keytab!r})"

    def start(self, reactor: Any) -> Deferred[None]:
        """Check the library, the keytab and the realm, as the user that will serve. Errors: KerberosUnavailable."""
        return self._pool.start(reactor, self._check)

    def stop(self) -> Deferred[None]:
        """End the threads and forget the verified passwords."""
        self._cache.clear()
        return self._pool.stop()

    def reload(self) -> Deferred[None]:
        """Forget the verified passwords: an operator sends SIGHUP after a change in Kerberos."""
        self._cache.clear()
        return succeed(None)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """The user's name, if the KDC accepts the password. Errors: UnauthorizedLogin; TemporaryFailure."""
        name, password = credentials.username, credentials.password
        if self._pool.running:
            return self._login(name, password)
        return self._start_late().addCallback(lambda _: self._login(name, password))

    def _login(self, name: bytes, password: bytes) -> Deferred[bytes | tuple[()]]:
        principal = self._principal(name)
        if principal is None:
            return fail(_nobody())
        if not password or not plausible(password):
            return fail(
                LoginRefused(
                    reasons.ODD_PASSWORD, known=None, said="the password is empty, too long, or contains a NUL"
                )
            )
        if self._cache.knows(name, password, b""):
            return succeed(name)
        checked = self._pool.run(self._ask, principal, password)
        return checked.addCallbacks(self._right, _wrong, (name, password), errbackArgs=(principal,))

    def foresee(self, name: bytes, mechanism: bytes) -> Deferred[Prospect]:  # noqa: ARG002 - it takes passwords alone
        """By what the KDC says of the principal before it wants the password. Errors: TemporaryFailure."""
        principal = self._principal(name)
        if principal is None:
            return succeed(Prospect(False, refusal=_nobody()))
        right = Prospect(True, [Way("", "", name)])
        seen = self._pool.run(self._look, principal).addCallbacks(lambda _: right, _wrong, errbackArgs=(principal,))
        return seen.addErrback(self._foreseen, name)

    def _foreseen(self, failure: Failure, name: bytes) -> Prospect:
        """What a refusal means, or a KDC that is down while some passwords are remembered, nobody knows whose."""
        if failure.check(TemporaryFailure) and len(self._cache):
            return Prospect(None, [Way("", "", name)], doubt=KDC_DOWN, down=True)
        failure.trap(LoginRefused)
        return Prospect(None, refusal=cast("LoginRefused", failure.value))

    def _principal(self, name: bytes) -> str | None:
        """The principal of a name, or None. A typed name cannot choose the realm, and with it the KDC."""
        text = user_name(name)
        if text is None:
            return None
        user, _, domain = text.partition("@")
        if domain != self._domain or user in DENIED:
            return None
        escaped = user.replace("\\", r"\\")
        return f"{escaped}@{self._realm}" if self._realm else escaped

    def _right(self, _: None, name: bytes, password: bytes) -> bytes:
        self._cache.remember(name, password, b"")
        return name

    def _ask(self, krb5: Krb5, principal: str, password: bytes) -> None:
        krb5.check_password(principal, password, self._service(krb5), self._keytab)

    def _look(self, krb5: Krb5, principal: str) -> None:
        self._service(krb5)
        krb5.ask_without_password(principal)

    def _service(self, krb5: Krb5) -> str:
        """The principal whose key checks the KDC."""
        ours, _others = krb5.keys(self._keytab, self._host)
        if not ours:
            raise KerberosUnavailable(f"the keytab {self._keytab} has lost its keys")
        return ours[0]

    def _check(self, krb5: Krb5) -> None:
        check_keytab(krb5, self._keytab, self._host)
        if self._realm:
            return
        try:
            krb5.default_realm()
        except KerberosError as error:
            raise KerberosUnavailable(
                f"there is no default realm ({error}): set default_realm in krb5.conf, or add realm= behind the keytab"
            ) from None

    def _start_late(self) -> Deferred[None]:
        if self._find_reactor is None:
            return fail(RuntimeError(f"{self!r} was not started"))
        reactor = self._find_reactor()
        end = partial(reactor.addSystemEventTrigger, "during", "shutdown", self.stop)
        return self.start(reactor).addCallback(lambda _: cast(None, end()))


def _nobody() -> LoginRefused:
    said = "the name or its domain cannot be a Kerberos principal's"
    return LoginRefused(reasons.UNKNOWN_USER, known=False, said=said)


def _wrong(failure: Failure, principal: str) -> NoReturn:
    """Translate a failure: a KDC's refusal counts as a wrong password whatever its reason, a fault does not."""
    failure.trap(KerberosError, KerberosUnavailable)
    error = failure.value
    if isinstance(error, KerberosError) and error.number in REFUSALS and not isinstance(error, UnprovenKdc):
        raise LoginRefused(reasons.BACKEND, known=None, said=f"Kerberos refused {principal!r}: {error}")
    trouble = "the KDC could not prove that it is ours" if isinstance(error, UnprovenKdc) else "Kerberos failed"
    log.error("{trouble}: {detail!r}", event="kerberos.password.trouble", trouble=trouble, detail=str(error))
    raise TemporaryFailure
