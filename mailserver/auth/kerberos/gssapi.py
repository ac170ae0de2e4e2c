"""GSS-API contexts of Kerberos V5 for SASL, with PyPI's ``gssapi``: an extra, imported only when GSSAPI is configured.

KPOP cannot use it: for a bare AP-REQ the library gives no AP-REP.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from twisted.internet.defer import Deferred, execute, fail, maybeDeferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.asker import asker
from mailserver.auth.kerberos.keytab import service_host
from mailserver.auth.kerberos.krb5 import SERVICE
from mailserver.auth.kerberos.libkrb5 import GENERIC, KerberosError, KerberosUnavailable
from mailserver.errors import TemporaryFailure, TicketRefused
from mailserver.exchange import GssProgress, GssToken, GssUnwrap, GssWrap
from mailserver.interfaces import IPart
from mailserver.pool import Pool

THREADS: Final = 2
"""As for tickets: a step takes 0.2 ms, but a file system may hang now and then."""

MAX_WAITING: Final = 500
"""About 100 ms of work: cron starts hundreds of clients in the same second. While a file system hangs, later ones are refused
with TemporaryFailure.
"""

SHARE: Final = 100
"""Steps of one address that may wait: cron may start all clients of a site behind one address."""

Request = GssToken | GssWrap | GssUnwrap


@implementer(IPart)
class GssapiAcceptor:
    """Answers the requests of SASL GSSAPI exchanges, with any ``pop/`` key of a keytab, or with that of one `host`.

    The keytab is read again for each context, so new keys count at once.
    """

    def __init__(self, keytab: str, *, host: str = "") -> None:
        """Load the library, while root can surely read it. Errors: KerberosUnavailable; ValueError for an invalid host."""
        self._keytab = keytab
        host = service_host(host)
        self._service = f"{SERVICE}/{host}@" if host else f"{SERVICE}/"
        self._pool: Pool | None = None
        self._credentials: Any = None
        self._gssapi = _library()
        # By default the library's contexts return an error token when a step fails, and raise only at the next call.
        self._context = type("Context", (self._gssapi.SecurityContext,), {"__DEFER_STEP_ERRORS__": False})

    @property
    def available(self) -> bool:
        """Whether `start` succeeded, and `stop` was not called since."""
        return self._pool is not None and self._credentials is not None

    def start(self, reactor: Any) -> Deferred[None]:
        """Check that the user that will serve can use the keytab. Errors: KerberosUnavailable, NoThreads."""
        pool = self._pool = Pool(reactor, THREADS, MAX_WAITING, "gssapi", share=SHARE)
        started = execute(pool.start).addCallback(lambda _: pool.run(self._acquire))
        return started.addErrback(self._stopped)

    def stop(self) -> Deferred[None]:
        """End the threads; steps that wait fail with TemporaryFailure."""
        pool, self._pool = self._pool, None
        return succeed(None) if pool is None else pool.stop()

    def reload(self) -> Deferred[None]:
        """Do nothing: no state can be out of date."""
        return succeed(None)

    def ask(self, request: Request) -> Deferred[Any]:
        """Answer one of the GSS-API requests of `mailserver.exchange`. Errors: TicketRefused; TemporaryFailure.

        A context's steps go to the pool, since they read files and may call plugins. Wrapping takes microseconds.
        """
        if self._pool is None:
            return fail(TemporaryFailure())
        if isinstance(request, GssToken):
            return self._pool.run(self._step, request, key=asker()).addErrback(self._refused)
        return maybeDeferred(self._wrap, request).addErrback(self._refused)

    def _stopped(self, failure: Failure) -> Failure:
        self.stop()
        return failure

    def _acquire(self) -> None:
        gssapi = self._gssapi
        try:
            self._credentials = gssapi.Credentials(
                usage="accept",
                mechs=[gssapi.MechType.kerberos],  # RFC 4752 section 1: not SPNEGO, which could select others
                store={"keytab": f"FILE:{self._keytab}"},
            )
        except gssapi.exceptions.GSSError as error:
            raise KerberosUnavailable(f"SASL GSSAPI cannot use the keytab {self._keytab}: {error}") from error

    def _step(self, request: GssToken) -> GssProgress:
        context: Any = request.context or self._begin(request.bindings)
        token = context.step(request.token) or b""
        if not context.complete:
            return GssProgress(context, token)
        if not str(context.target_name).startswith(self._service):  # the keytab may hold keys of host/ and others
            raise TicketRefused(GENERIC, f"the ticket is for {context.target_name}")
        return GssProgress(context, token, str(context.initiator_name))

    def _begin(self, bindings: bytes) -> Any:
        """A new context. MIT's library checks the channel bindings only if the client sends some."""
        channel = self._gssapi.raw.ChannelBindings(application_data=bindings) if bindings else None
        return self._context(creds=self._credentials, usage="accept", channel_bindings=channel)

    def _wrap(self, request: GssWrap | GssUnwrap) -> bytes:
        context: Any = request.context
        if isinstance(request, GssWrap):
            return bytes(context.wrap(request.message, False).message)
        return bytes(context.unwrap(request.token).message)

    def _refused(self, failure: Failure) -> Failure:
        """Translate a GSS-API failure. A principal's name that is not UTF-8 is refused, too."""
        if failure.check(self._gssapi.exceptions.GSSError, UnicodeDecodeError):
            raise TicketRefused(GENERIC, str(failure.value), ours=_ours(failure.value)) from failure.value
        return failure


def _ours(error: Any) -> bool:
    """Whether the server's keytab or replay cache caused the failure, so that no ticket could pass."""
    number = getattr(error, "min_code", 0)  # libkrb5's number, which the GSS-API gives as unsigned
    return bool(number >> 31) and KerberosError(number - (1 << 32), "").ours


def _library() -> Any:
    try:
        return import_module("gssapi")
    except ImportError as error:  # also where one of the libraries under it is missing
        raise KerberosUnavailable(
            f"SASL GSSAPI needs the extra [gssapi] ({error}): apt-get install gcc libkrb5-dev, then "
            "pip install 'twisted-mailserver[gssapi]'"
        ) from error
