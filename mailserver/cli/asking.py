"""What the commands that ask a running server have in common: where it is, and what becomes of what it says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import click

from mailserver.cli.group import FILE
from mailserver.cli.main import tell, typed

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Row = dict[str, Any]

CHANGE_SECONDS: Final = 130.0
"""How long a change of the whole server may take: longer than the server lets it."""


def socket_option(command: Decorated) -> Decorated:
    """The option of the commands that ask a running server."""
    return click.option(
        "-s",
        "--socket",
        metavar="PATH",
        type=FILE,
        help="The server's socket. Default: `listen.control` of the settings.",
    )(command)


def put(question: str, socket: str | None, config: str, show: Callable[[list[Row]], int], **arguments: Any) -> int:
    """Ask the server, and show its whole answer; the exit status: that of `show`, or 75 where some worker process did not answer."""
    return put_or(None, question, socket, config, show, **arguments)


def put_change(
    question: str, socket: str | None, config: str, as_objects: bool, done: Callable[[Row], Iterable[str]]
) -> int:
    """Ask for a change of the whole server. Its problems are told, or else what was done; the exit status is the server's."""

    def show(rows: list[Row]) -> int:
        (row,) = rows
        if as_objects:
            click.echo(as_json(row))
        for problem in row["problems"]:
            tell(f"mailserver: {problem}")
        for line in () if as_objects or row["problems"] else done(row):
            click.echo(line)
        return int(row["status"])

    return put(question, socket, config, show, patience=CHANGE_SECONDS)


def put_or(
    alone: Callable[[], int] | None,
    question: str,
    socket: str | None,
    config: str,
    show: Callable[[list[Row]], int],
    **arguments: Any,
) -> int:
    """As `put`; but where no server runs that the settings name, do what the command can do `alone`, for that exit status."""
    from mailserver.control.client import Absent, Declined, NoServer, ask

    try:
        answer = ask(socket or configured(config), question, **arguments)
        status = show(answer.rows)
    except (NoServer, Declined) as error:
        if alone is not None and not socket and isinstance(error, Absent):
            return alone()
        tell(f"mailserver: {error}")
        return error.status
    for number in answer.silent:
        tell(f"mailserver: worker {number} does not answer: its part is missing")
    return os.EX_TEMPFAIL if answer.silent else status


def configured(path: str) -> str:
    """The socket of the settings. Errors: Absent."""
    from mailserver.config.problems import load_usable
    from mailserver.control.client import Absent
    from mailserver.errors import ConfigError
    from mailserver.service.control import path_of

    try:
        config, _ = load_usable(path)  # the server may run by the file as it was
    except ConfigError as error:
        raise Absent(f"{error}; or name the server's socket by --socket") from None
    if not config.listen.control:
        raise Absent(f"{path}: listen.control is empty, so the server cannot be asked")
    try:
        return path_of(config.listen.control)
    except ConfigError as error:
        raise Absent(str(error)) from None


def as_lines(rows: Iterable[Row]) -> None:
    """For programs: an object a line."""
    for row in rows:
        click.echo(as_json(row))


def as_json(row: Row) -> str:
    """A line for programs. What a client or a sender chose may hold what steers a terminal, or what UTF-8 has not: that is escaped."""
    text = json.dumps(row, ensure_ascii=False)
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    return character if character.isprintable() else json.dumps(character)[1:-1]


def nothing(text: str, name: str) -> None:
    """For people: that there is nothing to show, of this name; "": at all."""
    tell(f"mailserver: {typed(name)}: {text}" if name else f"mailserver: {text}")


def as_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """For people: columns under their heads; numbers on the right."""
    for line in table(heads, rows):
        click.echo(line)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """The lines of a table."""
    lines = [list(heads), *([visible(cell) for cell in row] for row in rows)]
    numeric = [
        all(line[at].replace(".", "", 1).replace(",", "").isdecimal() for line in lines[1:] if line[at] != "-")
        for at in range(len(heads))
    ]
    widths = [max(len(line[at]) for line in lines) for at in range(len(heads))]
    for line in lines:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        yield "  ".join(cells).rstrip()


def visible(value: object) -> str:
    """A cell or a line. What a client chose may hold what steers a terminal."""
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text) or "-"


def duration(seconds: float) -> str:
    """Seconds as people say them: 45 s, 3 min, 5 h, 12 d."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
