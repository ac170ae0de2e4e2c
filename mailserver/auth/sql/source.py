"""A database behind a ``sql:`` checker, as one reading of its file describes it; a reload makes another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from mailserver.auth.attributes import Row
from mailserver.auth.sql.connections import Connections
from mailserver.auth.sql.drivers import driver
from mailserver.auth.sql.questions import Questions
from mailserver.auth.sql.settings import SqlFileError, SqlSettings


class Source:
    """A database with its statements. Its questions are answered from threads; errors: TemporaryFailure."""

    def __init__(self, settings: SqlSettings, reactor: Any) -> None:
        self.settings = settings
        self._questions = Questions(settings)
        self._connections = Connections(settings, driver(settings), self._questions.check, reactor)

    @property
    def lists(self) -> bool:
        """Whether it can list its users."""
        return self._questions.lists

    def start(self) -> None:
        """Start the threads. Errors: NoThreads."""
        self._connections.start()

    def stop(self) -> Deferred[None]:
        """End them, and close the connections."""
        return self._connections.stop()

    def retire(self) -> Deferred[None]:
        """The same, when all that was asked is answered."""
        return self._connections.retire()

    async def check(self) -> None:
        """Let the database read all statements, if it answers. Errors: SqlFileError, if the file is wrong."""
        wrong = await self._connections.first()
        if wrong is not None:
            raise SqlFileError(str(wrong))

    def user(self, name: str) -> Deferred[Row | None]:
        """The row of a user; None: there is none."""
        return self._connections.ask(lambda link: self._questions.user(link, name))

    def user_and_apps(self, name: str) -> Deferred[tuple[Row | None, Sequence[Row]]]:
        """The row, and those of the app passwords, which are asked for whether there is a user or not."""
        ask = self._questions
        return self._connections.ask(lambda link: (ask.user(link, name), ask.apps(link, name)))

    def names(self, after: str, limit: int, known: Callable[[str], bool]) -> Deferred[Sequence[str]]:
        """A page of the names that `known` accepts."""
        return self._connections.ask(lambda link: self._questions.names(link, after, limit, known))
