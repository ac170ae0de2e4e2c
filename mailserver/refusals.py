"""What a client hears of an error, and why a login failed: errors of all families become refusals here, and nowhere else."""

from __future__ import annotations

from twisted.cred.error import LoginDenied, LoginFailed, UnauthorizedLogin, UnhandledCredentials

from mailserver import reasons
from mailserver.errors import AuthenticationFailed, LoginRefused, Refusal, StoreError, TicketRefused


def login_refused(error: BaseException | None) -> LoginRefused:
    """The reason of a failed login, for the log, from any error of a portal or an exchange."""
    if isinstance(error, LoginRefused):
        return error
    if isinstance(error, TicketRefused):
        return LoginRefused(reasons.TICKET, said=error.detail, known=None)
    if isinstance(error, UnhandledCredentials):
        return LoginRefused(reasons.NO_CHECKER, known=None)
    return LoginRefused(reasons.OTHER, known=None)


def refusal_for(error: BaseException | None) -> Refusal | None:
    """The refusal that the client gets for `error`; None for a fault, which the caller logs."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, StoreError):
        return error.refusal()
    if isinstance(error, (UnauthorizedLogin, LoginFailed, LoginDenied)):
        return AuthenticationFailed()
    return None
