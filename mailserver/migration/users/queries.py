"""Statements of other servers as statements of ours: values are bound by name, and columns have the names that mean something here.

They are read only as far as their list of columns. What is not understood stays as it is, so that the checker refuses it at the
start; nothing that restricts a user is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from mailserver.migration.users.variables import VARIABLE, meaning, replaced

Kind = Literal["postgresql", "mysql", "sqlite"]

MYSQL_SOCKET: Final = "/run/mysqld/mysqld.sock"
"""Debian's. Libraries of MySQL take "localhost" for the socket, and the user may have rights there alone."""

_TOKEN: Final = re.compile(
    r"""'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`[^`]*`|(?P<open>\()|(?P<close>\))|(?P<comma>,)|(?P<from>\bFROM\b)|(?P<union>\bUNION\b)""",
    re.IGNORECASE | re.DOTALL,
)
_ALIAS: Final = re.compile(r"""(.*?[\w)'"`\]])\s+(?:AS\s+)?([`"']?)(\w+)\2""", re.IGNORECASE | re.DOTALL)
_COLUMN: Final = re.compile(r"""(?:[`"]?\w+[`"]?\.)*[`"]?(\w+)[`"]?""")
_SELECT: Final = re.compile(r"\s*SELECT\s+(DISTINCT\s+)?", re.IGNORECASE)


class Unreadable(Exception):
    """A statement's columns cannot be told apart. The text says why."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an answer."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Select:
    """A statement: its columns, and what follows them."""

    columns: Sequence[Column]
    tail: str
    """From FROM on; "": there is no table."""
    distinct: bool = False


@dataclass(slots=True)
class Made:
    """Columns of ours, and what could not be made of theirs."""

    columns: dict[str, str] = field(default_factory=dict)
    """By our names."""
    told: list[str] = field(default_factory=list)


def bound(query: str, kind: Kind) -> tuple[str, list[str]]:
    """A statement with ``{user}``, ``{local}`` and ``{domain}`` in place of Dovecot's variables, which stand in quotes; and the unknown ones."""
    unknown: list[str] = []

    def literal(match: re.Match[str]) -> str:
        text = match[0][1:-1]
        if not VARIABLE.search(text):
            return match[0]
        return joined(_pieces(text, unknown), kind)

    quoted = r"'(?:[^'\\]|\\.|'')*'" + (r'|"(?:[^"\\]|\\.|"")*"' if kind != "postgresql" else "")
    pieces = re.split(f"({quoted})", query)
    for at, piece in enumerate(pieces):
        if at % 2:
            pieces[at] = re.sub(quoted, literal, piece)
        else:
            pieces[at], odd = replaced(piece, lambda name: f"{{{name}}}")
            unknown += odd
    return "".join(pieces), unknown


def _pieces(text: str, unknown: list[str]) -> Iterator[str]:
    """A string with variables as strings and parameters in turn."""
    position, plain = 0, ""
    for match in VARIABLE.finditer(text):
        found = meaning(match)
        plain += text[position : match.start()]
        position = match.end()
        if found in ("pop3", "%"):
            plain += found
        elif found is None or found == "home":
            unknown.append(match[0])
            plain += match[0]
        else:
            if plain:
                yield f"'{plain}'"
            yield f"{{{found}}}"
            plain = ""
    if plain + text[position:]:
        yield f"'{plain + text[position:]}'"


def joined(pieces: Iterable[str], kind: Kind) -> str:
    """Strings put together."""
    found = list(pieces)
    if len(found) == 1:
        return found[0]
    return f"CONCAT({', '.join(found)})" if kind == "mysql" else "(" + " || ".join(found) + ")"


def quoted(name: str, kind: Kind) -> str:
    """A column's name, which may be a word of SQL, such as user."""
    return f"`{name}`" if kind == "mysql" else f'"{name}"'


def read_select(query: str) -> Select:
    """Errors: Unreadable."""
    items, tail, distinct = split_select(query)
    return Select([_column(each) for each in items], tail, distinct)


def split_select(query: str) -> tuple[list[str], str, bool]:
    """The columns' texts, what follows them, and whether equal rows are one. Errors: Unreadable."""
    match = _SELECT.match(query)
    if match is None:
        raise Unreadable("it does not begin with SELECT")
    depth, start, items, end = 0, match.end(), [], len(query)
    for token in _TOKEN.finditer(query, match.end()):
        depth += bool(token["open"]) - bool(token["close"])
        if token["union"]:
            raise Unreadable("it is a UNION")
        if depth or end < len(query) or not (token["comma"] or token["from"]):
            continue
        items.append(query[start : token.start()].strip())
        start = token.end()
        if token["from"]:
            end = token.start()
    if end == len(query):
        items.append(query[start:].rstrip(" ;\n").strip())
    return items, query[end:].strip().rstrip(";").rstrip(), bool(match[1])


def _column(text: str) -> Column:
    if match := _COLUMN.fullmatch(text):
        return Column(match[1].lower(), text)
    if match := _ALIAS.fullmatch(text):
        return Column(match[3].lower(), match[1])
    raise Unreadable(f"the column {text[:80]!r} has no name: add AS and one")


def write_select(columns: Mapping[str, str], tail: str, kind: Kind, distinct: bool = False) -> str:
    """The text of a statement."""
    lines = ",\n".join(f"    {text} AS {quoted(name, kind)}" for name, text in columns.items())
    return f"SELECT{' DISTINCT' * distinct}\n{lines}\n{tail}".rstrip() + "\n"


def same(one: str, other: str) -> bool:
    """Whether two parts of statements differ in blanks and capitals alone."""
    return " ".join(one.lower().split()) == " ".join(other.lower().split())
