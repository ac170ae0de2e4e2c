"""The page of the settings, from their docstrings; and the server's own, from the texts of its flags."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from commands import DATE, SOURCE
from roff import Page

from mailserver.cli.launch import Options
from mailserver.config.settings import Certificate, Config


class Row(NamedTuple):
    """A setting."""

    name: str
    default: str
    text: str


def docstrings(kind: Any) -> dict[str, str]:
    """The text under each field of a class of the settings."""
    tree = ast.parse(Path(str(sys.modules[kind.__module__].__file__)).read_text(encoding="utf-8"))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__).body
    return {
        field.target.id: str(text.value.value)
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


def tables(kind: Any = Config, name: str = "") -> Iterator[tuple[str, str, list[Row]]]:
    """The tables of the file, the top one first: the name, what it is about, and its settings."""
    texts, rows, below = docstrings(kind), [], []
    for item in dataclasses.fields(kind):
        if not item.metadata.get("setting", True):
            continue
        if dataclasses.is_dataclass(item.default_factory):
            below.append((item.default_factory, f"{name}{item.name}"))
        else:
            value: Any = {} if item.default_factory is dict else item.default
            rows.append(Row(item.name, json.dumps(value), texts[item.name]))
    yield name, inspect.getdoc(kind) or "", rows
    for factory, its_name in below:
        yield from tables(factory, its_name)
    if kind is Config:
        yield (
            "[tls.certificates]",
            "",
            [
                Row(each.name, json.dumps(each.default), docstrings(Certificate)[each.name])
                for each in dataclasses.fields(Certificate)
            ],
        )


def settings_page() -> tuple[str, str]:
    """mailserver.toml(5)."""
    page = Page("mailserver.toml", 5, DATE, SOURCE)
    page.section("name")
    page.paragraph("mailserver.toml - the settings of the mail server")
    page.section("synopsis")
    page.paragraph("`/etc/mailserver/mailserver.toml`")
    page.section("description")
    page.paragraph(
        "A TOML file with all that the server and its commands need to know. A setting that is not there has its default. An unknown setting, or a value "
        "that cannot be, is an error; `mailserver check` finds all errors at once, and `mailserver config` shows what is in effect."
    )
    page.section("settings")
    for name, about, rows in tables():
        page.subsection(f"[{name}]" if name else "At the top")
        if (about := about.partition(": ")[2]) and name:
            page.paragraph(about[:1].upper() + about[1:])
        for row in rows:
            page.item(f"{row.name} = {row.default}", row.text)
    page.section("see also")
    page.paragraph("mailserver(1), mailserver-check(1), mailserver-config(1), twist-mailserver(1)")
    return "mailserver.toml.5", str(page)


def server_page() -> tuple[str, str]:
    """twist-mailserver(1)."""
    page = Page("twist-mailserver", 1, DATE, SOURCE)
    page.section("name")
    page.paragraph("twist-mailserver - serve mail by POP3, POP3S, KPOP and LMTP")
    page.section("synopsis")
    page.paragraph(f"`twist mailserver` {Options.synopsis}")
    page.paragraph(f"`twistd -n mailserver` {Options.synopsis}")
    page.section("description")
    page.paragraph(
        f"{Options.longdesc} A flag sets a setting of mailserver.toml(5), and overrides the file. The server runs until SIGTERM or SIGINT; `twist` keeps it in the "
        "foreground, with its log on standard output, and so does `twistd -n`."
    )
    page.section("options")
    for head, text in sorted(_flags(), key=lambda flag: flag[0].partition("--")[2]):
        page.item(head, text)
    page.section("signals")
    page.item("SIGHUP", "Read again what can change without a restart.")
    page.item(
        "SIGTERM, SIGINT", "Stop: take no new connections, end idle sessions, and wait some seconds for the others."
    )
    page.item("SIGUSR1", "Open the log again.")
    page.section("examples")
    page.lines(
        [
            "twist mailserver --config /etc/mailserver/mailserver.toml",
            "twist mailserver --pop3 tcp:110 --auth passwd-file:/etc/mailserver/users",
        ]
    )
    page.section("exit status")
    page.item("0", "Stopped as it was asked to.")
    page.item("70", "A fault of the server.")
    page.item("78", "The configuration is wrong; all that is wrong was told.")
    page.section("see also")
    page.paragraph("mailserver(1), mailserver.toml(5)")
    return "twist-mailserver.1", str(page)


def _flags() -> Iterator[tuple[str, str]]:
    options = Options()
    shorts = {long: short for short, long in options.synonyms.items() if len(short) == 1}
    takes = {each.rstrip("=") for each in options.longOpt if each.endswith("=")}
    for name, text in options.docs.items():
        doc = text if isinstance(text, str) else inspect.getdoc(text)
        short = f"-{shorts[name]}, " if name in shorts else ""
        yield f"{short}--{name}{' VALUE' if name in takes else ''}", doc or ""
