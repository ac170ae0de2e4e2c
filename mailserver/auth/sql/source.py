"""The questions that a ``sql:`` checker asks, as one reading of its file describes them; a reload makes another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred

from mailserver.auth.attributes import Row
from mailserver.auth.sql.connections import Connections
from mailserver.auth.sql.drivers import driver
from mailserver.auth.sql.links import Answer, Link, Refused
from mailserver.auth.sql.listing import Listing, listing
from mailserver.auth.sql.rows import OF_APP_PASSWORDS, OF_USERS, check_columns, one, rows
from mailserver.auth.sql.settings import SqlFileError, SqlSettings
from mailserver.auth.sql.statements import Statement, given

MAX_ROWS: Final = 50
"""Of an answer to a login: a user, or the app passwords of one. A statement that forgets its WHERE has more, and so has a
user whose wrong passwords would cost a slow hash for each.
"""


class Source:
    """A database with its statements. Its questions are answered from threads; errors: TemporaryFailure."""

    def __init__(self, settings: SqlSettings, reactor: Any) -> None:
        self.settings = settings
        self._statements = settings.statements()
        self._connections = Connections(settings, driver(settings), self._check, reactor)

    @property
    def lists(self) -> bool:
        """Whether it can list its users."""
        return "iterate" in self._statements

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
        return self._connections.ask(lambda link: self._user(link, name))

    def user_and_apps(self, name: str) -> Deferred[tuple[Row | None, Sequence[Row]]]:
        """The row, and those of the app passwords, which are asked for whether there is a user or not."""
        return self._connections.ask(lambda link: (self._user(link, name), self._apps(link, name)))

    def names(self, after: str, limit: int, known: Callable[[str], bool]) -> Deferred[Sequence[str]]:
        """A page of the names that `known` accepts."""
        users = Listing(self._statements["iterate"], self.settings.kind or "sqlite", known)
        return self._connections.ask(lambda link: users.page(link, after, limit))

    # In a thread.

    def _user(self, link: Link, name: str) -> Row | None:
        return one(self._ask(link, "user", name))

    def _apps(self, link: Link, name: str) -> Sequence[Row]:
        return rows(self._ask(link, "app_passwords", name)) if "app_passwords" in self._statements else ()

    def _ask(self, link: Link, what: str, name: str) -> Answer:
        statement = self._statements[what]
        answer = link.ask(statement, statement.values(given(name)), MAX_ROWS)
        self._check_columns(what, answer.columns)  # a table may have got others since the start
        return answer

    def _check(self, link: Link) -> None:
        """Errors: Refused, with the database's words."""
        for what, statement in self._statements.items():
            if what == "iterate":
                self._columns(link, what, listing(statement, self.settings.kind or "sqlite", 1))
            else:
                self._check_columns(what, self._columns(link, what, statement))

    def _columns(self, link: Link, what: str, statement: Statement) -> tuple[str, ...]:
        try:
            return link.columns(statement)
        except Refused as error:
            needs = " (it must name its column AS user)" if what == "iterate" else ""
            raise Refused(f"queries.{what}: {error}{needs}") from None

    def _check_columns(self, what: str, columns: Sequence[str]) -> None:
        if what == "app_passwords":
            check_columns(what, columns, OF_APP_PASSWORDS, ("name", "password"))
            return
        # MariaDB's usual collations take Alice, alicé and "alice " for alice, so it must say whom it has found.
        own = ("user",) if self.settings.kind == "mysql" else ()
        secret = () if "app_passwords" in self._statements else ("password",)
        check_columns(what, columns, OF_USERS, (*own, *secret))
