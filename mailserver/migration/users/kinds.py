"""The kinds of sources, in one table: whose file it is, and which of ours becomes of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from mailserver.migration.users.converted import Converted, Unconvertible
from mailserver.migration.users.courier_userdb import read_userdb
from mailserver.migration.users.dovecot_sql import read_sql
from mailserver.migration.users.sasldb import read_sasldb

MAX_OCTETS: Final = 1 << 28
"""A passwd-file of a million users is a third of it."""

BECOMES: Final[Mapping[str, str]] = {
    "courier-userdb": "passwd-file",
    "dovecot-sql": "sql",
    "sasldb": "passwd-file",
}

TEXTS: Final[Mapping[str, Callable[[str, str], Converted]]] = {"dovecot-sql": read_sql}
"""The converters of one file of text, which they are given with its name."""


def convert(kind: str, path: str, realms: frozenset[str] = frozenset()) -> Converted:
    """Convert a file of one of these kinds; "-" is standard input, if it is text. Errors: Unconvertible, NoProgram."""
    if kind == "sasldb":
        return read_sasldb(path, realms)
    if kind == "courier-userdb":
        return read_userdb(path)
    return TEXTS[kind](_text(path), "standard input" if path == "-" else path)


def _text(path: str) -> str:
    try:
        with sys.stdin.buffer if path == "-" else Path(path).open("rb") as file:
            data = file.read(MAX_OCTETS + 1)
    except OSError as error:
        raise Unconvertible(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_OCTETS or b"\0" in data:
        raise Unconvertible(f"{path}: it is no such file: it is too big, or no text")
    return data.decode("utf-8", "surrogateescape")
