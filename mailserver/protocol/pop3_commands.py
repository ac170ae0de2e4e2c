"""The POP3 commands: one function each; its states, arity and capability stand in its decorator.

A command returns the effect that it needs, or None when its reply is complete. CAPA is made of this table and the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mailserver.credentials import Apop, KerberosIdentity, Password
from mailserver.errors import BadCommand, NeedsTLS, NoSuchMessage, WrongProtocol
from mailserver.protocol.effects import Effect, Envelope, Retrieve, StartTLS, State
from mailserver.snapshot import BLOCK

if TYPE_CHECKING:
    from mailserver.protocol.pop3 import Session

AUTHORIZATION, TRANSACTION = State.AUTHORIZATION, State.TRANSACTION

Function = Callable[["Session", Sequence[bytes]], Effect | None]
Capability = Callable[["Session"], bytes | None]


class Command(NamedTuple):
    """A row of a state's table."""

    function: Function
    least: int
    most: int
    verbatim: bool


TABLES: dict[State, dict[bytes, Command]] = {state: {} for state in State}
"""The verbs that can be reached in each state."""

CAPABILITIES: list[Capability] = []
"""In CAPA's order; each gives its line, or None where the policy and the line's security do not allow it."""


def command(
    verb: bytes,
    *states: State,
    args: tuple[int, int] = (0, 0),
    verbatim: bool = False,
    capability: bytes | Capability = b"",
) -> Callable[[Function], Function]:
    """Enter a function as `verb` in the tables of `states`.

    `args` are the least and the most arguments it takes; with `verbatim` it takes one, the rest of the line as it came.
    """

    def enter(function: Function) -> Function:
        for state in states:
            TABLES[state][verb] = Command(function, *args, verbatim)
        if callable(capability):
            CAPABILITIES.append(capability)
        elif capability:
            CAPABILITIES.append(lambda _: capability)
        return function

    return enter


def run(session: Session, line: bytes) -> Effect | None:
    """Run one command line. Errors: a Refusal, which leaves the session as it was."""
    verb, _, rest = line.partition(b" ")
    found = session.verbs.get(verb.upper())
    if found is None:
        raise BadCommand(b"not now" if any(verb.upper() in table for table in TABLES.values()) else None)
    if found.verbatim:
        return found.function(session, (rest,))
    args = rest.split()
    if not found.least <= len(args) <= found.most:
        raise BadCommand(b"wrong number of arguments")
    return found.function(session, args)


# AUTHORIZATION


def _user_capability(session: Session) -> bytes | None:
    return b"USER" if session.policy.user and session.secure else None


def _sasl_capability(session: Session) -> bytes | None:
    names = [mechanism.name for mechanism in session.mechanisms()]
    return b" ".join((b"SASL", *names)) if names else None


def _stls_capability(session: Session) -> bytes | None:
    """RFC 2595 section 4: announced in the AUTHORIZATION state only, unlike all the others."""
    offered = session.policy.stls and not session.tls and session.state is AUTHORIZATION
    return b"STLS" if offered else None


def _check_cleartext(session: Session, name: bytes = b"") -> None:
    """Refuse a password, `name`'s, on a line where others could read it (RFC 8314 section 4.1)."""
    if not session.secure:
        stls = b"send STLS first, passwords do not cross an unencrypted line"
        raise NeedsTLS(stls if session.policy.stls else None, name)


@command(b"USER", AUTHORIZATION, verbatim=True, capability=_user_capability)
def user(session: Session, args: Sequence[bytes]) -> None:
    """RFC 1939 section 7: name the maildrop. Every name gets the same answer."""
    if not session.policy.user:
        raise BadCommand
    name = args[0].strip(b" ")
    _check_cleartext(session, name)
    if not name:
        raise BadCommand(b"USER needs a name")
    session.user = name
    session.reply(b"send PASS")


@command(b"PASS", AUTHORIZATION, verbatim=True)
def password(session: Session, args: Sequence[bytes]) -> Effect:
    """RFC 1939 section 7: the rest of the line is the password, spaces and 8-bit octets included."""
    _check_cleartext(session)
    if session.user is None:
        raise BadCommand(b"USER first")
    if session.principal:  # the ticket is the proof; what comes here, and be it somebody's password, stays unread
        return session.login(KerberosIdentity(session.principal, session.user), b"KPOP")
    if not args[0]:
        raise BadCommand(b"PASS needs a password")  # to some directories an empty one is no login, and yet a success
    return session.login(Password(session.user, args[0]), b"USER")


@command(b"APOP", AUTHORIZATION, verbatim=True)
def apop(session: Session, args: Sequence[bytes]) -> Effect:
    """RFC 1939 section 7. It is announced by the stamp in the greeting, not in CAPA."""
    if not session.stamp:
        raise BadCommand
    name, _, digest = args[0].strip(b" ").rpartition(b" ")
    if not name.strip(b" "):
        raise BadCommand(b"APOP needs a name and a digest")
    return session.login(Apop(session.stamp, name.strip(b" "), digest.lower()), b"APOP")


@command(b"AUTH", AUTHORIZATION, args=(0, 2), capability=_sasl_capability)
def auth(session: Session, args: Sequence[bytes]) -> Effect | None:
    """RFC 5034. Without an argument it lists the mechanisms, as RFC 1734's clients (old Outlook) ask."""
    if session.principal:
        raise BadCommand
    if not args:
        session.lines([mechanism.name for mechanism in session.mechanisms()])
        return None
    name = args[0].upper()
    mechanism = next((m for m in session.policy.mechanisms if m.name == name), None)
    if mechanism is None:
        raise BadCommand(b"unknown authentication mechanism")
    if mechanism.cleartext:
        _check_cleartext(session)
    return session.begin(mechanism, args[1] if len(args) > 1 else None)


@command(b"STLS", AUTHORIZATION, capability=_stls_capability)
def stls(session: Session, _: Sequence[bytes]) -> Effect:
    """RFC 2595 section 4."""
    if session.tls:
        raise BadCommand(b"TLS is active already")
    if not session.policy.stls:
        raise BadCommand
    session.reply(b"begin TLS")
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
    rows = [row for capability in CAPABILITIES if (row := capability(session))]
    rows += STANDING
    if session.state is TRANSACTION:
        rows.append(b"IMPLEMENTATION %b" % session.policy.implementation)
    session.lines(rows, b"capabilities follow")


@command(b"QUIT", AUTHORIZATION)
def leave(session: Session, _: Sequence[bytes]) -> Effect:
    """RFC 1939 section 4: nothing is open, so nothing is updated."""
    session.reply(b"signing off")
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
    session.reply(b"%d %d" % _remaining(session))


@command(b"LIST", TRANSACTION, args=(0, 1))
def scan(session: Session, args: Sequence[bytes]) -> None:
    """RFC 1939 section 5: one scan listing, or all."""
    if args:
        number = _number(session, args[0])
        session.reply(session.messages.scan_row(number)[:-2])
    else:
        blocks = _blocks(session, session.messages.scan_block, session.messages.scan_row)
        session.listing(blocks, b"%d messages (%d octets)" % _remaining(session))


@command(b"UIDL", TRANSACTION, args=(0, 1), capability=b"UIDL")
def uidl(session: Session, args: Sequence[bytes]) -> None:
    """RFC 1939 section 7: one unique-id listing, or all."""
    if args:
        number = _number(session, args[0])
        session.reply(session.messages.unique_row(number)[:-2])
    else:
        blocks = _blocks(session, session.messages.unique_block, session.messages.unique_row)
        session.listing(blocks, b"unique-id listing follows")


@command(b"RETR", TRANSACTION, args=(1, 1))
def retr(session: Session, args: Sequence[bytes]) -> Effect:
    """RFC 1939 section 5."""
    return Retrieve(_number(session, args[0]))


@command(b"TOP", TRANSACTION, args=(2, 2), capability=b"TOP")
def top(session: Session, args: Sequence[bytes]) -> Effect:
    """RFC 1939 section 7: the headers, the blank line, and so many lines of the body."""
    number = _number(session, args[0])
    if not args[1].isdigit():
        raise BadCommand(b"TOP needs a number of lines")
    return Retrieve(number, int(args[1]))


def _sdps_capability(session: Session) -> bytes | None:
    """Our own name for it: SDPS is older than CAPA."""
    return b"X-SDPS" if session.policy.sdps else None


@command(b"*ENV", TRANSACTION, args=(1, 1), capability=_sdps_capability)
def envelope(session: Session, args: Sequence[bytes]) -> Effect:
    """Demon's SDPS: the envelope of a message, in the third and fourth line of the answer."""
    if not session.policy.sdps:
        raise BadCommand
    return Envelope(_number(session, args[0]))


@command(b"DELE", TRANSACTION, args=(1, 1))
def dele(session: Session, args: Sequence[bytes]) -> None:
    """RFC 1939 section 5: mark as deleted; QUIT removes."""
    number = _number(session, args[0])
    session.deleted.add(number)
    session.deleted_octets += session.messages.octets[number - 1]
    session.reply(b"message %d deleted" % number)


@command(b"RSET", TRANSACTION)
def rset(session: Session, _: Sequence[bytes]) -> None:
    """RFC 1939 section 5: unmark all."""
    session.deleted.clear()
    session.deleted_octets = 0
    session.reply(b"%d messages (%d octets)" % _remaining(session))


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
