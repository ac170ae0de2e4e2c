"""Kerberos tickets: the acceptor verifies a ticket, and the checker decides which maildrop its principal may open."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NoReturn, cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred, execute, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver import reasons
from mailserver.auth.kerberos.keytab import check_keytab, service_host
from mailserver.auth.kerberos.krb5 import Krb5
from mailserver.auth.kerberos.libkrb5 import NO_KEY, KerberosError, KerberosUnavailable
from mailserver.auth.kerberos.principals import DENIED, PrincipalMap
from mailserver.auth.kerberos.replay_cache import check_replay_cache
from mailserver.auth.kerberos.threads import Krb5Pool
from mailserver.credentials import IKerberosIdentity
from mailserver.errors import LoginRefused, TicketRefused
from mailserver.interfaces import Accepted, IAcceptor, IPart
from mailserver.names import user_name

THREADS: Final = 2
"""A verification takes 0.1 ms, so one thread would do; the second is for a file system that hangs now and then."""

MAX_WAITING: Final = 500
"""About 50 ms of work: cron starts hundreds of clients in the same second. While a file system hangs, later ones are refused
with TemporaryFailure.
"""


@implementer(IAcceptor, IPart)
class KerberosAcceptor:
    """Verifies tickets with the ``pop/`` keys of a keytab, or only with those of one `host`.

    The keytab is read for each ticket, so new keys count at once. An AP-REQ is accepted only once: libkrb5's replay cache,
    which all processes of this user share, ensures that.
    """

    def __init__(self, keytab: str, *, host: str = "", threads: int = THREADS, waiting: int = MAX_WAITING) -> None:
        """Errors: ValueError for an invalid host."""
        self._keytab = keytab
        self._host = service_host(host)
        self._pool = Krb5Pool(threads, waiting)

    def __repr__(self) -> str:
        return f"KerberosAcceptor({self._keytab!r})"

    def start(self, reactor: Any) -> Deferred[None]:
        """Check the library, the keytab and the replay cache, as the user that will serve. Errors: KerberosUnavailable."""
        return self._pool.start(reactor, self._check)

    def stop(self) -> Deferred[None]:
        """End the threads; verifications that wait fail with TemporaryFailure."""
        return self._pool.stop()

    def reload(self) -> Deferred[None]:
        """Do nothing: no state can be out of date."""
        return succeed(None)

    def accept(self, ap_req: bytes) -> Deferred[Accepted]:
        """Verify an AP-REQ in a thread. Errors: TicketRefused; TemporaryFailure when too many wait."""
        return self._pool.run(self._accept, ap_req).addErrback(_refused)

    def foresee(self) -> Deferred[None]:
        """Whether it could accept any ticket now, by the keytab. Errors: TicketRefused; TemporaryFailure."""
        return self._pool.run(check_keytab, self._keytab, self._host).addCallbacks(lambda _: None, _useless)

    def _check(self, krb5: Krb5) -> None:
        check_keytab(krb5, self._keytab, self._host)
        check_replay_cache(krb5)

    def _accept(self, krb5: Krb5, ap_req: bytes) -> Accepted:
        return Accepted(*krb5.accept(ap_req, self._keytab, self._host))


def _useless(failure: Failure) -> NoReturn:
    failure.trap(KerberosUnavailable)
    raise TicketRefused(NO_KEY, str(failure.value), ours=True)


def _refused(failure: Failure) -> NoReturn:
    failure.trap(KerberosError)
    error = cast(KerberosError, failure.value)
    raise TicketRefused(error.code, str(error), ours=error.ours)


@implementer(ICredentialsChecker, IPart)
class KerberosChecker:
    """Decides which maildrop a principal may open, for KPOP and SASL GSSAPI alike.

    The rules come first. If none matches a principal, krb5.conf's ``auth_to_local`` names the user; with `kuserok`, a
    user's ``.k5login`` may admit other principals. No principal may act as a user in `deny`.
    """

    credentialInterfaces = (IKerberosIdentity,)  # noqa: N815 - ICredentialsChecker names it so

    def __init__(self, rules: Iterable[str] = (), *, deny: Iterable[str] = DENIED, kuserok: bool = False) -> None:
        """Errors: ValueError, whose text names the rule."""
        self._map = PrincipalMap(rules)
        self._deny = frozenset(deny)
        self._kuserok = kuserok
        self._pool = Krb5Pool(1, MAX_WAITING)

    def start(self, reactor: Any) -> Deferred[None]:
        """Check that there is a libkrb5. Errors: KerberosUnavailable."""
        return self._pool.start(reactor, lambda _: None)

    def stop(self) -> Deferred[None]:
        """End the thread."""
        return self._pool.stop()

    def reload(self) -> Deferred[None]:
        """Do nothing: the rules change only at a start, and libkrb5 itself notices a change of krb5.conf."""
        return succeed(None)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """The requested user, if the principal may act as this user. Errors: UnauthorizedLogin; TemporaryFailure."""
        wanted = user_name(credentials.username) if credentials.username else ""
        users = self._map.users(credentials.principal)
        if users is not None or wanted is None:
            return execute(self._decide, users or [], credentials.principal, wanted)
        asked = self._pool.run(self._local_users, credentials.principal, wanted)
        return asked.addCallback(self._decide, credentials.principal, wanted)

    def _local_users(self, krb5: Krb5, principal: str, wanted: str) -> list[str]:
        """The users by libkrb5's rules, the principal's own first. Reads plugins, system users and home directories."""
        user = krb5.local_name(principal)
        users = [] if user_name(user) is None else [cast(str, user)]
        if self._kuserok and wanted and wanted not in users and krb5.user_ok(principal, wanted):
            users.append(wanted)
        return users

    def _decide(self, users: Iterable[str], principal: str, wanted: str | None) -> bytes:
        allowed = [user for user in users if user not in self._deny]
        if wanted == "" and allowed:
            return allowed[0].encode("utf-8")
        if wanted is not None and wanted in allowed:
            return wanted.encode("utf-8")
        may = ", ".join(map(repr, allowed)) or "none"
        said = f"the principal {principal!r} may not open this maildrop"
        raise LoginRefused(reasons.PRINCIPAL, f"it may open {may}", said=said)
