"""What a failure means: a refusal for the client, and a line for the operator."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from mailserver.errors import (
    MaildropInUse,
    MessageTruncated,
    Refusal,
    StoreError,
    TemporaryFailure,
    TicketRefused,
    refusal_for,
)

log = Logger()


def translate(failure: Failure, peer: str, user: str) -> Refusal:
    """Return what the client hears; the operator hears the rest."""
    refusal = refusal_for(failure.value)
    if isinstance(failure.value, StoreError):
        level = LogLevel.info if isinstance(failure.value, MaildropInUse) else LogLevel.warn  # one is routine
        log.emit(level, "{peer} {user}: {reason}", event="store", peer=peer, user=user, reason=str(failure.value))
    elif isinstance(refusal, TicketRefused):
        level = LogLevel.error if refusal.ours else LogLevel.info
        text = "ticket from {peer} refused: {reason!r}"
        log.emit(level, text, event="kerberos.refused", peer=peer, code=refusal.error_code, reason=refusal.detail)
    elif refusal is None:
        log.failure("fault under the session of {user} from {peer}", failure, event="fault", peer=peer, user=user)
    return refusal or TemporaryFailure()


def tls_reason(error: SSL.Error) -> str:
    """Return OpenSSL's words for an error, or the error's own kind."""
    details = error.args[0] if error.args and isinstance(error.args[0], list) else ()
    return ", ".join(reason for _library, _function, reason in details) or type(error).__name__


def report(failure: Failure, peer: str, user: str) -> None:
    """Tell the operator why a connection ends."""
    if isinstance(failure.value, MessageTruncated):
        log.warn("{peer} {user}: {reason}", event="truncated", peer=peer, user=user, reason=str(failure.value))
    else:
        log.failure("fault in the session of {user} from {peer}", failure, event="fault", peer=peer, user=user)
