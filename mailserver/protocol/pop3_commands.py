"""The POP3 commands: one function each; its states, arguments, capability and condition stand in its decorator.

A command returns the effect that it needs, or None when its reply is complete. The dispatcher and CAPA ask the same condition,
so CAPA announces what would be accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from mailserver.credentials import Apop, KerberosIdentity, Password
from mailserver.errors import BadCommand, NeedsTLS, NoSuchMessage, Refusal, WrongProtocol
from mailserver.protocol import texts
from mailserver.protocol.commands import Commands
from mailserver.protocol.effects import Effect, Envelope, Retrieve, StartTLS, State
from mailserver.protocol.policy import Policy
from mailserver.protocol.pop3 import NONE, Session
from mailserver.snapshot import BLOCK

AUTHORIZATION, TRANSACTION = State.AUTHORIZATION, State.TRANSACTION

COMMANDS: Final = Commands[Session, State, Effect](State)
"""All of them; a session is given them when it is made."""

command = COMMANDS.command


# AUTHORIZATION


def _secure(session: Session, _: Sequence[bytes]) -> Refusal | None:
    """A password crosses no line where others could read it (RFC 8314 section 4.1)."""
    return None if session.secure else _needs_tls(session)


def _takes_passwords(session: Session, args: Sequence[bytes]) -> Refusal | None:
    """Some checker takes a password, and it may cross the line. The refusal tells whose password nearly did."""
    if not session.policy.user:
        return BadCommand()
    return None if session.secure else _needs_tls(session, args[0].strip(b" ") if args else b"")


def _has_stamp(session: Session, _: Sequence[bytes]) -> Refusal | None:
    return None if session.stamp else BadCommand()


def _has_no_ticket(session: Session, _: Sequence[bytes]) -> Refusal | None:
    """After KPOP's ticket nobody proves anything by SASL."""
    return BadCommand() if session.principal else None


def _may_start_tls(session: Session, _: Sequence[bytes]) -> Refusal | None:
    """RFC 2595 section 4: STLS is announced in the AUTHORIZATION state only, unlike all other capabilities."""
    if session.tls:
        return BadCommand(texts.TLS_ALREADY)
    return None if session.policy.stls and session.state is AUTHORIZATION else BadCommand()


def _serves_envelopes(session: Session, _: Sequence[bytes]) -> Refusal | None:
    return None if session.policy.sdps else BadCommand()


def _needs_tls(session: Session, name: bytes = b"") -> NeedsTLS:
    """The refusal of a password, `name`'s."""
    return NeedsTLS(texts.STLS_FIRST if session.policy.stls else None, user=name)


def _mechanisms(session: Session) -> bytes:
    names = [mechanism.name for mechanism in session.mechanisms()]
    return b" ".join((b"SASL", *names)) if names else b""


@command(b"USER", AUTHORIZATION, verbatim=True, capability=b"USER", when=_takes_passwords)
def user(session: Session, args: Sequence[bytes]) -> None:
    """RFC 1939 section 7: name the maildrop. Every name gets the same answer."""
    name = args[0].strip(b" ")
    if not name:
        raise BadCommand(texts.NO_NAME)
    session.user = name
    session.reply(texts.SEND_PASS)


@command(b"PASS", AUTHORIZATION, verbatim=True, when=_secure)
def password(session: Session, args: Sequence[bytes]) -> Effect:
    """RFC 1939 section 7: the rest of the line is the password, spaces and 8-bit octets included."""
    if session.user is None:
        raise BadCommand(texts.USER_FIRST)
    if session.principal:  # the ticket is the proof; what comes here, and be it somebody's password, stays unread
        return session.login(KerberosIdentity(session.principal, session.user), b"KPOP")
    if not args[0]:
        raise BadCommand(texts.NO_PASSWORD)  # to some directories an empty one is no login, and yet a success
    return session.login(Password(session.user, args[0]), b"USER")


@command(b"APOP", AUTHORIZATION, verbatim=True, when=_has_stamp)
def apop(session: Session, args: Sequence[bytes]) -> Effect:
    """RFC 1939 section 7. It is announced by the stamp in the greeting, not in CAPA."""
    name, _, digest = args[0].strip(b" ").rpartition(b" ")
    if not name.strip(b" "):
        raise BadCommand(texts.NO_DIGEST)
    return session.login(Apop(session.stamp, name.strip(b" "), digest.lower()), b"APOP")


@command(b"AUTH", AUTHORIZATION, args=(0, 2), capability=_mechanisms, when=_has_no_ticket)
def auth(session: Session, args: Sequence[bytes]) -> Effect | None:
    """RFC 5034. Without an argument it lists the mechanisms, as RFC 1734's clients (old Outlook) ask."""
    if not args:
        session.lines([mechanism.name for mechanism in session.mechanisms()])
        return None
    name = args[0].upper()
    mechanism = next((m for m in session.policy.mechanisms if m.name == name), None)
    if mechanism is None:
        raise BadCommand(texts.UNKNOWN_MECHANISM)
    if mechanism.cleartext and not session.secure:
        raise _needs_tls(session)
    return session.begin(mechanism, args[1] if len(args) > 1 else None)


@command(b"STLS", AUTHORIZATION, capability=b"STLS", when=_may_start_tls)
def stls(session: Session, _: Sequence[bytes]) -> Effect:
    """RFC 2595 section 4."""
    session.reply(texts.BEGIN_TLS)
    return StartTLS()


def http(_session: Session, _args: Sequence[bytes]) -> Effect:
    """Refuse a browser at once: the body of its request may hold commands that a web page chose."""
    raise WrongProtocol("HTTP")


for _method in (b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"CONNECT"):
    command(_method, AUTHORIZATION, verbatim=True)(http)


# Both states

STANDING = (b"PIPELINING", b"RESP-CODES", b"AUTH-RESP-CODE")
"""Capabilities that are properties of the whole session (RFC 2449 sections 6.4 and 6.6, RFC 3206 section 5)."""


@command(b"CAPA", AUTHORIZATION, TRANSACTION)
def capa(session: Session, _: Sequence[bytes]) -> None:
    """RFC 2449 section 5. IMPLEMENTATION waits for the login: strangers need not know what runs here (section 6.9)."""
    rows = [*COMMANDS.capabilities(session), *STANDING]
    if session.state is TRANSACTION:
        rows += [*_terms(session), b"IMPLEMENTATION %b" % session.policy.implementation]
    else:
        rows += _extremes(session.policy)
    session.lines(rows, texts.CAPABILITIES)


def _extremes(policy: Policy) -> Iterator[bytes]:
    """Yield the worst that any user may have (RFC 2449 sections 6.5 and 6.7); the user's own follows after the login."""
    if longest := max(policy.login_delay, policy.longest_login_delay):
        yield b"LOGIN-DELAY %d USER" % longest
    if policy.shortest_expiry is not None:
        yield b"EXPIRE %d USER" % min(policy.shortest_expiry, policy.expire_days or policy.shortest_expiry)
    elif policy.expire_days:
        yield b"EXPIRE %d" % policy.expire_days


def _terms(session: Session) -> Iterator[bytes]:
    """Yield what is announced per user (RFC 2449 sections 6.5 and 6.7)."""
    policy, terms = session.policy, session.terms
    delay = policy.login_delay if terms.login_delay is None else terms.login_delay
    if delay or policy.login_delay or policy.longest_login_delay:  # section 5: what was announced before is so now
        yield b"LOGIN-DELAY %d" % delay
    days = (policy.expire_days or None) if terms.expire_days is None else terms.expire_days
    if days or session.leaves_nothing:
        yield b"EXPIRE %d" % (days or 0)
    elif policy.expire_days or policy.shortest_expiry is not None:
        yield b"EXPIRE NEVER"


@command(b"QUIT", AUTHORIZATION)
def leave(session: Session, _: Sequence[bytes]) -> Effect:
    """RFC 1939 section 4: nothing is open, so nothing is updated."""
    session.reply(texts.GOODBYE)
    return session.end()


# TRANSACTION


@command(b"QUIT", TRANSACTION)
def update(session: Session, _: Sequence[bytes]) -> Effect:
    """RFC 1939 section 6: the answer waits until the deletions are done."""
    return session.commit()


@command(b"NOOP", TRANSACTION)
def noop(session: Session, _: Sequence[bytes]) -> None:
    """RFC 1939 section 5."""
    session.reply()


@command(b"STAT", TRANSACTION)
def stat(session: Session, _: Sequence[bytes]) -> None:
    """RFC 1939 section 5: messages that are marked as deleted do not count."""
    session.reply(texts.TOTAL, *_remaining(session))


@command(b"LIST", TRANSACTION, args=(0, 1))
def scan(session: Session, args: Sequence[bytes]) -> None:
    """RFC 1939 section 5: one scan listing, or all."""
    if args:
        number = _number(session, args[0])
        session.reply(session.messages.scan_row(number)[:-2])
    else:
        blocks = _blocks(session, session.messages.scan_block, session.messages.scan_row)
        session.listing(blocks, texts.MESSAGES, *_remaining(session))


@command(b"UIDL", TRANSACTION, args=(0, 1), capability=b"UIDL")
def uidl(session: Session, args: Sequence[bytes]) -> None:
    """RFC 1939 section 7: one unique-id listing, or all."""
    if args:
        number = _number(session, args[0])
        session.reply(session.messages.unique_row(number)[:-2])
    else:
        blocks = _blocks(session, session.messages.unique_block, session.messages.unique_row)
        session.listing(blocks, texts.UNIQUE_IDS)


@command(b"RETR", TRANSACTION, args=(1, 1))
def retr(session: Session, args: Sequence[bytes]) -> Effect:
    """RFC 1939 section 5."""
    return Retrieve(_number(session, args[0]))


@command(b"TOP", TRANSACTION, args=(2, 2), capability=b"TOP")
def top(session: Session, args: Sequence[bytes]) -> Effect:
    """RFC 1939 section 7: the headers, the blank line, and so many lines of the body."""
    number = _number(session, args[0])
    if not args[1].isdigit():
        raise BadCommand(texts.NO_LINES)
    return Retrieve(number, int(args[1]))


@command(b"*ENV", TRANSACTION, args=(1, 1), capability=b"X-SDPS", when=_serves_envelopes)
def envelope(session: Session, args: Sequence[bytes]) -> Effect:
    """Demon's SDPS: the envelope of a message, in the third and fourth line of the answer.

    Its capability is our own name: SDPS is older than CAPA.
    """
    return Envelope(_number(session, args[0]))


def _may_delete(session: Session, _: Sequence[bytes]) -> Refusal | None:
    return Refusal(texts.READ_ONLY) if session.terms.read_only else None


@command(b"DELE", TRANSACTION, args=(1, 1), when=_may_delete)
def dele(session: Session, args: Sequence[bytes]) -> None:
    """RFC 1939 section 5: mark as deleted; QUIT removes."""
    number = _number(session, args[0])
    if not isinstance(session.deleted, set):
        session.deleted = set()
    session.deleted.add(number)
    session.deleted_octets += session.messages.octets[number - 1]
    session.reply(texts.DELETED, number)


@command(b"RSET", TRANSACTION)
def rset(session: Session, _: Sequence[bytes]) -> None:
    """RFC 1939 section 5: unmark all.

    With EXPIRE 0 the client leaves what it has got, too: so it can say that it could not store a message.
    """
    session.deleted, session.deleted_octets, session.downloaded = NONE, 0, NONE
    session.reply(texts.MESSAGES, *_remaining(session))


def _remaining(session: Session) -> tuple[int, int]:
    """Count the messages, and their octets, that are not marked as deleted."""
    return len(session.messages) - len(session.deleted), session.messages.total - session.deleted_octets


def _number(session: Session, arg: bytes) -> int:
    """Read a message-number of this maildrop that is not marked as deleted."""
    number = int(arg) if arg.isdigit() else 0
    if not 1 <= number <= len(session.messages) or number in session.deleted:
        raise NoSuchMessage
    return number


def _blocks(session: Session, block: Callable[[int], bytes], row: Callable[[int], bytes]) -> Iterator[bytes]:
    """Yield a listing in blocks of whole lines; a block that lost no message is the snapshot's own text."""
    for index in range(-(-len(session.messages) // BLOCK)):
        numbers = range(index * BLOCK + 1, min((index + 1) * BLOCK, len(session.messages)) + 1)
        if session.deleted.isdisjoint(numbers):
            yield block(index)
        else:
            yield b"".join(row(number) for number in numbers if number not in session.deleted)
