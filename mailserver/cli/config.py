"""``mailserver config``: the settings as the server reads them, and where each came from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

import click

from mailserver.cli.asking import put, socket_option
from mailserver.cli.group import config_option, json_option
from mailserver.cli.main import tell

Row = dict[str, Any]
"""A setting: its name, its value, and where it is set ("": it is the default)."""


@click.command(short_help="Show the settings as the server reads them.")
@click.option("--defaults", is_flag=True, help="Show the default of each setting, and read no file.")
@click.option("--running", is_flag=True, help="Show those that are in effect in the running server, not the file's.")
@click.option("--all", "everything", is_flag=True, help="Show those that are not set, too, with their defaults.")
@json_option
@socket_option
@config_option
def config(  # noqa: PLR0913, PLR0917 - the options of a command
    defaults: bool, running: bool, everything: bool, as_json: bool, socket: str | None, config: str
) -> int:
    """Show the settings that are set, as the server reads them, and the line of the file that sets each.

    The server's own flags are known to the running server alone, which names them (--running). What may hold a secret is shown as "...".

    \b
    Examples:
      mailserver config --all
      mailserver config --running --json | jq -r 'select(.name == "limits.connections") | .value'

    \b
    Exit status:
       0  shown
      64  the command line is wrong
      69  no server answers at the socket (with --running)
      77  only root, the user that serves and the socket's group may ask (with --running)
      78  the file cannot be read, or the settings cannot stand: the problems are told, and what could be read is shown
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    if running and defaults:
        raise click.UsageError("--defaults and --running are two questions")
    if socket and not running:
        raise click.UsageError("--socket is that of a running server: add --running")

    def show(rows: Iterable[Row]) -> int:
        for row in rows:
            if defaults or everything or row["place"]:
                click.echo(json.dumps(row, ensure_ascii=False) if as_json else _as_line(row))
        return os.EX_OK

    if running:
        return put("config", socket, config, show)
    rows, problems = _read(None if defaults else config)
    for problem in problems:
        tell(f"mailserver: {problem}")
    show(rows)
    return os.EX_CONFIG if problems else os.EX_OK


def _read(path: str | None) -> tuple[Iterable[Row], Iterable[str]]:
    """The settings of a file, or else the defaults, and what is wrong with them."""
    from mailserver.config.reading import Misread, load
    from mailserver.config.settings import Config
    from mailserver.config.shown import shown_settings
    from mailserver.errors import ConfigError

    read = Config()
    problems: Iterable[str] = ()
    try:
        read = read if path is None else load(path, {})
    except ConfigError as error:
        problems = error.problems
        read = error.config if isinstance(error, Misread) else read
    return [each._asdict() for each in shown_settings(read)], problems


def _as_line(row: Row) -> str:
    place = f"    # {row['place']}" if row["place"] else ""
    return f"{row['name']} = {json.dumps(row['value'], ensure_ascii=False)}{place}"
