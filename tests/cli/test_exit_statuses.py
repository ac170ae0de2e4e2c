"""The exit statuses that docs/commands.md names for each command, held to what its code can end with.

Nothing is run. From the function of a command, all that it names is followed through the modules of the commands, and those by which the
server answers; whatever is written as `os.EX_...` on the way may be the end.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from mailserver.cli import group
from tests.cli.test_main import BLOCKS

FOLLOWED = ("mailserver.cli.", "mailserver.control.client", "mailserver.service.failures")
ASKED = ("mailserver.control.port", "mailserver.service.questions.sessions", "mailserver.service.questions.whole")
"""What the server answers to all questions, and where it cannot answer one."""
CHANGED = {
    "mailserver restart": ("mailserver.service.succession", "mailserver.service.successor"),
    "mailserver reload": ("mailserver.cli.launch",),
}
"""Where the server makes its answer to who asks for a change."""

ANY = {os.EX_OK, 1, os.EX_USAGE}
"""What each command may end with: click has its own words for a wrong command line."""

Name = tuple[str, str]
"""A module, and a name in it; "": all of it."""


@cache
def tree(module: str) -> ast.Module:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


@cache
def imported(module: str) -> dict[str, Name]:
    """What the module's imports call what, also those within functions."""
    found = {}
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module:
            for each in node.names:
                whole = f"{node.module}.{each.name}"
                place = (whole, "") if node.module == "mailserver.cli" else (node.module, each.name)
                found[each.asname or each.name] = place
    return found


@cache
def defined(module: str) -> dict[str, ast.stmt]:
    """What the module defines, by its names."""
    found: dict[str, ast.stmt] = {}
    for node in tree(module).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found.update((each.id, node) for each in targets if isinstance(each, ast.Name))
    return found


def named(module: str, node: ast.AST) -> Iterator[Name]:
    """What a piece of a module names."""
    known = imported(module)
    for each in ast.walk(node):
        if isinstance(each, ast.Name):
            yield known.get(each.id, (module, each.id))
        elif isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id in known:
            yield known[each.value.id][0], each.attr


def statuses(node: ast.AST) -> set[int]:
    return {
        getattr(os, each.attr)
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute) and each.attr.startswith("EX_")
    }


def ends(start: Name) -> tuple[set[int], set[Name]]:
    """The statuses that can be reached, and by which names."""
    found: set[int] = set()
    seen: set[Name] = set()
    left = [start]
    while left:
        at = left.pop()
        module, name = at
        if at in seen or not module.startswith(FOLLOWED) or name not in defined(module):
            continue
        seen.add(at)
        found |= statuses(defined(module)[name])
        left += named(module, defined(module)[name])
    return found, seen


def function(words: list[str]) -> Name:
    """The function of a command, by its words."""
    command: click.Command = group.mailserver
    for word in words:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found
    assert command.callback is not None
    return command.callback.__module__, command.callback.__name__


def shown(block: str) -> set[int]:
    return set(map(int, re.findall(r"(?m)^ +(\d+)  \S", block.partition("Exit status")[2].partition("Options:")[0])))


TEXTS = dict(BLOCKS)
GENERAL = shown(TEXTS["mailserver"])


@pytest.mark.parametrize("command", sorted(TEXTS.keys() - {"mailserver"}))
def test_the_page_names_what_a_command_can_end_with_and_nothing_else(command: str) -> None:
    found, seen = ends(function(command.split()[1:]))
    if ("mailserver.cli.asking", "put_or") in seen or command == "mailserver trace":
        for module in (*ASKED, *CHANGED.get(command, ())):
            found |= statuses(tree(module))
    told = shown(TEXTS[command])
    assert found - told - GENERAL == set(), "these are told nowhere"
    assert told - found - ANY == set(), "nothing ends so"
