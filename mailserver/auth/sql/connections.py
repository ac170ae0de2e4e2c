"""The connections to a database: a thread for each, a bounded queue before them, and an end for each question.

A question has `SqlSettings.seconds`, with all that it waits for; then its asker hears TemporaryFailure, and what its thread
waits for is broken off, so no thread hangs with a database that does. A connection that broke while nobody used it, as all do
when their server restarts, costs no login: the question is asked once more by a new one. None of them writes, so it may be.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailserver.asker import asker
from mailserver.auth.outage import Outage
from mailserver.auth.sql.links import Late, Link, Lost, Refused, Trouble, Unreachable
from mailserver.auth.sql.settings import SqlSettings
from mailserver.errors import TemporaryFailure
from mailserver.pool import Pool

T = TypeVar("T")
Work = Callable[[Link], T]

MAX_WAITING: Final = 200
"""Questions that wait. With four connections and a millisecond each, the last one waits 50 ms; a database that hangs answers none."""

SHARE: Final = 20
"""Questions of one address that wait: a flood of logins from there delays no other's."""

log = Logger()


class _Question:
    """Work for a connection, which may be given up meanwhile by another thread."""

    def __init__(self, work: Work[Any]) -> None:
        self.work = work
        self._lock = threading.Lock()
        self._link: Link | None = None
        self.given_up = False
        self.timer: Any = None
        """The reactor's, which gives the question up."""

    def begin(self, link: Link) -> None:
        """Say by which link it is asked now. Errors: Late, if nobody waits for the answer any more."""
        with self._lock:
            if self.given_up:
                raise Late("there was no time left")
            self._link = link

    def end(self) -> None:
        """The link serves others now."""
        with self._lock:
            self._link = None

    def give_up(self) -> None:
        """Break off what waits; it never waits itself."""
        with self._lock:
            self.given_up = True
            if self._link is not None:
                self._link.abort()


class Connections:
    """Connections that are made when they are needed. `check` looks at the first one before anything is asked."""

    def __init__(
        self, settings: SqlSettings, make: Callable[[SqlSettings], Link], check: Callable[[Link], None], reactor: Any
    ) -> None:
        self._settings = settings
        self._make = make
        self._check = check
        self._reactor = reactor
        self._idle: deque[Link] = deque()  # the threads share it: its methods are atomic
        self._checked = False
        self._questions: set[_Question] = set()
        self._last: Deferred[None] | None = None
        self._pool = Pool(reactor, settings.connections, MAX_WAITING, f"database-{settings.kind}", share=SHARE)
        self._outage = Outage(reactor.seconds)

    def start(self) -> None:
        """Start the threads. Errors: NoThreads."""
        self._pool.start()

    def stop(self) -> Deferred[None]:
        """Break off what is asked, and close all."""
        for question in self._questions:
            question.timer.cancel()
            question.give_up()
        self._questions.clear()
        if self._pool.running:  # to close one may wait, too
            self._pool.run(self._drop, mandatory=True)
        return self._pool.stop()

    def retire(self) -> Deferred[None]:
        """Stop when what is asked is answered, as each question is by its time."""
        if not self._questions:
            return self.stop()
        self._last = Deferred[None]()
        return self._last.addCallback(lambda _: self.stop())

    def first(self) -> Deferred[Trouble | None]:
        """Try a connection: what is wrong with the settings or the statements; None if nothing is, or there is no answer."""
        return self.try_it(lambda _: None).addErrback(self._not_first)

    def _not_first(self, failure: Failure) -> Trouble | None:
        trouble = failure.value
        if isinstance(trouble, Refused) or (isinstance(trouble, Unreachable) and trouble.wrong):
            return trouble
        if isinstance(trouble, Trouble):
            self._bad(trouble)
            return None
        failure.trap(TemporaryFailure)
        return None

    def ask(self, work: Work[T]) -> Deferred[T]:
        """Answer ``work(link)`` from a thread. Errors: TemporaryFailure, whatever the trouble is, which is logged."""
        return self.try_it(work).addErrback(self._failed)

    def try_it(self, work: Work[T]) -> Deferred[T]:
        """The same, with the trouble as it is: Trouble; TemporaryFailure when too many wait."""
        if not self._pool.running:
            return fail(TemporaryFailure())
        question = _Question(work)
        self._questions.add(question)
        answer = self._pool.run(self._answer, question, key=asker())
        question.timer = self._reactor.callLater(self._settings.seconds, self._give_up, question, answer)
        return answer.addBoth(self._done, question).addCallback(self._answered)

    def _give_up(self, question: _Question, answer: Deferred[Any]) -> None:
        """The time is over, also for a question whose asker has left: its thread may still wait."""
        question.give_up()
        self._ended(question)
        answer.cancel()

    def _done(self, outcome: T, question: _Question) -> T | Failure:
        if question.given_up and not self._pool.running:  # stopped: not the database's fault
            return Failure(TemporaryFailure())
        if question.given_up:
            return Failure(Late(f"there was no answer within {self._settings.seconds:g} s"))
        if not (isinstance(outcome, Failure) and isinstance(outcome.value, CancelledError)):
            question.timer.cancel()
            self._ended(question)
        return outcome

    def _ended(self, question: _Question) -> None:
        self._questions.discard(question)
        if self._last is not None and not self._questions:
            last, self._last = self._last, None
            self._reactor.callLater(0, last.callback, None)  # the pool is in the middle of this answer

    def _answered(self, answer: T) -> T:
        if self._outage.ends():
            log.info("{place} answers again", event="auth.sql.up", place=self._settings.place)
        return answer

    def _failed(self, failure: Failure) -> Any:
        if not isinstance(failure.value, Trouble):
            return failure
        self._bad(failure.value)
        raise TemporaryFailure

    def _bad(self, trouble: Trouble) -> None:
        if self._outage.begins():
            log.error(
                "{place} does not answer: {reason}; until it does, logins get [SYS/TEMP]. {remedy}",
                event="auth.sql.down",
                place=self._settings.place,
                reason=str(trouble),
                remedy=_REMEDIES.get(type(trouble), "See the database's own log"),
            )

    # In a thread.

    def _answer(self, question: _Question) -> Any:
        try:
            link = self._idle.pop()
        except IndexError:
            return self._by_a_new_one(question)
        try:
            return self._by(link, question)
        except Lost:
            self._drop()  # the others have broken by the same
            return self._by_a_new_one(question)

    def _by_a_new_one(self, question: _Question) -> Any:
        link = self._make(self._settings)
        question.begin(link)
        try:
            link.open()
        except BaseException:
            link.close()
            raise
        finally:
            question.end()
        return self._by(link, question)

    def _by(self, link: Link, question: _Question) -> Any:
        """Ask by a link, which is kept if it can still be used."""
        usable = False
        try:
            question.begin(link)
            if not self._checked:
                self._check(link)
                self._checked = True
            answer = question.work(link)
            usable = True
        except Refused:
            usable = True
            raise
        except Late:
            self._drop()  # a network that has lost one connection may have lost all
            raise
        finally:
            question.end()
            if usable and self._pool.running:
                self._idle.append(link)
            else:
                link.close()
        return answer

    def _drop(self) -> None:
        """Close the links that nobody uses."""
        while True:
            try:
                link = self._idle.pop()
            except IndexError:
                return
            link.close()


_REMEDIES: Final[Mapping[type, str]] = {
    Unreachable: "See that it runs, and that this machine reaches it",
    Lost: "See that it runs, and that this machine reaches it",
    Late: "See whether it hangs or the statement is slow: an index on the user's name keeps it fast",
    Refused: "See whether the tables have changed, and mend the statement",
}
