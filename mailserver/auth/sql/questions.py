"""What a database is asked, as one reading of a checker's file describes it. It waits for the answers, so it is for a thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from mailserver.auth.attributes import Row
from mailserver.auth.sql.links import Answer, Link, Refused
from mailserver.auth.sql.listing import Listing, listing
from mailserver.auth.sql.rows import OF_APP_PASSWORDS, OF_USERS, check_columns, one, rows
from mailserver.auth.sql.settings import SqlSettings
from mailserver.auth.sql.statements import Statement, given

MAX_ROWS: Final = 50
"""Of an answer about one user: a user, or the app passwords of one. A statement that forgets its WHERE has more, and so has a
user whose wrong passwords would cost a slow hash for each.
"""


class Questions:
    """The statements of a file, for any link to its database. Errors: Trouble."""

    def __init__(self, settings: SqlSettings) -> None:
        self._kind = settings.kind or "sqlite"
        self._statements = settings.statements()

    @property
    def lists(self) -> bool:
        """Whether there is one that lists the users."""
        return "iterate" in self._statements

    def user(self, link: Link, name: str) -> Row | None:
        """The row of a user; None: there is none."""
        return one(self._ask(link, "user", name))

    def apps(self, link: Link, name: str) -> Sequence[Row]:
        """The rows of the user's app passwords."""
        return rows(self._ask(link, "app_passwords", name)) if "app_passwords" in self._statements else ()

    def names(self, link: Link, after: str, limit: int, known: Callable[[str], bool]) -> Sequence[str]:
        """A page of the names that `known` accepts."""
        return Listing(self._statements["iterate"], self._kind, known).page(link, after, limit)

    def check(self, link: Link) -> None:
        """Let the database read all statements. Errors: Refused, with the database's words."""
        for what, statement in self._statements.items():
            if what == "iterate":
                self._columns(link, what, listing(statement, self._kind, 1))
            else:
                self._check_columns(what, self._columns(link, what, statement))

    def _ask(self, link: Link, what: str, name: str) -> Answer:
        statement = self._statements[what]
        answer = link.ask(statement, statement.values(given(name)), MAX_ROWS)
        self._check_columns(what, answer.columns)  # a table may have got others since the start
        return answer

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
        own = ("user",) if self._kind == "mysql" else ()
        secret = () if "app_passwords" in self._statements else ("password",)
        check_columns(what, columns, OF_USERS, (*own, *secret))
