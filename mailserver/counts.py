"""What a process counts of its work, as plain numbers, for whoever shows them; where nobody does there are no counts, and no work.

A process has one `Counts` as long as it lives: a new configuration goes on with it. Whoever counts is handed the part that is its own.
What it counts has few different names, and none that a client chooses: no user, no address.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, cast

from twisted.internet.defer import CancelledError
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from mailserver.answers import Answer, is_later
from mailserver.errors import MaildropUnavailable, StoreError, TemporaryFailure
from mailserver.interfaces import User
from mailserver.refusals import refusal_for

QUICK: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds of what takes a disk, a database or a hash: a millisecond, up to what no client waits for."""

LONG: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0)
"""Bounds of what a client takes: a short session on the same machine, up to a big maildrop over a slow line."""

ENDS: Final = {
    "QUIT": "quit",
    "QUIT, to be finished by the next login": "unsettled",
    "client's close": "client_close",
    "connection lost": "connection_lost",
    "idle timeout": "idle_timeout",
    "transaction timeout": "transaction_timeout",
    "TLS error": "tls_error",
    "server stop": "server_stop",
    "operator": "operator",
    "message cut short": "cut_short",
    "fault": "fault",
}
"""What ends a connection, as the log says it, and in one word. Of a refusal the log has the reply, too."""

_MINDED: Final = frozenset({LogLevel.warn, LogLevel.error, LogLevel.critical})

MOST_EVENTS: Final = 200
"""Different events that are counted by their names; ours are a hundred, and a library's may be made up."""

BAD_ANSWERS: Final = 3
"""Errors in a row by which something is unusable: one may be a connection that was cut. Of the store, as many users': one's may be broken for days."""

LATELY_SECONDS: Final = 60.0
"""For so long after the last of them: then a balancer may send clients again, whose questions tell how it is."""


def word_for(ended: str) -> str:
    """What ended a connection, in one word."""
    return ENDS.get(ended) or ("refusal" if ended.startswith("refusal: ") else "other")


class Spread:
    """Values by size: how many were at most so big, for each of some bounds; and their sum.

    `add` is a list's own method. The rest is done for many values at once, when somebody looks, and every few seconds: one by one it took a
    third of what counting took. Most values are below the first bounds, so few are looked at often.
    """

    __slots__ = ("_new", "_numbers", "_sum", "add", "bounds")

    def __init__(self, bounds: Sequence[float] = QUICK) -> None:
        self.bounds = bounds
        self._numbers = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._new: list[float] = []
        self.add: Callable[[float], None] = self._new.append
        """Count a value."""

    @property
    def numbers(self) -> Sequence[int]:
        """How many were above the bound before, and at most this one; the last: above all bounds."""
        self.settle()
        return self._numbers

    @property
    def sum(self) -> float:
        """All values together."""
        self.settle()
        return self._sum

    def settle(self) -> None:
        """Sort in what was added, so that it takes no memory."""
        self._sum += sum(self._new)
        left = self._new
        for at, bound in enumerate(self.bounds):
            if not left:
                break
            above = [value for value in left if value > bound]
            self._numbers[at] += len(left) - len(above)
            left = above
        self._numbers[-1] += len(left)
        self._new.clear()


class Waits(Spread):
    """A spread that knows its largest value, for who looks at it from time to time."""

    __slots__ = ("longest",)

    def __init__(self) -> None:
        super().__init__()
        self.longest = 0.0
        """The largest value since whoever reads it has set it back."""
        self.add = self._take

    def _take(self, value: float) -> None:
        self._new.append(value)
        self.longest = max(self.longest, value)


class Traffic:
    """What a listener of some name has served. It counts when something ends, so that a session costs little.

    Logins and sessions are noted, and their kinds counted together by `settle`: many of them are the same.
    """

    __slots__ = (
        "_answered",
        "_ended",
        "again",
        "authorization",
        "connections",
        "deleted",
        "login",
        "logins",
        "marked",
        "message",
        "messages",
        "octets_in",
        "octets_out",
        "recipients",
        "retrieved",
        "seconds",
        "sessions",
        "strangers",
        "tidy",
        "turned_away",
        "update",
    )

    def __init__(self, tidy: Callable[[], object] = lambda: None) -> None:
        self.tidy = tidy
        """To be called every few seconds while there are connections."""
        self.connections = 0
        self.turned_away = 0
        self.octets_in = 0
        self.octets_out = 0
        self.strangers: Counter[str] = Counter()
        """The connections that ended without a login, by what ended them."""
        self.sessions: Counter[str] = Counter()
        """The sessions that have ended, by what ended them."""
        self.logins: Counter[tuple[str, str]] = Counter()
        """By mechanism and result."""
        self.retrieved = 0
        self.deleted = 0
        self.marked = 0
        """Messages that were marked as deleted, and stayed."""
        self.again = 0
        """Sessions that fetched all that there was, though the client had fetched it before."""
        self.seconds = Spread(LONG)
        self.authorization = Spread(LONG)
        self.login = Spread()
        self.update = Spread()
        self.messages = 0
        self.recipients: Counter[str] = Counter()
        """Those of messages that came in, by what became of them."""
        self.message = Spread()
        """The seconds from a message's first recipient to its answer."""
        self._answered: list[tuple[bytes, str]] = []
        self._ended: list[tuple[str, int, int, int, bool]] = []

    def answered(self, mechanism: bytes, result: str, seconds: float) -> None:
        """Count an attempt to log in."""
        self._answered.append((mechanism, result))
        self.login.add(seconds)

    def session(  # noqa: PLR0913 - what it has done, each named
        self, ended: str, seconds: float, *, retrieved: int = 0, deleted: int = 0, marked: int = 0, again: bool = False
    ) -> None:
        """Count a session's end, and what it has done with the maildrop."""
        self._ended.append((ended, retrieved, deleted, marked, again))
        self.seconds.add(seconds)

    def settle(self) -> None:
        """Count what was noted."""
        for (mechanism, result), number in Counter(self._answered).items():
            self.logins[mechanism.decode("ascii"), result] += number
        for (ended, retrieved, deleted, marked, again), number in Counter(self._ended).items():
            self.sessions[word_for(ended)] += number
            self.retrieved += number * retrieved
            self.deleted += number * deleted
            self.marked += number * marked
            self.again += number * again
        self._answered.clear()
        self._ended.clear()
        for spread in (self.seconds, self.authorization, self.login, self.update, self.message):
            spread.settle()


class Answers:
    """How soon and how surely something answers: a database, or the store. A refusal is an answer; that it cannot say is none."""

    __slots__ = ("errors", "failed", "failing", "seconds")

    def __init__(self) -> None:
        self.seconds = Spread()
        self.errors = 0
        self.failing: set[object] = set()
        """Since the last answer, the errors, or the users whose maildrops had them; no more than make it unusable."""
        self.failed = 0.0
        """The time of the last error, by the reactor's clock."""

    def came(self, answer: object, began: float, now: float, *question: object) -> None:
        """Count an answer, or an error in its place. Who gave up waiting says nothing of it."""
        self.seconds.add(now - began)
        if not isinstance(answer, BaseException) or is_answer(answer):
            self.failing.clear()
        elif not isinstance(answer, CancelledError):
            self.errors += 1
            self.failed = now
            if len(self.failing) < BAD_ANSWERS:
                self.failing.add(next((each.name for each in question if isinstance(each, User)), self.errors))

    def usable(self, now: float) -> bool:
        """Whether it has answered lately. After some time without questions it may be tried again."""
        return len(self.failing) < BAD_ANSWERS or now - self.failed >= LATELY_SECONDS


class Timing:
    """Asks what answers, and counts how it does."""

    __slots__ = ("_answers", "_seconds")

    def __init__(self, answers: Mapping[int, Answers], seconds: Callable[[], float]) -> None:
        self._answers = answers  # by the identity of what is asked: a checker need not have a hash
        self._seconds = seconds

    def ask(self, whom: object, question: Callable[..., Answer[Any]], *args: Any) -> Answer[Any]:
        """Ask ``question(*args)`` of `whom`, now or when the answer comes; what is not counted is only asked."""
        answers = self._answers.get(id(whom))
        if answers is None:
            return question(*args)
        began = self._seconds()
        try:
            answer = question(*args)
        except Exception as error:
            answers.came(error, began, self._seconds(), *args)
            raise
        if is_later(answer):
            return answer.addBoth(self._arrived, answers, began, *args)
        answers.seconds.add(self._seconds() - began)
        if answers.failing:
            answers.failing.clear()
        return answer

    def _arrived(self, answer: Any, answers: Answers, began: float, *question: object) -> Any:
        answers.came(answer.value if isinstance(answer, Failure) else answer, began, self._seconds(), *question)
        return answer


def is_answer(error: BaseException) -> bool:
    """Whether an error tells something: the secret is wrong, the maildrop is in use. Else nobody could say."""
    if isinstance(error, StoreError):
        return not isinstance(error, MaildropUnavailable)
    refusal = refusal_for(error)
    return refusal is not None and not isinstance(refusal, TemporaryFailure)


class Counts:
    """All counts of a process."""

    def __init__(self) -> None:
        self.traffic: dict[str, Traffic] = {}
        """By listener."""
        self.waits = Waits()
        """The seconds for which login attempts were held back; those that were not are not among them."""
        self.store = Answers()
        """How maildrops are opened."""
        self.databases: dict[str, Answers] = {}
        """How the users' databases answer, by their names."""
        self.events: Counter[tuple[str, str]] = Counter()
        """Warnings and worse of the log, by level and event."""
        self._watching = 0

    def of(self, listener: str) -> Traffic:
        """The traffic of the listeners of this name."""
        return self.traffic.setdefault(listener, Traffic(self.settle))

    def settle(self) -> None:
        """Count what was only noted until now. Whoever looks at the counts does so before."""
        for each in self.traffic.values():
            each.settle()
        for answers in (self.store, *self.databases.values()):
            answers.seconds.settle()
        self.waits.settle()

    def asked(self, database: str) -> Answers:
        """How this database answers."""
        return self.databases.setdefault(database, Answers())

    def usable(self, now: float) -> str:
        """What is asked and has not answered lately, in words that name nothing of the site, or none."""
        if not self.store.usable(now):
            return "maildrops cannot be opened"
        return "" if all(each.usable(now) for each in self.databases.values()) else "a users' database does not answer"

    def watch(self) -> None:
        """Count the log's events from now on. Who watches already, such as the server before a reload, watches no more for that."""
        if not self._watching:
            globalLogPublisher.addObserver(cast(ILogObserver, self._heard))
        self._watching += 1

    def watch_no_more(self) -> None:
        """Count them no more, once all that have begun to have ended."""
        self._watching -= 1
        if not self._watching:
            globalLogPublisher.removeObserver(cast(ILogObserver, self._heard))

    def _heard(self, event: LogEvent) -> None:
        """Count an event. The publisher has all of them, whatever level an observer writes."""
        key = key_of(event)
        if key is not None:
            self._count(*key)

    def told(self, keys: Iterable[tuple[str, str]]) -> None:
        """Count events of another process's log, as `key_of` names them, if those of this one are counted."""
        for key in keys if self._watching else ():
            self._count(*key)

    def _count(self, level: str, name: str) -> None:
        key = level, name
        self.events[key if key in self.events or len(self.events) < MOST_EVENTS else (level, "other")] += 1


def key_of(event: LogEvent) -> tuple[str, str] | None:
    """The level and the name of a warning, or of worse; None: it is not counted."""
    level = event.get("log_level")
    if level is not None and level in _MINDED:
        name = event.get("event")
        return level.name, name if isinstance(name, str) else "other"
    return None
