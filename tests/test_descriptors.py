"""Every descriptor that is opened is closed, whatever happens behind its opening."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import mailserver

OPENING = {"open", "fdopen", "dup", "pipe", "socket", "socketpair", "scandir", "memfd_create", "create_connection"}
MODULES = {"os", "io", "socket"}

FOR_LIFE = {
    *(("service/worker.py", name) for name in ("fdopen", "dup")),
    ("demo/user.py", "pipe"),
    *(("service/logpipe.py", name) for name in ("dup", "open", "socket")),
    ("pam/keeper.py", "socket"),
    ("auth/pam/line.py", "socketpair"),
    ("service/succession.py", "open"),
    ("migration/troubles.py", "open"),
}
"""Opened once, and used for as long as the process lives: its log, a move's --log, the demonstration's pipe to its child, the lines to PAM, and twistd's pidfile."""

SOURCES = sorted(Path(mailserver.__file__).parent.rglob("*.py"))


def is_opening(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    if isinstance(called, ast.Name):
        return called.id == "open"
    return (
        isinstance(called, ast.Attribute)
        and called.attr in OPENING
        and (
            (isinstance(called.value, ast.Name) and called.value.id in MODULES)
            or (isinstance(called.value, ast.Call) and getattr(called.value.func, "id", "") == "Path")
        )
    )


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)


def closes(statement: ast.AST) -> bool:
    """A try whose finally, or whose handler of everything, closes."""
    if not isinstance(statement, ast.Try):
        return False
    bodies = [statement.finalbody]
    bodies += [each.body for each in statement.handlers if each.type and ast.unparse(each.type) == "BaseException"]
    return any("close(" in ast.unparse(line) for body in bodies for line in body)


def is_guarded(statement: ast.stmt, follower: ast.stmt | None, call: ast.Call) -> bool:
    """It is closed at once, or by a with, or by the try that follows; or a return hands it on."""
    if isinstance(statement, ast.Return):
        return statement.value is call
    if isinstance(statement, ast.Expr):
        return ast.unparse(statement.value) == f"{ast.unparse(call)}.close()"
    if isinstance(statement, ast.With):
        return any(item.context_expr is call for item in statement.items)
    return isinstance(statement, ast.Assign) and follower is not None and closes(follower)


def openings(tree: ast.AST) -> Iterator[tuple[ast.Call, bool]]:
    """The calls that open something, and whether what they open is closed in any case."""
    for parent in ast.walk(tree):
        for body in (getattr(parent, name, None) for name in ("body", "orelse", "finalbody")):
            if not isinstance(body, list):
                continue
            for statement, follower in zip(body, [*body[1:], None], strict=False):
                yield from of_statement(parent, statement, follower)


def of_statement(parent: ast.AST, statement: ast.stmt, follower: ast.stmt | None) -> Iterator[tuple[ast.Call, bool]]:
    blocks = ("body", "orelse", "finalbody", "handlers")
    for name, value in ast.iter_fields(statement):
        if name in blocks:
            continue
        for part in value if isinstance(value, list) else [value]:
            for node in ast.walk(part) if isinstance(part, ast.AST) else ():
                if is_opening(node):
                    assert isinstance(node, ast.Call)
                    yield node, is_guarded(statement, follower or getattr(parent, "follower", None), node)


def followed(tree: ast.AST) -> ast.AST:
    """The tree, in which a try knows what follows it: an opening that is all of its body is closed by that."""
    for parent in ast.walk(tree):
        for body in (getattr(parent, name, None) for name in ("body", "orelse", "finalbody")):
            if isinstance(body, list):
                for statement, follower in pairwise(body):
                    if isinstance(statement, ast.Try):
                        statement.follower = follower  # type: ignore[attr-defined]
    return tree


def unguarded(source: str, file: str = "") -> list[str]:
    found = openings(followed(ast.parse(source)))
    return [
        f"{file}:{call.lineno} {ast.unparse(call)}"
        for call, guarded in found
        if not guarded and (file, name_of(call)) not in FOR_LIFE
    ]


def test_each_opening_is_closed_whatever_happens_behind_it() -> None:
    folder = Path(mailserver.__file__).parent
    assert [
        line for path in SOURCES for line in unguarded(path.read_text("utf-8"), str(path.relative_to(folder)))
    ] == []


def test_the_rule_knows_a_leak() -> None:
    leaks = [
        "def f(p):\n  with os.fdopen(os.open(p, 0)) as file:\n    pass",
        "def f(p):\n  d = os.open(p, 0)\n  status = os.fstat(d)\n  os.close(d)",
        "def f(p):\n  d = os.open(p, 0)\n  try:\n    g(d)\n  except OSError:\n    os.close(d)\n    raise",
        "def f(p):\n  for e in os.scandir(p):\n    pass",
        "def f(p):\n  return g(open(p))",
        "def f(p):\n  d = os.open(p, 0)\n  return g(d)",
    ]
    assert all(map(unguarded, leaks))
    sound = [
        "def f(p):\n  return os.open(p, 0)",
        "def f(p):\n  d = os.open(p, 0)\n  try:\n    yield d\n  finally:\n    os.close(d)",
        "def f(p):\n  try:\n    d = os.open(p, 0)\n  except OSError:\n    return 0\n  try:\n    g(d)\n  finally:\n    os.close(d)",
    ]
    assert not any(map(unguarded, sound))
