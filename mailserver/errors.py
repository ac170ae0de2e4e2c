"""The three families of error: what the client may be told, what became of a maildrop, and what the operator must mend.

A `Refusal` is the client's fault or the policy's; it becomes one ``-ERR [CODE] text`` line. A `StoreError` is a maildrop's
trouble; `refusals` turns it, and a failed login, into the Refusal that the client hears. Everything else is a fault of
ours: the connection logs it and the client hears `TemporaryFailure`. At the start, where no client is, `Unusable` is the
operator's to mend, and everything else a fault as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from twisted.cred.error import UnauthorizedLogin

from mailserver import reasons
from mailserver.reasons import Reason


class Refusal(Exception):
    """An answer of ``-ERR``: an optional response code (RFC 2449 section 8, RFC 3206) and an ASCII text.

    The text never holds a path, a name from the file system, or another exception's text.
    """

    code: ClassVar[bytes] = b""
    smtp: ClassVar[bytes] = b"451 4.3.0"
    """The reply code (RFC 5321 section 4.2) and the enhanced status code (RFC 3463) of the same refusal in LMTP."""
    text: ClassVar[bytes] = b"refused"
    fatal: ClassVar[bool] = False
    """Whether the connection ends with it."""
    remarkable: ClassVar[bool] = False
    """Whether the operator is told of it: the operator can mend what the client cannot."""
    why: ClassVar[Reason | None] = None
    """The reason for which it refuses a login, if it can."""

    def __init__(self, text: bytes | None = None, *values: int) -> None:
        super().__init__()
        self._text = text
        self._values = values

    @property
    def said(self) -> bytes:
        """The text with its values."""
        text = self.text if self._text is None else self._text
        return text % self._values if self._values else text

    @property
    def line(self) -> bytes:
        """The response code and the text with its values, as they follow ``-ERR`` and a space."""
        # As `said`, without its call: each refusal of POP3 needs it.
        text = self.text if self._text is None else self._text
        if self._values:
            text %= self._values
        return b"[%b] %b" % (self.code, text) if self.code else text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.line!r})"

    __str__ = __repr__


class BadCommand(Refusal):
    """An unknown verb, a verb of another state, or arguments that do not fit it."""

    smtp = b"500 5.5.2"
    text = b"unknown command"


class WrongArguments(BadCommand):
    """A command with more or fewer arguments than it takes."""

    smtp = b"501 5.5.4"
    text = b"wrong number of arguments"


class LineTooLong(Refusal):
    """More octets without a line end than RFC 2449 section 4 (or RFC 5034 section 4) allows; the connection ends."""

    text = b"line too long"
    fatal = True


class TooManyExchanges(Refusal):
    """More SASL exchanges without a login than a client needs.

    Each may cost a hash or a question to a token's issuer, and is cancelled before it counts as a failed login.
    """

    text = b"too many authentication exchanges"
    fatal = True


class WrongProtocol(Refusal):
    """A client that uses TLS or HTTP on this port: it cannot be served, and a browser may be relaying an attack."""

    smtp = b"421 4.7.0"
    text = b"this is a POP3 server"
    fatal = True
    remarkable = True
    why = reasons.WRONG_PROTOCOL

    def __init__(self, protocol: str = "another protocol", text: bytes | None = None) -> None:
        super().__init__(text)
        self.protocol = protocol


class NeedsTLS(Refusal):
    """A password that would cross an unencrypted line (RFC 8314 section 4.1); `user` is its user, if the client named one."""

    text = b"not without TLS"
    remarkable = True
    why = reasons.NEEDS_TLS

    def __init__(self, text: bytes | None = None, *, user: bytes = b"") -> None:
        super().__init__(text)
        self.user = user


class NoSuchMessage(Refusal):
    """A message-number that is invalid, out of range, or marked as deleted."""

    text = b"no such message"


class MessageUnavailable(Refusal):
    """A message of the snapshot that can no longer be read."""

    text = b"message is no longer available"


class AuthenticationFailed(Refusal):
    """The credentials are wrong (RFC 3206 section 4); the text is the same whether the user exists or not."""

    code = b"AUTH"
    text = b"authentication failed"


class LoginRefused(UnauthorizedLogin):
    """A failed login with its reason, for the operator's log only: the client gets the same reply for every reason.

    `why` is one of `reasons`, or a few words of a checker's own; `said` is what is to be said in place of its words, `hint` what would help
    ("": nothing). None of them holds a secret, and names in them are quoted. `known` tells whether the checker knows the user: of
    several refusals those count that do. False promises that its `IUsers.lookup` answers None; None: the checker does not say.
    """

    def __init__(self, why: Reason | str, hint: str = "", *, known: bool | None = True, said: str = "") -> None:
        super().__init__()
        self.why = why if isinstance(why, Reason) else reasons.OTHER
        self.reason = said or (why.words if isinstance(why, Reason) else why)
        self.hint = hint
        self.known = known


class TicketRefused(AuthenticationFailed):
    """Kerberos refused a ticket. `error_code` is RFC 4120's (section 7.5.9), 0 to 127; `detail` is only for the log.

    `ours` tells that the server's keytab or replay cache is the cause, so that no ticket could be accepted.
    """

    why = reasons.TICKET

    def __init__(self, error_code: int, detail: str, *, ours: bool = False) -> None:
        super().__init__()
        self.error_code = error_code
        self.detail = detail
        self.ours = ours


class InUse(Refusal):
    """Another session holds the maildrop's lock (RFC 2449 section 8.1.1)."""

    code = b"IN-USE"
    text = b"maildrop is in use by another session"
    why = reasons.IN_USE


class LoginTooSoon(Refusal):
    """A login with the right secret before the user's login delay was over (RFC 2449 section 8.1.1)."""

    code = b"LOGIN-DELAY"
    text = b"you have logged in a short time ago, please try again in %d seconds"
    why = reasons.LOGIN_DELAY

    def __init__(self, seconds: int) -> None:
        super().__init__(None, seconds)
        self.seconds = seconds


class TemporaryFailure(Refusal):
    """The server's fault, worth another try later (RFC 3206 section 2)."""

    code = b"SYS/TEMP"
    text = b"temporary failure, please try again later"
    why: ClassVar[Reason | None] = reasons.NOT_NOW


class HeldTooLong(TemporaryFailure):
    """A login that was not verified: its turn did not come, because too many logins fail at the user or the address.

    It has no `[AUTH]`, at which a client would ask its user for another password.
    """

    text = b"too many failed logins, please try again later"
    why = reasons.HELD


class PermanentFailure(Refusal):
    """The server's fault, and the operator's help is needed (RFC 3206 section 3)."""

    code = b"SYS/PERM"
    smtp = b"554 5.3.0"
    text = b"the maildrop needs the attention of its operator"


class NoRoom(TemporaryFailure):
    """The disk has no room for a message."""

    smtp = b"452 4.3.1"
    text = b"no room for the message, please try again later"


class OverQuota(Refusal):
    """The maildrop has no room for the message by its quota; the sender may try again (RFC 3463 section 3.3)."""

    smtp = b"452 4.2.2"
    text = b"the maildrop is full"


class Unusable(Exception):
    """A file, a library or a setting that the server cannot use, and that the operator must correct.

    The text names it with the remedy, and contains no secret.
    """

    @property
    def problems(self) -> tuple[str, ...]:
        """The problems, one line each."""
        return tuple(str(self).splitlines())


class ConfigError(Unusable):
    """Invalid settings. Each problem begins with the place or the dotted name of its setting."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))


class MessageUnreadable(PermanentFailure):
    """A message in a stored form that this server cannot read."""

    text = b"the message is stored in a form that cannot be read here; the operator must see to it"


class StoreError(Exception):
    """An error of a maildrop. The text is for the operator's log; the client gets only `refusal`."""

    refusal: ClassVar[type[Refusal]] = TemporaryFailure
    why: ClassVar[Reason | None] = None
    """The reason for which it refuses a login, if it can."""


class MaildropInUse(StoreError):
    """The exclusive lock is held by another session, in this process or another."""

    refusal = InUse
    why = reasons.IN_USE


class MaildropUnavailable(StoreError):
    """The maildrop cannot be opened now: permissions, a full or failing disk."""

    why: ClassVar[Reason | None] = reasons.UNAVAILABLE


class StoreFull(MaildropUnavailable):
    """The file system of the maildrop has no room for the message."""

    refusal = NoRoom


class QuotaExceeded(StoreError):
    """The message would exceed the user's quota; nothing of it is stored."""

    refusal = OverQuota


class NoMaildrop(MaildropUnavailable):
    """The user's name or settings name no valid maildrop; trying again will not help."""

    refusal = PermanentFailure
    why = reasons.NO_MAILDROP


class HomeUnknown(NoMaildrop):
    """The maildrop is in the user's home, which is unknown. `remedy` is how the store could do without a home."""

    why = reasons.NO_HOME

    def __init__(self, text: str, remedy: str = "") -> None:
        super().__init__(text)
        self.remedy = remedy


class MaildropCorrupt(StoreError):
    """The maildrop cannot be opened until its operator repairs it."""

    refusal = PermanentFailure
    why = reasons.CORRUPT


class OutcomeUnknown(StoreError):
    """A commit failed half-way, and its journal remains: the next login finishes it."""


class MessageGone(StoreError):
    """The message vanished, cannot be read, or is not the one that was listed; the session goes on."""

    refusal: ClassVar[type[Refusal]] = MessageUnavailable


class MessageSealed(MessageGone):
    """The message is encrypted, or compressed in a way that cannot be undone here; the session goes on."""

    refusal = MessageUnreadable


class MessageTruncated(StoreError):
    """A body ended early after its transfer began; the connection ends without the final dot."""
