"""The users who move, and who may log in for them, in files: the table has a line each, ``name[:old name[:secret]]``.

The secret may have colons itself. Empty lines, and lines that begin with "#", do not count.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

TOLD: Final = 10
"""Wrong lines that are told: enough to see what is wrong with the file."""


@dataclass(frozen=True, slots=True)
class Row:
    """A user."""

    name: str
    """At the new server."""
    old_name: str
    """At the old server."""
    secret: str = field(default="", repr=False)
    """"": the table has none."""


@dataclass(frozen=True, slots=True)
class Master:
    """A user who may log in for others."""

    name: str
    secret: str = field(repr=False)


def read_table(path: Path) -> list[Row]:
    """The users, in their order. Errors: OSError; ValueError, whose text has a line for each wrong line of the file."""
    rows: dict[str, Row] = {}
    wrong = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip() or line.startswith(b"#"):
            continue
        row = _row(line.removesuffix(b"\r"))
        if isinstance(row, str):
            wrong.append(f"{path}:{number}: {row}")
        elif row.name in rows:
            wrong.append(f"{path}:{number}: {row.name} has a line already")
        else:
            rows[row.name] = row
    if wrong:
        raise ValueError("\n".join([f"{path}: {len(wrong)} lines are wrong", *wrong[:TOLD]]))
    return list(rows.values())


def read_master(path: Path) -> Master:
    """The master user of a file with one line, ``NAME:PASSWORD``. Errors: OSError, ValueError."""
    lines = path.read_bytes().splitlines()
    row = _row(lines[0].replace(b":", b"::", 1)) if len(lines) == 1 else ""
    if isinstance(row, str) or not row.secret:
        raise ValueError(f"{path}: it must have one line NAME:PASSWORD")
    return Master(row.name, row.secret)


def read_password(path: Path) -> str:
    """The password in a file with one line. Errors: OSError, ValueError."""
    lines = path.read_bytes().splitlines()
    try:
        password = lines[0].decode() if len(lines) == 1 else ""
    except UnicodeDecodeError:
        password = ""
    if not password:
        raise ValueError(f"{path}: it must have one line, the password, in UTF-8")
    return password


def _row(line: bytes) -> Row | str:
    """The user of a line, or what is wrong with it."""
    try:
        name, _, rest = line.decode().partition(":")
    except UnicodeDecodeError:
        return "it is not UTF-8"
    old_name, _, secret = rest.partition(":")
    return Row(name, old_name or name, secret) if name else "there is no name before the first colon"
