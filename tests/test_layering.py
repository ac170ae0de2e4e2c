"""Imports point down only (docs/architecture.md): the package is read, not imported."""

import ast
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mailserver"

BASE = {
    "interfaces",
    "limits",
    "counts",
    "exchange",
    "errors",
    "refusals",
    "body",
    "incoming",
    "foresight",
    "forwarding",
    "upkeep",
    "smtp_errors",
    "credentials",
    "snapshot",
    "saslprep",
    "names",
    "wireform",
    "envelope",
    "modules",
    "plugged",
    "reasons",
    "pool",
    "threads",
    "answers",
    "asker",
    "toml",
    "watched",
    "toml_text",
    "uidl_format",
    "sizes",
}
"""The ground: whoever stands on it may import all of it. A file of it imports no folder."""

MAY_IMPORT = {
    "clock": set(),
    "pam": set(),
    "protocol": set(),
    "sasl": set(),
    "tls": set(),
    "auth": {"pam"},
    "store": set(),
    "delivery": set(),
    "migration": set(),
    "net": {"protocol", "sasl", "tls"},
    "config": {"store"},
    "control": set(),
    "web": {"net"},
    "service": {"", "clock", "net", "tls", "auth", "store", "delivery", "config", "control", "web"},
    "cli": {"", "auth", "clock", "config", "control", "delivery", "migration", "service", "store"},
    "__main__": {"cli"},
    "demo": {"auth", "tls", "config"},
    "testing": {"auth", "clock", "net", "protocol", "store", "tls"},
}
"""The arrows from a folder to others, the lowest floor first ("" is the package itself, with the version): the pure parts, the parts, the settings, the service, programs.
`clock` is for whoever owns a reactor; `pam` is a program of its own, with rights that nobody else has. net/ and auth/ and store/ meet in the base alone."""

OF_EVERY_KIND = {"auth/passwd/extra_fields.py"}
"""What of one kind of users others may use: they have Dovecot's fields and networks in its form, too."""

OF_ONE_PROTOCOL = {
    "__init__",
    "compat",
    "kpop",
    "lmtp",
    "lmtp_listener",
    "lmtp_story",
    "pop3",
    "pop3_listener",
    "probing",
    "stamp",
    "story",
}
"""What of net/ is for one protocol, POP3, KPOP or LMTP; the others are for any port, and know only how a body is written."""

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
    """Every module that is imported anywhere in the file, for type checking or inside of functions too.

    Where a name is imported from a module or a package, both are given: the name may be a module.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def files(path):
    """The files of the package that this one names in its imports. What Python loads with them, packages, is not meant."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {file_of(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {file_of(f"{node.module}.{alias.name}") or file_of(node.module) for alias in node.names}
    return found - {None}


def file_of(name):
    """The file of a module; None for a name within a module, and for other packages' modules."""
    path = PACKAGE.parent.joinpath(*name.split("."))
    found = (each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file())
    return next(found, None) if name.split(".")[0] == PACKAGE.name else None


def part(path):
    """The first level of a module within the package."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def named(path):
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", modules(), ids=named)
def test_no_arrow_points_up_or_sideways(path):
    own = part(path)
    targets = {part(file) for file in files(path)} - {own}
    assert targets <= MAY_IMPORT.get(own, set()) | (set() if own in {"", "clock"} else BASE)


def test_each_arrow_that_is_allowed_is_there_and_points_down():
    arrows = {own: set() for own in MAY_IMPORT}
    for path in modules():
        if part(path) in MAY_IMPORT:
            arrows[part(path)] |= {part(file) for file in files(path)} - BASE - {part(path)}
    assert arrows == MAY_IMPORT
    floors = ["", *MAY_IMPORT]
    assert all(floors.index(target) < floors.index(own) for own, targets in arrows.items() for target in targets)


def test_no_file_imports_another_in_a_circle():
    try:
        TopologicalSorter({path: files(path) for path in modules()}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(map(named, error.args[1])))


@pytest.mark.parametrize(
    "path", [path for path in modules() if part(path) == "net" and path.stem not in OF_ONE_PROTOCOL], ids=named
)
def test_what_is_for_any_port_knows_no_protocol(path):
    known = {named(file) for file in files(path)}
    assert not known & {f"net/{name}.py" for name in OF_ONE_PROTOCOL}
    of_all = {
        "protocol/wire.py",
        "protocol/overheard.py",
    }  # octets on the wire; how to hear the sessions of any protocol
    assert {name for name in known if name.startswith(("protocol/", "sasl/"))} <= of_all


@pytest.mark.parametrize("path", sorted((PACKAGE / "auth").glob("*/*.py")), ids=named)
def test_a_kind_of_users_knows_no_other_kind(path):
    others = {
        named(file) for file in files(path) if file.parent.parent == PACKAGE / "auth" and file.parent != path.parent
    }
    assert others <= OF_EVERY_KIND


@pytest.mark.parametrize("path", sorted((PACKAGE / "store").glob("*.py")), ids=named)
def test_what_is_for_any_store_knows_no_maildir(path):
    inside = {named(file) for file in files(path) if named(file).startswith("store/maildir/")}
    options = {"store/maildir/store.py", "store/maildir/template.py", "store/maildir/foreign/__init__.py"}
    assert inside <= (options if path.stem == "__init__" else set())


@pytest.mark.parametrize("path", [path for path in modules() if part(path) in {"protocol", "sasl"}], ids=named)
def test_the_protocols_never_touch_the_world(path):
    for name in imports(path):
        assert name.partition(".")[0] not in WORLD
        assert not name.startswith("twisted.internet")


@pytest.mark.parametrize("path", sorted((PACKAGE / "pam").glob("*.py")), ids=named)
def test_what_keeps_the_rights_imports_its_own_files_and_python(path):
    for name in imports(path):
        assert name.startswith("mailserver.pam.") or name.partition(".")[0] in sys.stdlib_module_names


def test_every_part_has_its_place():
    assert {part(path) for path in modules()} - {""} == MAY_IMPORT.keys() | BASE
