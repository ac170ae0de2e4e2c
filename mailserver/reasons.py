"""Why a login is refused: each reason once, with its words and what the operator can do.

What refuses a login names its reason here: a `Refusal` and a `StoreError` by their class, a `LoginRefused` when it is raised. So the
log has it as a word for programs (`why`), and `mailserver explain`, the status page and whoever counts refusals speak of it alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason for which a login is refused."""

    name: str
    """A word for programs; it stays the same."""
    words: str
    """What is the matter. A refusal may know more, such as which networks there are, and says that in its place."""
    remedy: str
    """What to do, for the operator."""
    proof: bool = False
    """Whether it is about the password, the token or the ticket itself: nobody can foretell it who has not seen that."""


REASONS: Final[dict[str, Reason]] = {}
"""All of them, by name."""


def _reason(name: str, words: str, remedy: str, *, proof: bool = False) -> Reason:
    made = REASONS[name] = Reason(name, words, remedy, proof)
    return made


# The connection, before anybody has said a name.

TURNED_AWAY: Final = _reason(
    "turned-away", "there are too many connections, or too many of this address", "see `mailserver who`, and limits"
)
TLS_FAILED: Final = _reason(
    "tls-failed",
    "the TLS handshake failed",
    "see the certificate by `mailserver check`, and tls.profile for old clients",
)
WRONG_PROTOCOL: Final = _reason(
    "wrong-protocol",
    "the client spoke TLS or HTTP to a port that begins in plain text",
    "set the client to the port of pop3s, or to STARTTLS",
)
NEEDS_TLS: Final = _reason(
    "needs-tls",
    "no password is accepted without TLS",
    "set the client to STARTTLS or to the port of pop3s; auth.cleartext says where a password may cross",
)
NOT_OFFERED: Final = _reason(
    "not-offered",
    "this listener does not take such a login",
    "let the client use USER and PASS, or name the mechanism in auth.mechanisms",
)
TICKET: Final = _reason(
    "ticket", "the Kerberos ticket was refused", "see the clocks, the service's name and the keytab's keys", proof=True
)

# The name and the secret.

INVALID_NAME: Final = _reason(
    "invalid-name", "no user can have such a name", "see docs/names.md for what a name may contain"
)
UNKNOWN_USER: Final = _reason(
    "unknown-user", "unknown user", "see `mailserver users`, and how names are read in docs/names.md"
)
WRONG_PASSWORD: Final = _reason(
    "wrong-password", "wrong password", "set another one by `mailserver user set`, or correct the client's", proof=True
)
ODD_PASSWORD: Final = _reason(
    "odd-password",
    "the password is too long, or contains a NUL",
    "correct the client's password",
    proof=True,
)
BACKEND: Final = _reason(
    "backend",
    "the service that verifies passwords refuses this one",
    "see that service's own log: PAM, Dovecot, the KDC or the directory",
    proof=True,
)
TOKEN: Final = _reason("token", "the token is not good", "see the issuer, and docs/sasl.md", proof=True)
BINDING: Final = _reason(
    "binding",
    "the client is bound to another TLS connection than ours",
    "see whether something between the client and the server ends TLS",
    proof=True,
)
UNFIT_SECRET: Final = _reason(
    "unfit-secret",
    "the stored secret cannot serve this mechanism",
    "the user can use USER and PASS, or PLAIN; auth.mechanisms sets what is announced",
)
UNUSABLE_SECRET: Final = _reason(
    "unusable-secret", "the stored secret cannot be used", "set a new password by `mailserver user set`"
)
EXPIRED_SECRET: Final = _reason(
    "expired-secret", "the app password has expired", "give the user a new one by `mailserver user set`"
)
FOREIGN_USER: Final = _reason(
    "foreign-user",
    "the checker accepted another user than the one asked for",
    "see how the checker names its users",
    proof=True,
)
NO_CHECKER: Final = _reason(
    "no-checker", "no checker takes such credentials", "see auth.checkers, and docs/authentication.md"
)
OTHER: Final = _reason("other", "refused without a reason", "see the log, and the checker", proof=True)

# The user, who has proved who they are.

DENIED: Final = _reason("denied", "the user may not log in", "see the user's entry: `mailserver user set` changes it")
ADDRESS: Final = _reason("address", "not from this address", "see the networks (allow_nets) of the user's entry")
LISTENER: Final = _reason("listener", "not by this listener", "see the listeners of the user's entry or app password")
NO_ACCOUNT: Final = _reason(
    "no-account",
    "the user is authenticated, but has no account: no checker knows the name",
    "add the user to one of auth.checkers",
)
NOT_MASTER: Final = _reason("not-master", "the user may not act for another", "auth.masters lists the users who may")
NOBODY_TO_ACT_FOR: Final = _reason(
    "nobody-to-act-for", "the user to act for has no account", "correct the name that the master gives"
)
PRINCIPAL: Final = _reason(
    "principal", "the principal may not open this maildrop", "see kerberos.map and kerberos.deny"
)
POLICY: Final = _reason("policy", "the policy server refuses it", "see the policy server at auth.policy_url")
HELD: Final = _reason(
    "held",
    "too many logins fail at this user or from this address, so its turn did not come",
    "see `mailserver throttle list`, and find who guesses",
)
LOGIN_DELAY: Final = _reason(
    "login-delay", "the login delay is not over", "let the client poll less often, or see retention.login_delay_seconds"
)
NOT_NOW: Final = _reason(
    "not-now",
    "a part that the login needs does not answer now, such as the users' database",
    "see the log for what is down; `mailserver check` tries all parts",
)

# The maildrop.

NO_HOME: Final = _reason(
    "no-home",
    "the maildrop is in the user's home, and no checker knows the home",
    "write it into the user's entry, or use {user} in store.url",
)
UNSERVED: Final = _reason(
    "unserved", "the maildrop that the user's entry names is not served here", "see the mail fields of the user's entry"
)
NO_MAILDROP: Final = _reason(
    "no-maildrop", "the user's name or settings name no maildrop", "see store.url and the user's own mail location"
)
IN_USE: Final = _reason(
    "in-use", "another session has the maildrop", "see `mailserver locks`; `mailserver kick` ends a session"
)
UNAVAILABLE: Final = _reason(
    "unavailable", "the maildrop cannot be opened", "see the rights of its files, and its disk"
)
CORRUPT: Final = _reason("corrupt", "the maildrop needs a repair", "see what is said of it, and docs/maildir.md")

_EVENTS: Final[Mapping[str, Reason]] = {
    "pop3.turned_away": TURNED_AWAY,
    "pop3.tls_failed": TLS_FAILED,
    "pop3.wrong_protocol": WRONG_PROTOCOL,
    "pop3.needs_tls": NEEDS_TLS,
    "pop3.login_held": HELD,
    "pop3.login_delayed": LOGIN_DELAY,
    "pop3.login_put_off": NOT_NOW,
    "kerberos.refused": TICKET,
    "auth.unserved": UNSERVED,
    "auth.homeless": NO_HOME,
}
"""The events that have one reason each; those with several name it in their field `why`."""


def of_event(event: Mapping[str, Any]) -> Reason | None:
    """The reason for which a login was refused, of an event of the log; None where it is about something else."""
    kind = event.get("event")
    if kind in ("pop3.login_failed", "store"):
        return REASONS.get(event.get("why", ""))
    return _EVENTS.get(kind) if isinstance(kind, str) else None
