"""The site's own statements: their named parameters become the driver's placeholders, so that values are always bound.

A statement is scanned as its database reads it, because a brace or a percent sign within quotes or a comment is no
parameter. The scanner decides nothing about safety: no value ever becomes part of a statement's text. A mistake here could
only make a statement that its database refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from mailserver.toml import near_miss

Kind = Literal["postgresql", "mysql", "sqlite"]

NAMES: Final = ("user", "local", "domain")
"""The parameters: the whole name, and its parts before and after the last ``@``; without one it has no domain."""


class StatementError(Exception):
    """What is wrong with a statement, in words for its author."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement with the driver's placeholders."""

    text: str
    parameters: tuple[str, ...] = ()
    """The name of the parameter for each value that the driver is given, in their order."""

    def values(self, given: Mapping[str, str]) -> list[str]:
        """The values to bind. Errors: ValueError for a NUL, at which C's strings would end."""
        found = [given[name] for name in self.parameters]
        if any("\0" in each for each in found):
            raise ValueError("a name contains a NUL")
        return found


def given(name: str) -> dict[str, str]:
    """The parameters for a user's name."""
    local, at, domain = name.rpartition("@")
    return {"user": name, "local": local, "domain": domain} if at else {"user": name, "local": name, "domain": ""}


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How a database reads a statement, and how its driver marks places for values."""

    quotes: str
    """A pattern for strings and quoted names."""
    comments: str
    """A pattern for comments."""
    placeholder: Callable[[int], str]
    numbered: bool = False
    """Whether a parameter that occurs twice has one number, and so one value."""
    percent: bool = False
    """Whether the driver reads % signs, wherever they stand."""
    foreign: str = r"(?!)"
    """The driver's own placeholders, which nothing would fill."""


_SINGLE = r"'(?:[^']|'')*'"
_DOUBLE = r'"(?:[^"]|"")*"'
_BACKTICKS = r"`(?:[^`]|``)*`"

DIALECTS: Final[Mapping[str, _Dialect]] = {
    "postgresql": _Dialect(
        # E'' strings with backslashes, dollar quotes with a tag or none.
        rf"(?<![\w$])[eE]'(?:[^'\\]|\\.|'')*'|{_SINGLE}|{_DOUBLE}|(?<![\w$])(?P<tag>\$(?:[^\W\d]\w*)?\$).*?(?P=tag)",
        r"--[^\n]*",
        lambda number: f"${number}",
        numbered=True,
        foreign=r"(?<![\w$])\$\d+",
    ),
    "mysql": _Dialect(
        rf"""'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|{_BACKTICKS}""",
        r"--(?=\s|\Z)[^\n]*|\#[^\n]*|/\*.*?\*/",
        lambda _: "_utf8mb4 %s",
        percent=True,
        foreign=r"\?",
    ),
    "sqlite": _Dialect(
        rf"{_SINGLE}|{_DOUBLE}|{_BACKTICKS}|\[[^\]]*\]",
        r"--[^\n]*|/\*.*?(?:\*/|\Z)",
        lambda _: "?",
        foreign=r"\?\d*|(?<!\w)[:@$]\w+",
    ),
}

_TOKENS = {
    kind: re.compile(
        rf"(?P<comment>{each.comments})|(?P<nested>/\*)|(?P<quoted>{each.quotes})|\{{(?P<name>[^{{}}]*)\}}"
        rf"|(?P<end>;)|(?P<foreign>{each.foreign})|(?P<stray>['\"`{{}}])",
        re.DOTALL,
    )
    for kind, each in DIALECTS.items()
}
_NESTED = re.compile(r"/\*|\*/")


def read_statement(text: str, kind: Kind) -> Statement:
    """The statement for the driver. Errors: StatementError."""
    if "\0" in text:
        raise StatementError("it contains a NUL")
    dialect = DIALECTS[kind]
    pieces: list[str] = []
    parameters: list[str] = []
    for piece, name in _scan(text, kind):
        if name is None:
            pieces.append(piece.replace("%", "%%") if dialect.percent else piece)
        elif dialect.numbered:
            if name not in parameters:
                parameters.append(name)
            pieces.append(dialect.placeholder(parameters.index(name) + 1))
        else:
            parameters.append(name)
            pieces.append(dialect.placeholder(len(parameters)))
    return Statement("".join(pieces).strip(), tuple(parameters))


def _scan(text: str, kind: Kind) -> Iterator[tuple[str, str | None]]:
    """The pieces of a statement: text, or a parameter with its name. Errors: StatementError."""
    position, ended = 0, False
    while match := _TOKENS[kind].search(text, position):
        before = text[position : match.start()]
        piece, position = match[0], match.end()
        if match["nested"]:
            position = _end_of_comment(text, match.end())
            piece = text[match.start() : position]
        if ended and (before.strip() or not (match["comment"] or match["nested"] or match["end"])):
            raise StatementError("it is more than one statement")
        yield before, None
        if match["end"]:
            ended = True
        else:
            yield piece, _parameter(match)
    if ended and text[position:].strip():
        raise StatementError("it is more than one statement")
    yield text[position:], None


def _parameter(match: re.Match[str]) -> str | None:
    """The parameter's name; None for a piece of text. Errors: StatementError."""
    if match["quoted"] and (name := next((each for each in NAMES if f"{{{each}}}" in match["quoted"]), "")):
        raise StatementError(
            f"{{{name}}} stands in quotes, where it is no parameter: leave the quotes out, for values are bound"
        )
    if match["foreign"]:
        raise StatementError(
            f"{match['foreign']} is a placeholder that nothing fills: write {{user}}, {{local}} or {{domain}}"
        )
    if match["stray"]:
        raise StatementError(f"{match['stray']} is not closed")
    name = match["name"]
    if name is None or name in NAMES:
        return name
    raise StatementError(f"{{{name}}} is no parameter{near_miss(name, NAMES)}")


def _end_of_comment(text: str, position: int) -> int:
    """The end of a comment that may contain others, as in PostgreSQL. Errors: StatementError."""
    depth = 1
    while match := _NESTED.search(text, position):
        depth += 1 if match[0] == "/*" else -1
        position = match.end()
        if not depth:
            return position
    raise StatementError("/* is not closed")
