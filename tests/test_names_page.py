"""docs/names.md shows the examples of mailserver.names, all of them and as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from mailserver.config.settings import Config, NameRules, Sdps
from mailserver.names import EXAMPLES

PAGE = Path(__file__).parent.parent / "docs/names.md"

SETTINGS = {
    "default_domain": "names.default_domain",
    "local_domains": "names.local_domains",
    "case": "names.case",
    "at_signs": "names.at_signs",
    "tag_separators": "names.tag_separators",
    "accounts": "sdps.accounts",
    "account_separators": "sdps.separators",
}
"""The fields of `Names`, as the configuration calls them."""


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {json.dumps(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)


def rows() -> Iterator[str]:
    """The rows of the table."""
    for settings, typed, read, why in EXAMPLES:
        given = "<br>".join(f"`{SETTINGS[name]} = {toml(value)}`" for name, value in settings.items())
        shown = typed.decode("latin-1") if isinstance(typed, bytes) else typed
        told = shown.encode("unicode_escape").decode() if isinstance(typed, bytes) or not shown.isprintable() else shown
        yield f"| {given} | {f'`{told}`' if told else ''} | {'nobody' if read is None else f'`{read}`'} | {why} |"


def test_the_page_shows_the_examples_of_the_code() -> None:
    lines = PAGE.read_text("utf-8").splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("|---"))
    shown = [line for line in lines[start + 1 :] if line.startswith("|")]
    assert shown == list(rows()), "the rows above belong into the table"


def test_the_settings_of_the_page_are_those_of_the_configuration() -> None:
    config = Config(
        names=NameRules(
            default_domain="d.example", local_domains=("l.example", "d.example"), case="lower", at_signs="%"
        ),
        sdps=Sdps(accounts={"a": "a.example"}, separators="!"),
    )
    made = config.naming()
    for name, setting in SETTINGS.items():
        table, _, key = setting.partition(".")
        assert getattr(made, name) == getattr(getattr(config, table), key)
