"""Translates a failure into a refusal for the client and a log event for the operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from mailserver.errors import (
    AuthenticationFailed,
    HeldTooLong,
    LoginTooSoon,
    MaildropInUse,
    MessageTruncated,
    Refusal,
    StoreError,
    TemporaryFailure,
    TicketRefused,
)
from mailserver.refusals import login_refused, refusal_for

LOGGED_NAME: Final = 256
"""Octets of a user name that the log and the throttle keep: SASL lets 48 KiB through, but no user has such a name."""

log = Logger()


def translate(failure: Failure, facts: Mapping[str, Any], *, login: bool = False) -> Refusal:
    """Return the refusal for the client; the rest goes to the log, with `facts` that name the session.

    What refuses a `login` is told with its reason's name.
    """
    refusal = refusal_for(failure.value)
    if isinstance(failure.value, StoreError):
        level = (
            LogLevel.info if isinstance(failure.value, MaildropInUse) else LogLevel.warn
        )  # a maildrop in use is routine
        why = failure.value.why if login else None
        name = why.name if why else ""
        log.emit(level, "{peer} {user!r}: {reason}", event="store", reason=str(failure.value), why=name, **facts)
    elif isinstance(refusal, TicketRefused):
        level = LogLevel.error if refusal.ours else LogLevel.info
        text = "ticket from {peer} refused: {reason!r}"
        log.emit(level, text, event="kerberos.refused", code=refusal.error_code, reason=refusal.detail, **facts)
        if refusal.ours:
            return TemporaryFailure()  # neither another ticket nor the password would help
    elif refusal is None:
        log.failure("fault under the session of {user!r} from {peer}", failure, event="fault", **facts)
    return refusal or TemporaryFailure()


def login_result(error: BaseException | None) -> str:
    """The result of a login that failed, in one word."""
    if isinstance(error, StoreError):
        return "in_use" if isinstance(error, MaildropInUse) else "no_maildrop"
    for kind, word in _RESULTS:
        if isinstance(error, kind):
            return word
    refusal = None if error is None else refusal_for(error)
    if isinstance(refusal, AuthenticationFailed | TicketRefused):
        return "refused"
    return "fault" if refusal is None else "unavailable"


_RESULTS: Final = ((HeldTooLong, "held"), (LoginTooSoon, "too_soon"))


def tell_failed_login(facts: Mapping[str, Any], mechanism: bytes, error: BaseException | None, waited: float) -> None:
    """Log a failed login, with the reason and the remedy. `waited` are the seconds that the attempt was held back."""
    why = login_refused(error)
    log.info(
        "failed login of {who!r} from {peer} by {mechanism}: {reason}{remarks}",
        event="pop3.login_failed",
        mechanism=mechanism.decode("ascii"),
        why=why.why.name,
        reason=why.reason,
        hint=why.hint,
        waited=round(waited, 3),
        remarks=(f" ({why.hint})" if why.hint else "") + (f", after {waited:.1f} s of waiting" if waited else ""),
        **facts,
    )


def tell_put_off_login(facts: Mapping[str, Any], mechanism: bytes) -> None:
    """Log a login about which nobody can decide now, such as while a database is down."""
    log.info(
        "login of {who!r} from {peer} by {mechanism} was put off: a part that it needs does not answer now",
        event="pop3.login_put_off",
        mechanism=mechanism.decode("ascii"),
        **facts,
    )


def tell_held_login(facts: Mapping[str, Any]) -> None:
    """Log a login whose secret was not verified."""
    log.info(
        "login of {who!r} from {peer} was not tried: too many fail at this user, or from this address",
        event="pop3.login_held",
        **facts,
    )


def tell_early_login(facts: Mapping[str, Any], left: int) -> None:
    """Log a login within the user's login delay, of which so many seconds are `left`."""
    log.info(
        "login of {who!r} from {peer} is too early by {left} s",
        event="pop3.login_delayed",
        left=left,
        **facts,
    )


def tls_reason(error: SSL.Error) -> str:
    """Return OpenSSL's text for an error, or the error's type."""
    details = error.args[0] if error.args and isinstance(error.args[0], list) else ()
    return ", ".join(reason for _library, _function, reason in details) or type(error).__name__


def end_of(reason: Failure) -> str:
    """Return the cause of a connection's end that was not the server's."""
    if isinstance(reason.value, SSL.Error):
        return "TLS error"
    return "client's close" if isinstance(reason.value, ConnectionDone) else "connection lost"


def report(failure: Failure, facts: Mapping[str, Any]) -> None:
    """Log why a connection ends, with `facts` that name the session."""
    if isinstance(failure.value, MessageTruncated):
        log.warn("{peer} {user!r}: {reason}", event="truncated", reason=str(failure.value), **facts)
    else:
        log.failure("fault in the session of {user!r} from {peer}", failure, event="fault", **facts)


def printable(name: bytes) -> str:
    """Return a client's user name in a form for the log: it cannot break a line or control a terminal."""
    text = name[:LOGGED_NAME].decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
