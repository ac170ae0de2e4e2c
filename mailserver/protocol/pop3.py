"""The POP3 session (RFC 1939) as a function of bytes and a snapshot.

`protocol.effects` has its states and effects, and says how the network runs it.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Iterable, Iterator

from mailserver.credentials import Credentials
from mailserver.envelope import Envelope as Details
from mailserver.errors import AuthenticationFailed, BadCommand, Refusal
from mailserver.exchange import Ask, Challenge, IMechanism, SaslContext, Step
from mailserver.interfaces import TERMS, Terms
from mailserver.protocol import texts
from mailserver.protocol.commands import Commands
from mailserver.protocol.effects import (
    MOVES,
    Close,
    Commit,
    Effect,
    Envelope,
    Login,
    Retrieve,
    Sasl,
    Sending,
    StartTLS,
    State,
    Turn,
)
from mailserver.protocol.exchanges import Exchanges
from mailserver.protocol.machine import Machine
from mailserver.protocol.policy import Policy
from mailserver.protocol.weights import COMMAND_OCTETS, MESSAGE_OCTETS, TURN_OCTETS
from mailserver.protocol.wire import COMMAND_LIMIT, SASL_LIMIT, TERMINATION, LineBuffer, err, ok, stranger_limit
from mailserver.snapshot import Snapshot

AUTHORIZATION = State.AUTHORIZATION  # each look at a member of an enumeration costs as much as a call
NOTHING = Snapshot((), (), ())
NONE: set[int] | frozenset[int] = frozenset()  # an idle session that has marked nothing keeps no set of its own

OPENING = Retrieve, Envelope  # the effects that open a message
SENDING = Sending()


class Session(Machine[State, Effect]):
    """One client's session, from the greeting, which waits in `take`, to CLOSED."""

    __slots__ = (
        "_exchanges",
        "_failures",
        "_listing",
        "_surroundings",
        "deleted",
        "deleted_octets",
        "downloaded",
        "messages",
        "policy",
        "principal",
        "stamp",
        "terms",
        "user",
    )

    _moves = MOVES

    def __init__(  # noqa: PLR0913 - what a listener allows, and what is so of this connection
        self,
        policy: Policy,
        commands: Commands[Session, State, Effect],
        stamp: bytes = b"",
        *,
        tls: bool = False,
        principal: str = "",
        surroundings: Callable[[], SaslContext] | None = None,
    ) -> None:
        self.policy = policy
        self.principal = principal
        """The principal of the ticket before the session (KPOP): then USER and PASS only select the maildrop."""
        self.stamp = stamp
        """APOP's, with its angle brackets (RFC 1939 section 7); b"" where APOP is not to be had."""
        self.tls = tls
        self.state = AUTHORIZATION
        self._commands = commands
        self._verbs = commands.tables[AUTHORIZATION]
        self.user: bytes | None = None
        self.terms = TERMS
        self.messages = NOTHING
        self.deleted = NONE
        self.deleted_octets = 0
        self.downloaded = NONE
        """What RETR has sent whole to a user who may leave nothing on the server: QUIT removes it."""
        self._buffer = LineBuffer()
        self._pending = self._open = None
        self._surroundings = surroundings
        self._exchanges: Exchanges | None = None  # made when asked for, as most clients log in by USER and PASS
        self._listing: Iterator[bytes] | None = None
        self._failures = self._bad_commands = self._work = 0
        self.remark = self.closed_by = None
        self._out = [ok(policy.greet(stamp))]

    # What the network calls.

    @property
    def busy(self) -> bool:
        """Whether something is under way: an effect is open or comes next, or a listing has begun."""
        return not (self._open is None and self._pending is None and self._listing is None)

    def last_words(self, refusal: Refusal) -> list[bytes]:
        """Give away the replies so far, and after them the refusal that ends the session."""
        return [*self.take(), err(refusal)]

    def next(self) -> Effect | None:
        """Run commands until one needs the world. None: it waits for bytes, or for the answer to the open effect."""
        if self._open is not None:
            return None
        while self._pending is None:
            if self._listing is None and not self._buffer.unread:
                return None
            if self._work >= TURN_OCTETS:
                self._work = 0
                self._pending = Turn()
            elif self._listing is not None:
                self._list_on(self._listing)
            elif not self._read():
                return None
        effect, self._pending = self._pending, None
        self._open = effect
        if isinstance(effect, OPENING):
            self._work += MESSAGE_OCTETS
        return effect

    # The answers to effects: exactly one for each.

    def tls_started(self) -> None:
        """Drop what was buffered before TLS, and forget USER (RFC 2595 section 4)."""
        self._answers(StartTLS)
        self._buffer.clear()
        self.user = None
        self.tls = True

    def answered(self, value: object) -> None:
        """Hand the oracle's answer to the exchange."""
        self._answers(Sasl)
        try:
            self._pending = self._advance(self._exchanging.answer(value))
        except Refusal as refusal:
            self._refuse(refusal)

    def login_ok(self, messages: Snapshot, terms: Terms = TERMS) -> None:
        """Enter the TRANSACTION state over this snapshot, on the user's terms."""
        self._answers(Login)
        self._move(State.TRANSACTION)
        self.stamp, self._exchanges = b"", None  # of no more use, and two hundred octets of each idle session
        self.messages, self.terms = messages, terms
        self.reply(texts.LOGGED_IN, len(messages), messages.total)

    def opened(self) -> None:
        """Announce a message. Its body and the termination line go out next."""
        effect = self._open
        if not isinstance(effect, Retrieve):
            raise RuntimeError("no message is to be announced")  # noqa: TRY004 - a bug in the caller, not a type
        self._open = SENDING
        if effect.lines is None:
            if self.terms.expire_days == 0 and self.leaves_nothing:  # no call for each message of everybody else
                self._open = Sending(effect.number)
            self.reply(texts.OCTETS, self.messages.octets[effect.number - 1])
        else:
            self.reply(texts.TOP)

    def enveloped(self, envelope: Details) -> None:
        """Tell an envelope, which is complete. Clients read lines 3 and 4, which begin with no dot: no client unstuffs them."""
        self._answers(Envelope)
        self.lines((envelope.account, envelope.user, envelope.sender, envelope.recipients[0]), texts.ENVELOPE)

    def sent(self) -> None:
        """Go on after a message was written whole."""
        sending = self._open
        self._answers(Sending)
        if isinstance(sending, Sending) and sending.download:
            if not isinstance(self.downloaded, set):
                self.downloaded = set()
            self.downloaded.add(sending.download)

    def committed(self, left: int) -> None:
        """End the UPDATE state, in which `left` messages could not be removed."""
        self._answers(Commit)
        self._out.append(err(Refusal(texts.NOT_REMOVED, left)) if left else ok(texts.GOODBYE))
        self._pending = self.end()

    def refused(self, refusal: Refusal) -> None:
        """Take no for an answer. It ends the session after a Commit, and after an Envelope: fetchmail does not read that -ERR."""
        last = isinstance(self._open, Envelope | Commit)
        self._answers(Sasl, Login, Retrieve, Envelope, Commit)
        self._refuse(refusal)
        if last and self._pending is None:
            self._pending = self.end()

    # What the commands use.

    @property
    def secure(self) -> bool:
        """Whether a password may cross the line now."""
        return self.tls or self.policy.cleartext

    @property
    def leaves_nothing(self) -> bool:
        """Whether QUIT removes what RETR has sent (EXPIRE 0, RFC 2449 section 6.7). Who may delete nothing leaves all."""
        return self.terms.expire_days == 0 and not self.terms.read_only

    def mechanisms(self) -> list[IMechanism]:
        """The SASL mechanisms that can be used now, in the policy's order."""
        return self._exchanging.fitting(secure=self.secure)

    def reply(self, text: bytes = b"", *values: int) -> None:
        """Answer +OK, and `text` with its values: one of `texts`, or what a listing says."""
        self._out.append(ok(text % values if values else text))

    def lines(self, rows: Iterable[bytes], text: bytes = b"") -> None:
        """Answer with a multi-line response of `rows`, none of which begins with a dot."""
        self.listing(iter((b"".join(b"%b\r\n" % row for row in rows),)), text)

    def listing(self, blocks: Iterator[bytes], text: bytes, *values: int) -> None:
        """Answer with a multi-line response in blocks of whole lines. Much of it gives way to other sessions in between."""
        self.reply(text, *values)
        self._listing = blocks

    @property
    def mechanism(self) -> bytes:
        """The name of the last exchange's mechanism."""
        return b"" if self._exchanges is None else self._exchanges.mechanism

    def login(self, credentials: Credentials, mechanism: bytes) -> Login:
        """Return a login's effect. USER's name is used up."""
        self.user = None
        return Login(credentials, mechanism)

    def begin(self, mechanism: IMechanism, response: bytes | None) -> Effect | None:
        """Begin an exchange; `response` is the initial one, in base64, or None (RFC 5034 section 4)."""
        return self._advance(self._exchanging.begin(mechanism, response, secure=self.secure))

    def commit(self) -> Commit:
        """Enter the UPDATE state."""
        self._move(State.UPDATE)
        if self.downloaded:
            self.deleted = {*self.deleted, *self.downloaded}
        return Commit(sorted(self.deleted))

    def end(self) -> Close:
        """Leave for CLOSED."""
        self._move(State.CLOSED)
        self._surroundings = self._exchanges = None  # they know the connection, and it us: no collector is needed
        return Close()

    # Inside.

    def _read(self) -> bool:
        """Run one line; False when none is whole."""
        exchanges = self._exchanges
        responding = exchanges is not None and exchanges.under_way
        try:
            if self.state is not AUTHORIZATION:
                line = self._buffer.line(COMMAND_LIMIT)
            else:
                line = self._buffer.line(SASL_LIMIT if responding else stranger_limit(self._buffer))
            if line is None:
                return False
            self._work += COMMAND_OCTETS
            if responding:
                self._pending = self._advance(self._exchanging.respond(line))
            else:
                self._pending = self._commands.run(self, self._verbs, line)
            self._bad_commands = 0
        except Refusal as refusal:
            self._refuse(refusal)
        return True

    @property
    def _exchanging(self) -> Exchanges:
        if self._exchanges is None:
            surroundings = self._surroundings or (lambda: SaslContext(self.policy.hostname, self.tls))
            self._exchanges = Exchanges(self.policy.mechanisms, surroundings)
        return self._exchanges

    def _advance(self, step: Step) -> Effect | None:
        if isinstance(step, Challenge):
            self._out.append(b"+ %b\r\n" % b2a_base64(step.data, newline=False))
            return None
        if isinstance(step, Ask):
            return Sasl(step.request)
        return self.login(step.credentials, self._exchanging.mechanism)

    def _list_on(self, blocks: Iterator[bytes]) -> None:
        for block in blocks:
            self._out.append(block)
            self._work += len(block)
            if self._work >= TURN_OCTETS:
                return
        self._listing = None
        self._out.append(TERMINATION)

    def _refuse(self, refusal: Refusal) -> None:
        self._out.append(err(refusal))
        if self._exchanges is not None:
            self._exchanges.end()
        self._failures += isinstance(refusal, AuthenticationFailed)
        self._bad_commands += isinstance(refusal, BadCommand)
        hopeless = self._failures >= self.policy.failures or self._bad_commands >= self.policy.bad_commands
        if refusal.remarkable:
            self.remark = refusal
        if hopeless or refusal.fatal:
            self.closed_by = refusal
            self._pending = self.end()
