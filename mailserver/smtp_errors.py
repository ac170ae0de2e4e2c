"""What a sender of mail is told: refusals that only LMTP knows, each with its reply code and enhanced status code (RFC 3463)."""

from __future__ import annotations

from mailserver.errors import BadCommand, OverQuota, Refusal


class UnknownRecipient(Refusal):
    """An address of nobody here."""

    smtp = b"550 5.1.1"
    text = b"no such user here"


class BadAddress(Refusal):
    """A path that RFC 5321 section 4.1.2 or RFC 6531 does not allow; of a recipient, one that can name nobody."""

    smtp = b"501 5.1.3"
    text = b"this is no address"


class BadSender(BadAddress):
    """The same of a reverse-path."""

    smtp = b"501 5.1.7"


class BadParameter(Refusal):
    """A parameter of MAIL or RCPT that is unknown, or a value that it cannot have here (RFC 5321 section 4.1.1.11)."""

    smtp = b"555 5.5.4"
    text = b"this parameter is not known"


class BadSyntax(BadCommand):
    """A known command in a form that it does not have, or a parameter that is given twice or has no such values."""

    smtp = b"501 5.5.4"
    text = b"syntax error"


class NotSMTP(BadCommand):
    """HELO or EHLO (RFC 2033 section 4.1)."""

    smtp = b"500 5.5.1"
    text = b"this is LMTP, say LHLO"


class NotServed(BadCommand):
    """A command that is known, and that this server does not have (RFC 5321 section 4.2.4)."""

    smtp = b"502 5.5.1"
    text = b"this command is not implemented"


class BadSequence(Refusal):
    """A known command at a time that is not its own (RFC 5321 section 4.1.4).

    No `BadCommand`: behind a MAIL that was refused, a client that pipelines has as many of these coming as it has recipients.
    """

    smtp = b"503 5.5.1"
    text = b"not now"


class NotTrusted(Refusal):
    """XCLIENT from a network that may not speak for others."""

    smtp = b"550 5.7.0"
    text = b"you may not speak for others"
    remarkable = True


class TooManyRecipients(Refusal):
    """More recipients than one transaction may have; the sender tries the others again (RFC 5321 section 4.5.3.1.10)."""

    smtp = b"452 4.5.3"
    text = b"too many recipients"


class TooBig(Refusal):
    """A message above the site's limit (RFC 1870 section 6)."""

    smtp = b"552 5.3.4"
    text = b"the message is too big"
    remarkable = True


class NoRecipients(Refusal):
    """DATA where every recipient was refused (RFC 2033 section 4.2)."""

    smtp = b"503 5.5.1"
    text = b"no valid recipients"


class NoChunkSize(Refusal):
    """BDAT without a size that can be read: nobody knows where the chunk ends, and what is in it must never be run as commands."""

    smtp = b"421 4.5.4"
    text = b"a chunk without its size, closing the connection"
    fatal = True


class TextAsCommands(Refusal):
    """A header field where a command should be: a client sends its message though DATA was refused, and whoever wrote that message
    may have written commands into it.
    """

    smtp = b"421 4.7.0"
    text = b"that is a message and no command, closing the connection"
    fatal = True
    remarkable = True


class TooManyBadCommands(Refusal):
    """What speaks here is no client of LMTP."""

    smtp = b"421 4.7.0"
    text = b"too many bad commands, closing the connection"
    fatal = True


class TimedOut(Refusal):
    """A client that says nothing, or needs too long for a message (RFC 5321 section 4.5.3.2), is told this at its end."""

    smtp = b"421 4.4.2"
    text = b"timeout, closing the connection"


class AliasLoop(Refusal):
    """An alias that leads to nobody but itself."""

    smtp = b"550 5.4.6"
    text = b"the address leads back to itself"


class OverQuotaForGood(OverQuota):
    """The same as `OverQuota`, where the site tells senders not to try again."""

    smtp = b"552 5.2.2"
