"""Logs the mechanisms that only some users can use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from twisted.internet.defer import Deferred, execute, succeed
from twisted.logger import Logger, LogLevel
from zope.interface import implementer

from mailserver.config.problems import Problems
from mailserver.interfaces import BY_SECRET, Census, IOracle, IPart

_NAMED: Final = "which auth.mechanisms names: clients that choose it fail for all others"
_NOT_NAMED: Final = (
    "so it is not announced: clients that choose it would fail for all others; auth.mechanisms can name it"
)

log = Logger()


@implementer(IPart)
class CensusLog:
    """Logs the number of users who can use a mechanism, if not all can. `named` are the mechanisms that the settings name."""

    def __init__(self, oracle: IOracle, named: Iterable[str], problems: Problems) -> None:
        self._oracle = oracle
        self._problems = problems
        self._named = frozenset(name.encode("ascii") for name in named)
        self._logged: Census | None = None

    def start(self, _reactor: object) -> Deferred[None]:
        """Log the counts, now that the checkers have read their users. If one has not, the counts are wrong and the start fails."""
        return succeed(None) if self._problems else execute(self.log_changes)

    def reload(self) -> Deferred[None]:
        """Do nothing: the checkers still read. The code that reloads them calls `log_changes` afterwards."""
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Do nothing: nothing runs."""
        return succeed(None)

    def log_changes(self) -> None:
        """Log the counts that have changed since they were logged."""
        census, before = self._oracle.census(), self._logged
        self._logged = census
        for mechanism in sorted(BY_SECRET):
            able = census.able.get(mechanism, 0)
            if mechanism in census.everybodys or not able:
                continue
            if before is not None and (before.users, before.able.get(mechanism)) == (census.users, able):
                continue
            log.emit(
                LogLevel.warn if mechanism in self._named else LogLevel.info,
                "{able} of {users} users can use {mechanism}, {consequence}",
                event="auth.mechanism",
                able=able,
                users=census.users if census.uncounted is None else f"{census.users} and uncounted",
                mechanism=mechanism.decode("ascii"),
                consequence=_NAMED if mechanism in self._named else _NOT_NAMED,
            )
