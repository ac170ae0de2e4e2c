"""What a sender of mail is told: refusals that only LMTP knows, each with its reply code and enhanced status code (RFC 3463)."""

from __future__ import annotations

from mailserver.errors import OverQuota, Refusal


class UnknownRecipient(Refusal):
    """An address of nobody here."""

    smtp = b"550 5.1.1"
    text = b"no such user here"


class BadAddress(Refusal):
    """A path that RFC 5321 section 4.1.2 or RFC 6531 does not allow; of a recipient, one that can name nobody."""

    smtp = b"501 5.1.3"
    text = b"this is no address"


class BadParameter(Refusal):
    """A parameter that is unknown, given twice, or has a wrong value (RFC 5321 section 4.1.1.11)."""

    smtp = b"555 5.5.4"
    text = b"this parameter is not known"


class BadSyntax(Refusal):
    """A known command in a form that it does not have."""

    smtp = b"501 5.5.4"
    text = b"syntax error"


class BadSequence(Refusal):
    """A known command at a time that is not its own (RFC 5321 section 4.1.4)."""

    smtp = b"503 5.5.1"
    text = b"not now"


class TooManyRecipients(Refusal):
    """More recipients than one transaction may have; the sender tries the others again (RFC 5321 section 4.5.3.1.10)."""

    smtp = b"452 4.5.3"
    text = b"too many recipients"


class TooBig(Refusal):
    """A message above the site's limit (RFC 1870 section 6)."""

    smtp = b"552 5.3.4"
    text = b"the message is too big"


class NoRecipients(Refusal):
    """DATA where every recipient was refused (RFC 2033 section 4.2)."""

    smtp = b"503 5.5.1"
    text = b"no valid recipients"


class AliasLoop(Refusal):
    """An alias that leads to nobody but itself."""

    smtp = b"550 5.4.6"
    text = b"the address leads back to itself"


class OverQuotaForGood(OverQuota):
    """The same as `OverQuota`, where the site tells senders not to try again."""

    smtp = b"552 5.2.2"
