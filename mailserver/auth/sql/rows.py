"""The columns of an answer, its rows, and the name that a row is of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from mailserver.auth.attributes import Row
from mailserver.auth.sql.links import Answer, Refused, Trouble
from mailserver.toml import near_miss

OF_USERS: Final = (
    *("user", "password", "home", "mail", "quota", "quota_messages", "allow_nets", "disabled"),
    *("listeners", "read_only", "expire_days", "login_delay"),
)
"""The columns of [queries] `user`."""

OF_APP_PASSWORDS: Final = ("name", "password", "listeners", "expires")
"""The columns of [queries] `app_passwords`."""


def check_columns(what: str, columns: Sequence[str], known: Sequence[str], needed: Sequence[str]) -> None:
    """Whether an answer has the columns that it must have, each once, and no other. Errors: Refused."""
    found = [each.lower() for each in columns]
    unknown = next((each for each in found if each not in known), None)
    if unknown is not None:
        raise Refused(f'queries.{what} has an unknown column "{unknown}"{near_miss(unknown, known)}')
    twice = next((each for each, times in Counter(found).items() if times > 1), None)
    if twice is not None:
        raise Refused(f'queries.{what} has the column "{twice}" twice')
    missing = next((each for each in needed if each not in found), None)
    if missing is not None:
        raise Refused(f'queries.{what} has no column "{missing}": name it with AS {missing}')


def rows(answer: Answer) -> list[Row]:
    """The rows by the names of their columns."""
    names = [each.lower() for each in answer.columns]
    return [dict(zip(names, row, strict=True)) for row in answer.rows]


def one(answer: Answer) -> Row | None:
    """The row of a user; None if there is none. Errors: Trouble, for two rows could be two users."""
    found = rows(answer)
    if len(found) > 1:
        raise Trouble("queries.user has two rows for one user")
    return found[0] if found else None


def spelling(name: str, row: Row) -> str | None:
    """The name as the database has it, for the log, if it is another; its collation may have taken both for the same."""
    if "user" not in row or row["user"] == name.encode("utf-8"):
        return None
    return ascii((row["user"] or b"").decode("utf-8", "replace")[:80])
