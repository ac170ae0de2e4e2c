"""``mailserver config``: the settings as the server reads them, and where each came from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from mailserver.cli.group import config_option, json_option
from mailserver.cli.main import tell

if TYPE_CHECKING:
    from mailserver.config.settings import Config


class Setting(NamedTuple):
    """One of the settings."""

    name: str
    value: Any
    place: str
    """Where it is set, as FILE:LINE; "": it is the default."""


@click.command(short_help="Show the settings as the server reads them.")
@click.option("--defaults", is_flag=True, help="Show the default of each setting, and read no file.")
@click.option("--all", "everything", is_flag=True, help="Show those that are not set, too, with their defaults.")
@json_option
@config_option
def config(defaults: bool, everything: bool, as_json: bool, config: str) -> int:
    """Show the settings that are set, as the server reads them, and the line of the file that sets each.

    The server's own flags are not known here. What may hold a secret is shown as "...".

    \b
    Exit status:
       0  shown
      64  the command line is wrong
      78  the file cannot be read, or the settings cannot stand: the problems are told, and what could be read is shown
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    from mailserver.config.reading import Misread, load
    from mailserver.config.settings import Config
    from mailserver.errors import ConfigError

    status = os.EX_OK
    read = Config()
    try:
        read = read if defaults else load(config, {})
    except ConfigError as error:
        for problem in error.problems:
            tell(f"mailserver: {problem}")
        status = os.EX_CONFIG
        read = error.config if isinstance(error, Misread) else read
    for setting in settings(read):
        if defaults or everything or setting.place:
            click.echo(_as_json(setting) if as_json else _as_line(setting))
    return status


def settings(config: Config) -> Iterator[Setting]:
    """All settings, in their order, by their dotted names."""
    return _settings(config, "", config.places)


def _settings(table: Any, prefix: str, places: Any) -> Iterator[Setting]:
    for each in fields(table):
        if not each.metadata.get("setting", True):
            continue
        value, name = getattr(table, each.name), prefix + each.name
        if is_dataclass(value):
            yield from _settings(value, f"{name}.", places)
        else:
            yield Setting(name, _shown(name, value, secret=not each.repr), _place(name, places))


def _shown(name: str, value: Any, *, secret: bool) -> Any:
    from mailserver.config.shown import MASKED, shown_checker
    from mailserver.toml import plain

    if name == "auth.checkers":
        return list(map(shown_checker, value))
    return MASKED if secret and value else plain(value)


def _place(name: str, places: Any) -> str:
    """Where a setting is set; a table's own line counts for a whole that has lines of its own."""
    return places.get(name) or next((where for key, where in places.items() if key.startswith(f"{name}.")), "")


def _as_json(setting: Setting) -> str:
    return json.dumps({"name": setting.name, "value": setting.value, "place": setting.place}, ensure_ascii=False)


def _as_line(setting: Setting) -> str:
    return f"{setting.name} = {json.dumps(setting.value, ensure_ascii=False)}{f'    # {setting.place}' if setting.place else ''}"
