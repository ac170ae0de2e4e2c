"""The LMTP commands: one function each. Every verb is known in every state, and answers there what RFC 5321 section 4.1.4 says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from mailserver.errors import Refusal, WrongProtocol
from mailserver.protocol import lmtp_texts as texts
from mailserver.protocol.commands import Commands
from mailserver.protocol.effects import StartTLS
from mailserver.protocol.lmtp import Session
from mailserver.protocol.lmtp_data import Chunk
from mailserver.protocol.lmtp_effects import Effect, Recipient
from mailserver.protocol.lmtp_paths import forward_path, original_address, parameters, reverse_path
from mailserver.protocol.lmtp_state import State, Transaction
from mailserver.protocol.xclient import ATTRIBUTES, told
from mailserver.smtp_errors import (
    BadAddress,
    BadParameter,
    BadSender,
    BadSequence,
    BadSyntax,
    NoChunkSize,
    NoRecipients,
    NotServed,
    NotSMTP,
    NotTrusted,
    TooBig,
    TooManyRecipients,
)

CONNECTED, READY, ENVELOPE, CHUNKS = State.CONNECTED, State.READY, State.ENVELOPE, State.CHUNKS
ALL = CONNECTED, READY, ENVELOPE, CHUNKS

COMMANDS: Final = Commands[Session, State, Effect](State)
"""All of them; a session is given them when it is made."""

command = COMMANDS.command

STANDING = (b"PIPELINING", b"ENHANCEDSTATUSCODES", b"8BITMIME", b"SMTPUTF8")
"""Extensions that are properties of the whole session (RFC 2920, RFC 2034, RFC 6152, RFC 6531)."""

SIZE_DIGITS = 18
"""Digits of a size: RFC 1870 allows 20, and nobody lives to see the end of such a message."""


# The session


@command(b"LHLO", *ALL, verbatim=True)
def lhlo(session: Session, args: Sequence[bytes]) -> Effect | None:
    """RFC 2033 section 4.1, RFC 5321 section 4.1.1.1: it begins anew also within a transaction."""
    name = args[0].strip(b" ")
    if not name or not name.isascii() or b" " in name:
        raise BadSyntax(texts.NO_NAME)
    forget = session.greeted(name)
    session.lines(b"250", [session.policy.hostname, *STANDING, *session.capabilities()])
    return forget


@command(b"HELO", *ALL, verbatim=True)
@command(b"EHLO", *ALL, verbatim=True)
def hello(_session: Session, _args: Sequence[bytes]) -> None:
    """RFC 2033 section 4.1: these are refused, so that nobody takes this for SMTP."""
    raise NotSMTP


@command(b"NOOP", *ALL, verbatim=True)
def noop(session: Session, _: Sequence[bytes]) -> None:
    """RFC 5321 section 4.1.1.9: its argument is ignored."""
    session.reply(b"250 2.0.0")


@command(b"RSET", *ALL)
def rset(session: Session, _: Sequence[bytes]) -> Effect | None:
    """RFC 5321 section 4.1.1.5."""
    session.reply(b"250 2.0.0")
    return session.reset()


@command(b"VRFY", *ALL, verbatim=True)
def vrfy(session: Session, args: Sequence[bytes]) -> None:
    """RFC 5321 section 3.5.3: that is what RCPT tells, to those who have mail for somebody."""
    if not args[0].strip(b" "):
        raise BadSyntax(texts.NO_USER)
    session.reply(b"252 2.0.0", texts.MAYBE)


@command(b"HELP", *ALL, verbatim=True)
def instruct(session: Session, _: Sequence[bytes]) -> None:
    """RFC 5321 section 4.1.1.8."""
    session.reply(b"214 2.0.0", texts.HELP)


@command(b"QUIT", *ALL)
def leave(session: Session, _: Sequence[bytes]) -> Effect:
    """RFC 5321 section 4.1.1.10."""
    session.reply(b"221 2.0.0", texts.GOODBYE)
    return session.end()


def refuses(refusal: type[Refusal], text: bytes | None = None) -> Callable[[Session, Sequence[bytes]], Effect | None]:
    """Return a command that is known where it stands, and refused there."""

    def refuse(_session: Session, _args: Sequence[bytes]) -> None:
        raise refusal(text)

    return refuse


for _verb in (b"EXPN", b"AUTH", b"ETRN", b"TURN", b"SEND", b"SOML", b"SAML", b"XFORWARD"):
    command(_verb, *ALL, verbatim=True)(refuses(NotServed))


def _may_start_tls(session: Session, _: Sequence[bytes]) -> Refusal | None:
    """RFC 3207 section 4: once, and only where there is a certificate."""
    if session.tls:
        return BadSequence(texts.TLS_ALREADY)
    return None if session.policy.stls else NotServed()


@command(b"STARTTLS", CONNECTED, READY, capability=b"STARTTLS", when=_may_start_tls)
def starttls(session: Session, _: Sequence[bytes]) -> Effect:
    """RFC 3207 section 4."""
    session.reply(b"220 2.0.0", texts.BEGIN_TLS)
    return StartTLS()


command(b"STARTTLS", ENVELOPE, CHUNKS)(refuses(BadSequence, texts.NESTED))


def _may_speak_for_others(session: Session, _: Sequence[bytes]) -> Refusal | None:
    return None if session.policy.xclient else NotTrusted()


@command(
    b"XCLIENT",
    CONNECTED,
    READY,
    verbatim=True,
    capability=b" ".join((b"XCLIENT", *ATTRIBUTES)),
    when=_may_speak_for_others,
)
def xclient(session: Session, args: Sequence[bytes]) -> None:
    """Postfix's XCLIENT: the session begins again with a greeting."""
    words = args[0].split()
    if not words:
        raise BadSyntax(texts.BAD_ATTRIBUTE)
    session.speaks_for(told(session.client, words))


command(b"XCLIENT", ENVELOPE, CHUNKS, verbatim=True)(refuses(BadSequence, texts.NESTED))


def http(_session: Session, _args: Sequence[bytes]) -> Effect:
    """Refuse a browser at once: the body of its request may hold commands that a web page chose."""
    raise WrongProtocol("HTTP", texts.WRONG_PROTOCOL)


for _method in (b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"CONNECT"):
    command(_method, CONNECTED, verbatim=True)(http)


# The envelope


def _size(session: Session) -> bytes:
    return b"SIZE %d" % session.policy.max_octets


@command(b"MAIL", READY, verbatim=True, capability=_size)
def mail(session: Session, args: Sequence[bytes]) -> None:
    """RFC 5321 section 4.1.1.2, with SIZE (RFC 1870), BODY (RFC 6152) and SMTPUTF8 (RFC 6531)."""
    try:
        path, rest = reverse_path(_behind(b"FROM:", args[0], texts.NO_FROM))
    except BadAddress:
        raise BadSender from None
    given = parameters(rest, (b"SIZE", b"BODY", b"SMTPUTF8"))
    if given.get(b"SMTPUTF8") is not None:
        raise BadSyntax(texts.NO_VALUE)
    transaction = Transaction(path, utf8=b"SMTPUTF8" in given)
    if b"SIZE" in given:
        transaction.size = _octets(given[b"SIZE"])
        if transaction.size > session.policy.max_octets:
            raise TooBig
    if b"BODY" in given:
        transaction.body = _body(given[b"BODY"])
    session.begin(transaction)
    session.reply(b"250 2.1.0", texts.SENDER)


def _octets(value: bytes | None) -> int:
    if value is None or not value.isdigit() or len(value) > SIZE_DIGITS:
        raise BadSyntax(texts.NO_SIZE)
    return int(value)


def _body(value: bytes | None) -> bytes:
    body = b"" if value is None else value.upper()
    if body == b"BINARYMIME":
        raise BadParameter(texts.NO_BINARY)
    if body not in (b"7BIT", b"8BITMIME"):
        raise BadSyntax(texts.NO_BODY)
    return body


@command(b"RCPT", ENVELOPE, verbatim=True)
def rcpt(session: Session, args: Sequence[bytes]) -> Effect:
    """RFC 5321 section 4.1.1.3; a local part alone is a user here, and ORCPT is read though nobody announces DSN (RFC 3461)."""
    path, rest = forward_path(_behind(b"TO:", args[0], texts.NO_TO))
    given = parameters(rest, (b"ORCPT",))
    transaction = session.mail
    original = original_address(given[b"ORCPT"]) if b"ORCPT" in given else b""
    if transaction.recipients >= session.policy.max_recipients:
        raise TooManyRecipients
    transaction.held = True
    return Recipient(path, original)


def _behind(word: bytes, text: bytes, otherwise: bytes) -> bytes:
    text = text.lstrip(b" ")
    if text[: len(word)].upper() != word:
        raise BadSyntax(otherwise)
    return text[len(word) :]


# The message


@command(b"DATA", ENVELOPE)
def data(session: Session, _: Sequence[bytes]) -> None:
    """RFC 5321 section 4.1.1.4, RFC 2033 section 4.2."""
    if not session.mail.recipients:
        raise NoRecipients
    session.reply(b"354", texts.SEND_TEXT)
    session.receive()


@command(b"BDAT", *ALL, verbatim=True, capability=b"CHUNKING")
def bdat(session: Session, args: Sequence[bytes]) -> Effect | None:
    """RFC 3030 section 2. Whatever is wrong, the octets that it announces are no commands."""
    size, *rest = args[0].split() or [b""]
    if not size.isdigit() or len(size) > SIZE_DIGITS:
        raise NoChunkSize
    refusal: Refusal | None = None
    if rest and [word.upper() for word in rest] != [b"LAST"]:
        refusal = BadSyntax(texts.BAD_CHUNK)
    elif session.state not in (ENVELOPE, CHUNKS):
        refusal = BadSequence(texts.MAIL_FIRST)
    return session.receive_chunk(Chunk(int(size), last=bool(rest), refusal=refusal))


for _verb, _state, _text in (
    (b"MAIL", CONNECTED, texts.LHLO_FIRST),
    (b"RCPT", CONNECTED, texts.LHLO_FIRST),
    (b"DATA", CONNECTED, texts.LHLO_FIRST),
    (b"MAIL", ENVELOPE, texts.NESTED),
    (b"MAIL", CHUNKS, texts.NESTED),
    (b"RCPT", READY, texts.MAIL_FIRST),
    (b"DATA", READY, texts.MAIL_FIRST),
    (b"RCPT", CHUNKS, texts.CHUNKS_BEGAN),
    (b"DATA", CHUNKS, texts.CHUNKS_BEGAN),
):
    command(_verb, _state, verbatim=True)(refuses(BadSequence, _text))
