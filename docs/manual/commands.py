"""The pages of the commands, from the texts of their --help."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any, Final

import click
from roff import Page

from mailserver import __version__
from mailserver.cli.group import CONFIG

DATE: Final = "2026-11-27"
"""Of the version: a page that is built again is the same."""

SOURCE: Final = f"mailserver {__version__}"

_STATUS: Final = re.compile(r" *(\d+)  (.*)")


def contexts(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    """A command and all below it, each with its context."""
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from contexts(below, click.Context(below, info_name=name, parent=context))


def page_of(context: click.Context) -> tuple[str, str]:
    """A command's page: the name of its file, and its text."""
    command = context.command
    name = _file(context)
    page = Page(name, 1, DATE, SOURCE)
    page.section("name")
    page.paragraph(f"{name} - {_short(command)}")
    page.section("synopsis")
    page.paragraph(f"`{context.command_path}` {' '.join(command.collect_usage_pieces(context))}")
    page.section("description")
    blocks = re.split(r"\n\s*\n", inspect.cleandoc(command.help or ""))
    literal = [block for block in blocks if block.startswith("\b\n")]
    for block in blocks:
        if block in literal and not _titled(block):
            page.lines(block.splitlines()[1:])
        elif block not in literal:
            page.paragraph(block)
    _list(page, context)
    _options(page, context)
    for block in filter(_titled, literal):
        _block(page, block)
    if context.parent is None:
        page.section("environment")
        page.item("MAILSERVER_CONFIG", f"The settings, instead of {CONFIG}.")
        page.section("files")
        page.item(CONFIG, "The settings: see mailserver.toml(5).")
        page.item("/run/mailserver/control", "The socket at which a running server is asked.")
    page.section("see also")
    page.paragraph(", ".join(_see_also(context)))
    return f"{name}.1", str(page)


def _file(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def _short(command: click.Command) -> str:
    """What it does, as a phrase."""
    text = command.short_help or (command.help or "").partition("\n\n")[0]
    text = " ".join(text.split()).rstrip(".")
    return text[:1].lower() + text[1:]


def _titled(block: str) -> bool:
    return block.splitlines()[1].rstrip().endswith(":")


def _block(page: Page, block: str) -> None:
    """A literal block with a title: the exit statuses as a list, others as they are."""
    _mark, title, *rows = block.splitlines()
    head, _, condition = title.rstrip(":").partition(",")
    page.section("examples" if head == "Example" else head)
    if condition:
        page.paragraph(f"{condition.strip()}:".capitalize())
    if head != "Exit status":
        page.lines(row.strip() for row in rows)
        return
    items: list[list[str]] = []
    for row in rows:
        found = _STATUS.match(row)
        if found:
            items.append([found[1], found[2]])
        else:
            items[-1][1] += f" {row.strip()}"
    for status, text in items:
        page.item(status, text)


def _list(page: Page, context: click.Context) -> None:
    """The commands of a group."""
    command = context.command
    if not isinstance(command, click.Group):
        return
    page.section("commands")
    for name in command.list_commands(context):
        below: Any = command.get_command(context, name)
        page.item(name, f"{_sentence(_short(below))} See {_file(context)}-{name}(1).")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _options(page: Page, context: click.Context) -> None:
    records = [param.get_help_record(context) for param in context.command.get_params(context)]
    page.section("options")
    for head, text in filter(None, records):
        if text:  # an argument is explained above
            page.item(head, text)


def _see_also(context: click.Context) -> Iterator[str]:
    """The pages around it."""
    parent = context.parent
    if parent is None:
        yield "twist-mailserver(1)"
    while parent is not None:
        yield f"{_file(parent)}(1)"
        parent = parent.parent
    yield "mailserver.toml(5)"
