"""``mailserver trace``: what is said in somebody's sessions, while it is said."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TextIO

import click

from mailserver.cli.asking import Row, configured, socket_option, visible
from mailserver.cli.asking import as_json as to_json
from mailserver.cli.group import FILE, config_option, json_option
from mailserver.cli.main import tell

_MISSING: Final = {
    "lost": "has ended: what it was told is missing, until its successor answers",
    "silent": "does not answer: what is said to it is missing, until it does",
}
"""What to say of a process, by the word that the server has for it."""

_SIDES: Final = {"C": "C:", "S": "S:", "-": "--"}


@click.command(short_help="Show what is said in somebody's next sessions.")
@click.argument("name", metavar="USER|SESSION|ADDRESS|NETWORK")
@click.option("-n", "--sessions", type=click.IntRange(min=1), metavar="N", help="End after so many sessions.")
@click.option(
    "-t", "--seconds", type=click.FloatRange(min=0, min_open=True), metavar="N", help="End after so many seconds."
)
@click.option(
    "-o",
    "--file",
    "path",
    metavar="FILE",
    type=FILE,
    help="Write to the end of FILE; a new one is for nobody but you to read.",
)
@json_option
@socket_option
@config_option
def trace(  # noqa: PLR0913, PLR0917 - its options
    name: str,
    sessions: int | None,
    seconds: float | None,
    path: str | None,
    as_json: bool,
    socket: str | None,
    config: str,
) -> int:
    """Show what is said in the sessions that USER begins from now on, or in those from an ADDRESS or a NETWORK, or in the one SESSION that is open, until Ctrl-C.

    A session is shown once its user is known, with what was said before. Passwords, SASL responses and challenges, APOP digests, tickets and whatever
    could be one of them are never shown, nor is anything of a message but its octets, nor a name that is not USER before the login. Mail that comes in by LMTP is
    shown, too, where its address is USER, or has that before the @. The log tells who asked.

    \b
    Examples:
      mailserver trace alice
      mailserver trace 192.0.2.0/24 --sessions 3 --file office.txt

    \b
    Exit status:
       0  something was shown
       1  nothing was
      69  no server answers at the socket, or it has ended
      73  the file cannot be written
      77  only root, the user that serves and the socket's group may ask
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    from mailserver.control.client import Declined, NoServer, follow

    def work(output: TextIO | None) -> int:
        said = follow(socket or configured(config), "trace", seconds, name=name)
        return _show(said, sessions, partial(_write, output, as_json))

    try:
        if path is None:
            return work(None)
        Path(path).touch(0o600)
        with Path(path).open("a", encoding="utf-8") as output:
            return work(output)
    except (NoServer, Declined) as error:
        tell(f"mailserver: {error}")
        return error.status
    except OSError as error:
        if path is None:  # the output is no file of ours
            raise
        tell(f"mailserver: {path}: {error.strerror}")
        return os.EX_CANTCREAT


def _write(output: TextIO | None, as_json: bool, row: Row) -> None:
    if as_json:
        click.echo(to_json(row), output)
    elif "session" in row:
        click.echo(_line(row), output)


def _show(said: Generator[dict[str, Any], None, None], sessions: int | None, show: Callable[[Row], object]) -> int:
    """Show lines until they end or the operator ends it; the exit status."""
    shown = False
    with closing(said), suppress(KeyboardInterrupt):
        for row in _until(_rows(said), sessions):
            shown |= "session" in row
            show(row)
    return os.EX_OK if shown else 1


def _rows(said: Iterable[dict[str, Any]]) -> Iterator[Row]:
    """The rows. What is missing is told on standard error, of a process once."""
    missing: dict[int, str] = {}
    begun = False
    for each in said:
        if "row" in each:
            missing.pop(each["row"]["worker"], None)
            if not begun:
                begun = True
                tell("mailserver: what is said is shown from now on; Ctrl-C ends it")
            yield each["row"]
        elif "left_out" in each:
            tell(f"mailserver: {each['left_out']:,} lines are left out: they came faster than they could be written")
        else:
            _tell_missing(each, missing)


def _tell_missing(said: dict[str, Any], missing: dict[int, str]) -> None:
    """Tell which process has ended, or does not answer, once."""
    for how, text in _MISSING.items():
        worker = said.get(how)
        if worker is None or missing.get(worker) in {how, "lost"}:
            continue
        missing[worker] = how
        tell(f"mailserver: {f'worker {worker}' if worker else 'the server'} {text}")


def _until(rows: Iterable[Row], sessions: int | None) -> Iterator[Row]:
    """The rows until so many sessions have ended."""
    for row in rows:
        yield row
        if sessions is not None and "ended" in row:
            sessions -= 1
            if not sessions:
                return


def _line(row: Row) -> str:
    """For people: when, in which session, who, what."""
    at = datetime.fromtimestamp(row["at"]).astimezone()
    return f"{at:%H:%M:%S}.{at.microsecond // 1000:03} {row['session']} {_SIDES[row['from']]} {visible(row['text'])}"
