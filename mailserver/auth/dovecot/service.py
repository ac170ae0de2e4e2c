"""A socket of Dovecot's auth service: many questions at a time over one connection, which is made anew when it is lost.

The protocol is Dovecot's own (its design page "auth-protocol"): lines of words with tabs between them, each question with a number.
Whatever goes wrong says nothing about a password, so it is a `TemporaryFailure`; the operator is told once, and when it is over.
"""

from __future__ import annotations

import errno
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from mailserver.auth.outage import Outage
from mailserver.errors import TemporaryFailure, Unusable

ANSWER_SECONDS: Final = 20.0
"""How long an answer may take. Dovecot itself holds refusals back for two seconds, and mail programs wait for at least thirty."""

MAX_QUESTIONS: Final = 1000
"""Questions at once: a service that hangs must not hold all sessions. Each is a line of at most 6 KB."""

log = Logger()


@dataclass(frozen=True, slots=True)
class Kind:
    """What Dovecot listens for at a socket."""

    ready: bytes
    """The last word of its greeting."""
    answers: frozenset[bytes]
    """The words that answers begin with."""
    mechanism: bytes = b""
    """The mechanism that the greeting must offer."""


AUTH: Final = Kind(b"DONE", frozenset({b"OK", b"FAIL", b"CONT"}), b"PLAIN")
"""``auth-client``: passwords."""

USERDB: Final = Kind(b"SPID", frozenset({b"USER", b"NOTFOUND", b"FAIL"}))
"""``auth-userdb``: homes."""


class Reply(NamedTuple):
    """An answer: its word, and what stands behind the question's number."""

    word: bytes
    words: Sequence[bytes]

    @property
    def fields(self) -> dict[str, str]:
        """The ``NAME=VALUE`` words; a bare NAME has the value ""."""
        pairs = (word.decode("utf-8", "surrogateescape").partition("=") for word in self.words)
        return {name: value for name, _, value in pairs if name}


class _Question(NamedTuple):
    line: bytes
    answer: Deferred[Reply]
    late: Any
    heard: int
    """How many answers had come when it was asked."""


class AuthService:
    """A client of the socket `path`. It connects when it is asked."""

    _outage: Outage

    def __init__(self, path: str, kind: Kind) -> None:
        self.path = path
        self.kind = kind
        self._reactor: Any = None
        self._talk: _Talk | None = None
        self._connecting: Deferred[None] | None = None
        self._questions: dict[int, _Question] = {}  # 0 waits for the first greeting
        self._number = 0
        self._heard = 0

    def start(self, reactor: Any) -> Deferred[None]:
        """Connect. What may mend itself, such as a Dovecot that starts later, is only logged. Errors: Unusable."""
        greeted = self._greeted(reactor)
        return greeted.addCallbacks(lambda _: None, lambda failure: failure.trap(TemporaryFailure) and None)

    def stop(self) -> None:
        """Fail what is asked, and close the connection; idempotent."""
        self._reactor = None
        self._drop(TemporaryFailure())

    def ask(self, word: bytes, *words: bytes) -> Deferred[Reply]:
        """Ask a question; no word has a tab or a line end. It may be cancelled. Errors: TemporaryFailure."""
        if self._reactor is None or len(self._questions) >= MAX_QUESTIONS:
            return fail(TemporaryFailure())
        self._number = self._number % 0xFFFFFFFF + 1  # 32 bits, and not 0
        return self._put(self._number, b"\t".join((word, b"%d" % self._number, *words)))

    async def reach(self) -> None:
        """Whether the service greets who connects now: a connection that is there may hang. Errors: TemporaryFailure."""
        if self._reactor is None:
            raise TemporaryFailure
        other = AuthService(self.path, self.kind)
        try:
            await other._greeted(self._reactor)
        except Unusable:
            raise TemporaryFailure from None
        finally:
            other.stop()

    def tell(self, reason: str) -> None:
        """Log a trouble of the service, once until it is over."""
        if self._outage.begins():
            log.error(
                "Dovecot's auth service at {path} cannot be asked: {reason}; logins that need it are told to try again later",
                event="auth.dovecot.down",
                path=self.path,
                reason=reason,
            )

    # What the connection calls.

    def connected(self, talk: _Talk) -> None:
        """Greet. Dovecot refuses a number that is in use; it suggests the process's, and two containers may have the same."""
        self._talk = talk
        talk.say(b"VERSION\t1\t1")
        if self.kind is AUTH:
            talk.say(b"CPID\t%d" % (2**22 + secrets.randbelow(2**31 - 2**22)))

    def greeted(self, talk: _Talk) -> None:
        """Ask all that waits."""
        self._answer(0, Reply(b"", ()))
        for question in self._questions.values():
            talk.say(question.line)

    def take(self, word: bytes, words: Sequence[bytes]) -> bool:
        """Take an answer, and return whether it is one. An answer to no question is late, and dropped."""
        if word not in self.kind.answers or not words or not words[0].isdigit():
            return False
        self._heard += 1
        self._answer(int(words[0]), Reply(word, words[1:]))
        return True

    def lost(self, talk: _Talk, reason: str, error: Exception | None = None) -> None:
        """Do without this connection."""
        if talk is self._talk:
            self._fail(reason, error)

    # Inside.

    def _greeted(self, reactor: Any) -> Deferred[Reply]:
        """Connect. Errors: TemporaryFailure, Unusable."""
        self._reactor = reactor
        self._outage = Outage(reactor.seconds)
        return self._put(0, b"")

    def _put(self, number: int, line: bytes) -> Deferred[Reply]:
        late = self._reactor.callLater(ANSWER_SECONDS, self._silent, number)
        answer: Deferred[Reply] = Deferred(partial(self._forget, number))
        self._questions[number] = _Question(line, answer, late, self._heard)
        if self._talk is None and self._connecting is None:
            factory = Factory.forProtocol(lambda: _Talk(self))
            factory.noisy = False
            endpoint = UNIXClientEndpoint(self._reactor, self.path, timeout=ANSWER_SECONDS)
            self._connecting = endpoint.connect(factory)
            self._connecting.addCallbacks(self._connection_made, self._not_connected)
        elif self._talk is not None and self._talk.ready:
            self._talk.say(line)
        return answer

    def _connection_made(self, _: object) -> None:
        self._connecting = None

    def _not_connected(self, failure: Failure) -> None:
        self._connecting = None
        number = failure.value.osError if isinstance(failure.value, ConnectError) else None
        if failure.check(ConnectingCancelledError):
            return
        if number == errno.EACCES:
            reason = "the serving user may not connect: name that user, or a group and mode, at its unix_listener"
            self._fail(reason, self.unusable(reason))
        else:
            name = errno.errorcode.get(number or 0, type(failure.value).__name__)
            self._fail(f"no connection ({name}): is Dovecot running?")

    def unusable(self, reason: str) -> Unusable:
        """The error for the operator at the start."""
        return Unusable(f"{self.path}: {reason}")

    def _silent(self, number: int) -> None:
        """End a question's time. Where nothing was answered meanwhile the connection hangs: the next question makes another."""
        question, reason = self._questions[number], "it does not answer in time"
        if question.heard == self._heard:
            self._fail(reason)
        else:
            self.tell(reason)
            self._questions.pop(number).answer.errback(TemporaryFailure())

    def _fail(self, reason: str, error: Exception | None = None) -> None:
        """Fail all questions, the start's with `error`. Without a question nothing is told: Dovecot may just restart."""
        if self._questions:
            self.tell(reason)
        self._drop(error or TemporaryFailure())

    def _drop(self, error: Exception) -> None:
        talk, self._talk = self._talk, None
        if self._connecting is not None:
            self._connecting.cancel()
        if talk is not None:
            talk.transport.abortConnection()
        for number in tuple(self._questions):
            question = self._take(number)
            if question is not None:  # an errback may cancel another
                question.answer.errback(error if number == 0 else TemporaryFailure())

    def _forget(self, number: int, _: Deferred[Reply]) -> None:
        self._take(number)

    def _take(self, number: int) -> _Question | None:
        question = self._questions.pop(number, None)
        if question is not None and question.late.active():
            question.late.cancel()
        return question

    def _answer(self, number: int, reply: Reply) -> None:
        question = self._take(number)
        if question is None:
            return
        if reply.word != b"FAIL" and self._outage.ends():  # FAIL may say that one of its own databases still fails
            log.info("Dovecot's auth service at {path} answers again", event="auth.dovecot.up", path=self.path)
        question.answer.callback(reply)


class _Talk(LineOnlyReceiver):
    """One connection. What is neither a greeting nor an answer ends it: it would be taken for an answer to somebody else."""

    delimiter = b"\n"
    transport: Any

    def __init__(self, service: AuthService) -> None:
        self._service = service
        self._versioned = False
        self._mechanisms = {b""}
        self.ready = False
        """Whether it takes questions."""

    def say(self, line: bytes) -> None:
        """Write a line."""
        self.transport.write(line + self.delimiter)

    def connectionMade(self) -> None:
        self._service.connected(self)

    def lineReceived(self, line: bytes) -> None:
        word, *words = line.split(b"\t")
        kind = self._service.kind
        if self.ready:
            if not self._service.take(word, words):
                self._break("it sends what is no answer")
        elif not self._versioned:
            self._versioned = word == b"VERSION" and words[:1] == [b"1"]
            if not self._versioned:
                self._break(
                    "it does not speak version 1 of the auth protocol, so it may be another socket of Dovecot's"
                )
        elif word == b"MECH":
            self._mechanisms.update(words[:1])
        elif word == kind.ready and kind.mechanism not in self._mechanisms:
            self._break("Dovecot's auth_mechanisms lack plain")
        elif word == kind.ready:
            self.ready = True
            self._service.greeted(self)

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: ARG002 - as Twisted calls it
        self._break("it sends a line that is too long")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._service.lost(self, f"it has closed the connection ({reason.getErrorMessage()})")

    def _break(self, reason: str) -> None:
        self._service.lost(self, reason, self._service.unusable(reason))
