"""Imports point down only (docs/architecture.md): the package is read, not imported."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mailserver"

BASE = {
    "interfaces",
    "exchange",
    "errors",
    "credentials",
    "snapshot",
    "saslprep",
    "names",
    "envelope",
    "modules",
    "pool",
    "asker",
}
PURE = {"protocol", "sasl"}
PARTS = {"net", "tls", "auth", "store"}
MAY_IMPORT = {
    **dict.fromkeys(BASE, BASE),
    **dict.fromkeys(PURE, BASE | PURE),
    "auth": BASE | {"auth"},
    "store": BASE | {"store"},
    "tls": BASE | {"tls"},
    "net": BASE | PURE | {"net", "tls"},
    "config": BASE | {"store", "config"},
    "privileges": {"config"},
    "clock": set(),
    "service": BASE | PARTS | {"clock", "config", "service"},
    "cli": BASE | PURE | PARTS | {"clock", "config", "service", "cli"},
    "demo": BASE | PARTS | {"config", "demo"},
    "": frozenset(),
}

WORLD = {"asyncio", "io", "os", "pathlib", "random", "secrets", "select", "selectors", "signal", "socket", "ssl"} | {
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "uuid",
}
"""Modules that sleep, open, write, read a clock or draw a random number: the pure parts are given these things."""


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def imports(path):
    """Every module that is imported anywhere in the file, also inside of functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "mailserver")


def part(path):
    """The first level of a module within the package."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_arrow_points_up_or_sideways(path):
    targets = {name.split(".")[1] for name in imports(path) if name.startswith("mailserver.")}
    assert targets - MAY_IMPORT[part(path)] == set()


@pytest.mark.parametrize(
    "path", [path for path in modules() if part(path) in PURE], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_the_protocols_never_touch_the_world(path):
    for name in imports(path):
        assert name.partition(".")[0] not in WORLD
        assert not name.startswith("twisted.internet")


def test_every_part_has_its_place():
    assert {part(path) for path in modules()} <= MAY_IMPORT.keys()
