"""GSS-API contexts of Kerberos V5 for SASL, by PyPI's ``gssapi``: an extra, imported when it is wanted.

KPOP cannot use it: a bare AP-REQ yields no AP-REP there.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from mailserver.auth.pool import HashPool
from mailserver.errors import TicketRefused
from mailserver.interfaces import GssProgress, GssToken, GssUnwrap, GssWrap

SERVICE: Final = "pop"
"""The first part of the server's name (RFC 5034 section 4)."""

KRB_ERR_GENERIC: Final = 60
"""RFC 4120 section 7.5.9. Nobody sees it: a context that fails is answered by -ERR alone."""

Request = GssToken | GssWrap | GssUnwrap


class GssapiUnavailable(Exception):
    """GSSAPI cannot be offered here. The text tells the operator what to do."""


class GssapiAcceptor:
    """Answers what the exchange of SASL GSSAPI asks, with any ``pop/`` key of a keytab, or that of one `host`.

    The keytab is read again for each context: a key that is added counts at once. `pool` is its owner's to start and stop.
    """

    def __init__(self, keytab: str, pool: HashPool, host: str = "") -> None:
        self._keytab = keytab
        self._pool = pool
        self._service = f"{SERVICE}/{host.lower()}@" if host else f"{SERVICE}/"
        self._gssapi: Any = None
        self._credentials: Any = None
        self._context: Any = None

    @property
    def available(self) -> bool:
        """Whether `start` went well."""
        return self._credentials is not None

    def start(self) -> Deferred[None]:
        """Find out whether it can work, as the user that will serve. Errors: GssapiUnavailable."""
        return self._pool.run(self._acquire)

    def ask(self, request: Request) -> Deferred[Any]:
        """Answer one of the GSS-API requests of `mailserver.interfaces`. Errors: TicketRefused; TemporaryFailure.

        A context's steps go to the pool, for they read files and may ask plugins. To wrap some octets takes microseconds.
        """
        if isinstance(request, GssToken):
            return self._pool.run(self._step, request).addErrback(self._refused)
        return maybeDeferred(self._wrap, request).addErrback(self._refused)

    def _acquire(self) -> None:
        try:
            gssapi = import_module("gssapi")
        except ImportError as error:  # also one of the libraries under it
            raise GssapiUnavailable(
                f"SASL GSSAPI needs the extra [gssapi] ({error}): apt-get install gcc libkrb5-dev, then "
                "pip install 'twisted-mailserver[gssapi]'"
            ) from error
        try:
            self._credentials = gssapi.Credentials(
                usage="accept",
                mechs=[gssapi.MechType.kerberos],  # RFC 4752 section 1: not SPNEGO, and what may hide behind it
                store={"keytab": f"FILE:{self._keytab}"},
            )
        except gssapi.exceptions.GSSError as error:
            raise GssapiUnavailable(f"SASL GSSAPI cannot use the keytab {self._keytab}: {error}") from error
        self._gssapi = gssapi
        # The library's own kind of context returns an error token where a step fails, and raises at the next call.
        self._context = type("Context", (gssapi.SecurityContext,), {"__DEFER_STEP_ERRORS__": False})

    def _step(self, request: GssToken) -> GssProgress:
        context: Any = request.context or self._begin(request.bindings)
        token = context.step(request.token) or b""
        if not context.complete:
            return GssProgress(context, token)
        if not str(context.target_name).startswith(self._service):  # the keytab may hold keys of host/ and others
            raise TicketRefused(KRB_ERR_GENERIC, f"the ticket is for {context.target_name}")
        return GssProgress(context, token, str(context.initiator_name))

    def _begin(self, bindings: bytes) -> Any:
        """A new context. Bindings count only with a client that sends some: MIT lets all others in."""
        channel = self._gssapi.raw.ChannelBindings(application_data=bindings) if bindings else None
        return self._context(creds=self._credentials, usage="accept", channel_bindings=channel)

    def _wrap(self, request: GssWrap | GssUnwrap) -> bytes:
        context: Any = request.context
        if isinstance(request, GssWrap):
            return bytes(context.wrap(request.message, False).message)
        return bytes(context.unwrap(request.token).message)

    def _refused(self, failure: Failure) -> Failure:
        """Translate a failure of the GSS-API. A name that is not UTF-8 is nobody's."""
        if failure.check(self._gssapi.exceptions.GSSError, UnicodeDecodeError):
            raise TicketRefused(KRB_ERR_GENERIC, str(failure.value)) from failure.value
        return failure
