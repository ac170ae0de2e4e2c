"""Pages of the list of users: the site's statement inside of ours, because only the database can sort them all.

Pages are in the order of code points, which is that of UTF-8's octets, whatever collation the site's column has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mailserver.auth.sql.links import Link
from mailserver.auth.sql.statements import Kind, Statement

_OCTETS: Final = {
    "postgresql": '(listed."user")::text COLLATE "C"',
    "mysql": "CAST(CONVERT(listed.user USING utf8mb4) AS BINARY)",
    "sqlite": "CAST(listed.user AS TEXT)",
}
"""A name in a form that compares by its octets."""

_AFTER: Final = {"postgresql": "$1", "mysql": "CAST(_utf8mb4 %s AS BINARY)", "sqlite": "CAST(? AS TEXT)"}


def listing(statement: Statement, kind: Kind, limit: int) -> Statement:
    """The statement for a page of at most `limit` names after the one that is bound. A comment may end the site's text."""
    name = _OCTETS[kind]
    pieces = (
        f"SELECT {name} AS listed_name FROM (",  # noqa: S608 - of our text and the operator's; the one value is bound
        statement.text,
        f") AS listed WHERE {name} > {_AFTER[kind]} ORDER BY {name} LIMIT {limit:d}",
    )
    return Statement("\n".join(pieces), ("after",))


@dataclass(frozen=True, slots=True)
class Listing:
    """The site's statement that lists users; `known` says whether somebody can log in by a name."""

    statement: Statement
    kind: Kind
    known: Callable[[str], bool]

    def page(self, link: Link, after: str, limit: int) -> Sequence[str]:
        """The first `limit` known names after `after`. Errors: Trouble."""
        found: list[str] = []
        while len(found) < limit:
            wanted = limit - len(found)
            rows = link.ask(listing(self.statement, self.kind, wanted), [after], wanted).rows
            names = [(row[0] or b"").decode("utf-8", "surrogateescape") for row in rows]
            found += filter(self.known, dict.fromkeys(names))
            if len(rows) < wanted:
                break
            after = names[-1]
        return found
