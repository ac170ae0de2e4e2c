"""The LMTP session (RFC 2033) as a function of bytes: SMTP's commands, and a reply for each recipient behind the message.

It is run as the POP3 session is (`effects` says how): `feed`, `next`, `take`, and one answer for each effect of `lmtp_effects`.
Its states are those of `lmtp_state`.

While a text or a chunk is under way no line is read, whatever stands in it. What must not be kept of it (it is too big, nobody is
there to get it) is read all the same to its end, and the replies come then: the client has counted on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mailserver.errors import BadCommand, LineTooLong, Refusal, WrongProtocol
from mailserver.protocol import lmtp_texts as texts
from mailserver.protocol.commands import Commands
from mailserver.protocol.effects import Close, StartTLS, Turn
from mailserver.protocol.lmtp_data import Chunk, MailBuffer, Text
from mailserver.protocol.lmtp_effects import Deliver, Effect, Forget, Recipient, Write
from mailserver.protocol.lmtp_policy import Client, LmtpPolicy
from mailserver.protocol.lmtp_state import MOVES, State, Transaction
from mailserver.protocol.lmtp_wire import farewell, has_controls, multiline, refusal_reply, reply
from mailserver.protocol.machine import Machine
from mailserver.protocol.weights import COMMAND_OCTETS, RECIPIENT_OCTETS, TURN_OCTETS
from mailserver.protocol.wire import TLS_HELLO
from mailserver.smtp_errors import BadSyntax, NoRecipients, TextAsCommands, TooBig, TooManyBadCommands

COMMAND_LIMIT = 2048
"""Octets of a command line with its CRLF, as in Postfix.

The longest that is right: 512 of RFC 5321 section 4.5.3.1.4, and RFC 3461's 500 more for ORCPT. UTF-8 and XCLIENT have the rest.
"""


class Session(Machine[State, Effect]):
    """One client's session, from the greeting, which waits in `take`, to CLOSED."""

    __slots__ = (
        "_body",
        "_skipping",
        "client",
        "policy",
        "transaction",
    )

    _moves = MOVES
    _buffer: MailBuffer

    def __init__(self, policy: LmtpPolicy, commands: Commands[Session, State, Effect], *, tls: bool = False) -> None:
        self.policy = policy
        self.tls = tls
        self.state = State.CONNECTED
        self.client = Client()
        self.transaction: Transaction | None = None
        self._commands = commands
        self._verbs = commands.tables[State.CONNECTED]
        self._buffer = MailBuffer()
        self._body: Text | Chunk | None = None  # what is being read instead of commands
        self._skipping = False  # the rest of a line that was too long
        self._pending = self._open = None
        self._bad_commands = self._work = 0
        self.remark = self.closed_by = None
        self._out = []
        self.greet()

    # What the network calls.

    @property
    def busy(self) -> bool:
        """Whether an effect is open or comes next. A text or a chunk of which more must arrive first is none: see `receiving`."""
        return not (self._open is None and self._pending is None)

    @property
    def receiving(self) -> bool:
        """Whether the text of a message or a chunk is under way."""
        return self._body is not None

    def last_words(self, refusal: Refusal) -> list[bytes]:
        """Give away the replies so far, and after them the 421 that ends the session (RFC 5321 section 3.8)."""
        return [*self.take(), farewell(refusal)]

    def next(self) -> Effect | None:
        """Run commands until one needs the world. None: it waits for bytes, or for the answer to the open effect."""
        if self._open is not None:
            return None
        while self._pending is None:
            body = self._body
            if body is not None and body.whole:
                self._end_body(body)
            elif not self._buffer.unread:
                return None
            elif self._work >= TURN_OCTETS:
                self._work = 0
                self._pending = Turn()
            elif not (self._read() if body is None else self._read_body(body)):
                return None
        effect, self._pending = self._pending, None
        if not isinstance(effect, Forget):
            self._open = effect
        if isinstance(effect, Recipient):
            self._work += RECIPIENT_OCTETS
        return effect

    # The answers to effects: exactly one for each.

    def tls_started(self) -> None:
        """Drop what was buffered before TLS, and forget what the client said (RFC 3207 section 4.2)."""
        self._answers(StartTLS)
        self._buffer.clear()
        self._move(State.CONNECTED)
        self.client = Client()
        self.tls = True

    def accepted(self) -> None:
        """Count a recipient."""
        self._answers(Recipient)
        self.mail.recipients += 1
        self.reply(b"250 2.1.5", texts.RECIPIENT)

    def written(self) -> None:
        """Go on with the message."""
        self._answers(Write)

    def delivered(self, outcomes: Sequence[Refusal | None], name: bytes = b"") -> None:
        """Tell for each accepted recipient, in their order, what came of it (RFC 2033 section 4.2), and the message's `name`."""
        if isinstance(self._open, Deliver) and len(outcomes) != self.mail.recipients:
            raise RuntimeError(f"{len(outcomes)} outcomes for {self.mail.recipients} recipients")
        self._answers(Deliver)
        self._tell(outcomes, name)

    def refused(self, refusal: Refusal) -> None:
        """Take no for an answer to a Recipient, or for all recipients to a Deliver."""
        delivering = isinstance(self._open, Deliver)
        self._answers(Recipient, Deliver)
        if delivering:
            self._tell([refusal] * self.mail.recipients)
        else:
            self.refuse(refusal)

    # What the commands use.

    @property
    def mail(self) -> Transaction:
        """The transaction, where the state says that there is one."""
        if self.transaction is None:
            raise RuntimeError("no transaction is under way")
        return self.transaction

    @property
    def protocol(self) -> bytes:
        """The keyword of the trace field for what is spoken here (RFC 3848, RFC 6531 section 3.7.3)."""
        utf8 = self.transaction is not None and self.transaction.utf8
        return b"%bLMTP%b" % (b"UTF8" if utf8 else b"", b"S" if self.tls else b"")

    def greet(self) -> None:
        """Begin, or begin again after XCLIENT."""
        self._out.append(reply(b"220", texts.GREETING % self.policy.hostname))

    def reply(self, codes: bytes, text: bytes = texts.DONE) -> None:
        """Answer with one line."""
        self._out.append(reply(codes, text))

    def lines(self, code: bytes, rows: Sequence[bytes]) -> None:
        """Answer with several lines."""
        self._out.append(multiline(code, rows))

    def capabilities(self) -> list[bytes]:
        """The commands' extensions that can be used now."""
        return list(self._commands.capabilities(self))

    def greeted(self, name: bytes) -> Effect | None:
        """Begin the session anew with a client of this name."""
        forget = self.reset()
        self._move(State.READY)
        self.client = replace(self.client, greeted=name)
        return forget

    def speaks_for(self, client: Client) -> None:
        """Begin anew, with a client who is someone else."""
        self._move(State.CONNECTED)
        self.client = client
        self.greet()

    def begin(self, transaction: Transaction) -> None:
        """Begin a transaction."""
        self._move(State.ENVELOPE)
        self.transaction = transaction

    def receive(self) -> None:
        """Read DATA's text from here on."""
        self._body = Text(self._buffer)

    def receive_chunk(self, chunk: Chunk) -> Effect | None:
        """Read a chunk from here on."""
        self._body = chunk
        transaction = self.transaction
        if transaction is None:
            return None
        self._move(State.CHUNKS)
        if chunk.refusal is not None:
            return self._fail(chunk.refusal)
        if not transaction.recipients:
            return self._fail(NoRecipients())
        if transaction.octets + chunk.size > self.policy.max_octets:
            return self._fail(TooBig())
        return None

    def reset(self) -> Effect | None:
        """Give the transaction up, if there is one."""
        transaction, self.transaction = self.transaction, None
        if transaction is None:
            return None
        self._move(State.READY)
        return Forget() if transaction.held else None

    def end(self) -> Close:
        """Leave for CLOSED."""
        self._move(State.CLOSED)
        return Close()

    def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal, which may end the session."""
        self._bad_commands += isinstance(refusal, BadCommand)
        if self._bad_commands >= self.policy.bad_commands:
            refusal = TooManyBadCommands()
        self._out.append(refusal_reply(refusal))
        if refusal.remarkable:
            self.remark = refusal
        if refusal.fatal:
            self.closed_by = refusal
            self._pending = self.end()

    # Inside.

    def _read(self) -> bool:
        """Run one line; False when none is whole."""
        if self._skipping:
            self._skipping = not self._buffer.skip_line()
            return not self._skipping
        try:
            if self.state is State.CONNECTED and self._buffer.begins(TLS_HELLO):
                raise WrongProtocol("TLS", texts.WRONG_PROTOCOL)
            line = self._buffer.command(COMMAND_LIMIT)
            if line is None:
                return False
            self._work += COMMAND_OCTETS + len(line)  # a path costs by its length: 35 us for 2000 octets
            if b":" in line.partition(b" ")[0]:
                raise TextAsCommands
            if has_controls(line):
                raise BadSyntax(texts.CONTROLS)
            self._pending = self._commands.run(self, self._verbs, line)
            self._bad_commands = 0
        except LineTooLong:
            # It is answered and passed over, and is not fatal: a sender might make a relay send us one, and the 421 of a server
            # that closes would hold up everybody's mail there.
            self._skipping = True
            self.refuse(BadCommand(texts.LINE_TOO_LONG))
        except Refusal as refusal:
            self.refuse(refusal)
        return True

    def _read_body(self, body: Text | Chunk) -> bool:
        """Read more of a message; False when more must arrive first."""
        data = body.read(self._buffer)
        transaction = self.transaction
        if data and transaction is not None and transaction.failed is None:
            transaction.octets += len(data)
            much = transaction.octets > self.policy.max_octets
            self._pending = self._fail(TooBig()) if much else Write(data)
        return bool(data) or body.whole

    def _end_body(self, body: Text | Chunk) -> None:
        """Answer what was read to its end."""
        self._body = None
        if body.refusal is not None:
            self.refuse(body.refusal)
            return
        transaction = self.mail
        if body.last and transaction.failed is None:
            self._pending = Deliver()
        elif body.last:
            self._tell([transaction.failed] * transaction.recipients)  # for nobody none, says RFC 2033 section 4.3
        elif transaction.failed is not None:
            self.refuse(transaction.failed)
        else:
            self.reply(b"250 2.0.0", texts.CHUNK % transaction.octets)

    def _fail(self, refusal: Refusal) -> Effect | None:
        """Let a transaction come to nothing; the first reason counts."""
        transaction = self.mail
        if transaction.failed is not None:
            return None
        transaction.failed = refusal
        if refusal.remarkable:
            self.remark = refusal
        held, transaction.held = transaction.held, False
        return Forget() if held else None

    def _tell(self, outcomes: Sequence[Refusal | None], name: bytes = b"") -> None:
        """Answer for each recipient, and end the transaction."""
        text = texts.DELIVERED_AS % name if name else texts.DELIVERED
        self._out += [reply(b"250 2.0.0", text) if each is None else refusal_reply(each) for each in outcomes]
        self.transaction = None
        self._move(State.READY)
