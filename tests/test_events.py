"""docs/logging.md names every event of the log with its fields; this holds the page to the code."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

from tests.net.sessions import Talk, make_factory

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/logging.md").read_text()
NOT_FIELDS = {"event", "failure", "format", "level"}
ROW = re.compile(r"^\| `([a-z0-9_.]+)` \| ([a-z, ]+) \|([^|]*)\| [^|]+ \|$", re.MULTILINE)
SESSION = "*session*"
LEVELS = {"debug", "info", "warn", "error", "critical", "failure", "emit"}


def _constants(tree: ast.AST) -> dict[str, object]:
    return {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }


def _is_logged(call: ast.Call) -> bool:
    logger = getattr(call.func, "value", None)
    name = logger.id if isinstance(logger, ast.Name) else getattr(logger, "attr", "")
    return isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS and name in {"log", "_log"}


def _levels(call: ast.Call, tree: ast.AST) -> set[str]:
    """The levels that a call logs at. One in a variable is what was assigned to that last, in the lines before."""
    method = ast.unparse(call.func).rpartition(".")[2]
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    level = call.args[0] if method == "emit" else given.get("level")
    if level is None:
        return {"critical" if method == "failure" else method}
    if isinstance(level, ast.Name):
        assigned = [each for each in ast.walk(tree) if isinstance(each, ast.Assign) and each.lineno < call.lineno]
        level = max(
            (each for each in assigned if ast.unparse(each.targets[0]) == level.id), key=lambda each: each.lineno
        )
    return set(re.findall(r"LogLevel\.(\w+)", ast.unparse(level)))


@cache
def logged() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """The events that the package logs, each with its fields, and each with its levels; `SESSION` stands for what `facts` adds."""
    trees = [ast.parse(path.read_text()) for path in sorted((ROOT / "mailserver").rglob("*.py"))]
    constants = {name: value for tree in trees for name, value in _constants(tree).items()}
    fields: dict[str, set[str]] = defaultdict(set)
    levels: dict[str, set[str]] = defaultdict(set)
    calls = (
        (node, tree) for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_logged(node)
    )
    for call, tree in calls:
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        assert "event" in given, f"a line of the log without a name: {ast.unparse(call)}"
        name = given["event"]
        text = str(name.value if isinstance(name, ast.Constant) else constants[ast.unparse(name)])
        fields[text] |= {SESSION if field is None else field for field in given} - NOT_FIELDS
        levels[text] |= _levels(call, tree)
    return dict(fields), dict(levels)


def in_the_code() -> dict[str, set[str]]:
    return logged()[0]


def on_the_page() -> dict[str, set[str]]:
    return {
        name: {field.strip(" `") for field in fields.split(",") if field.strip()}
        for name, _level, fields in ROW.findall(PAGE)
    }


def test_the_page_names_the_levels_of_each_event() -> None:
    page = {name: set(levels.strip().split(", ")) for name, levels, _fields in ROW.findall(PAGE)}
    assert logged()[1] == page


def test_the_page_names_the_events_of_the_code() -> None:
    code, page = in_the_code(), on_the_page()
    assert len(code) > 30, "the search for events finds nothing any more"
    assert sorted(code) == sorted(page)


def test_the_page_names_the_fields_of_each_event() -> None:
    code, page = in_the_code(), on_the_page()
    assert {name: code[name] for name in code if code[name] != page.get(name)} == {
        name: page.get(name) for name in code if code[name] != page.get(name)
    }


def test_the_page_names_what_every_event_of_a_session_has() -> None:
    (line,) = re.findall(r"^\*session\* stands for (.*)\.$", PAGE, re.MULTILINE)
    assert re.findall(r"`([a-z]+)`", line) == list(Talk(make_factory()).server.facts())
