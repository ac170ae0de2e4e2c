"""What is counted beside the listeners' traffic, where there are pages that show it: the log's warnings, the store, the users' databases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from mailserver.auth import Users
from mailserver.counts import Counts, Timing
from mailserver.interfaces import IPart


@implementer(IPart)
class LogCounts:
    """Counts warnings of the log, from its start to its stop."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def start(self, _reactor: object) -> Deferred[None]:
        """Begin."""
        return execute(self._counts.watch)

    def reload(self) -> Deferred[None]:
        """Go on."""
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """End."""
        return execute(self._counts.watch_no_more)


def databases(descriptions: Iterable[str], checkers: Sequence[object]) -> Mapping[str, object]:
    """The checkers of these strcred strings by names that tell no secret: their kinds, such as "sql", and "sql-2" for the second."""
    seen: Counter[str] = Counter()
    named: dict[str, object] = {}
    for description, checker in zip(descriptions, checkers, strict=False):
        kind = description.partition(":")[0]
        seen[kind] += 1
        named[kind if seen[kind] == 1 else f"{kind}-{seen[kind]}"] = checker
    return named


def time_questions(
    users: Users, named: Mapping[str, object], store: object, counts: Counts, clock: IReactorTime
) -> None:
    """Count how the databases of users, and the store at their logins, answer from now on."""
    answers = {id(checker): counts.asked(name) for name, checker in named.items()}
    users.timing = Timing({**answers, id(store): counts.store}, clock.seconds)
