"""The kinds of sources, in one table: whose file it is, and which of ours becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mailserver.migration.users.converted import Converted
from mailserver.migration.users.courier_userdb import read_userdb
from mailserver.migration.users.sasldb import read_sasldb

BECOMES: Final[Mapping[str, str]] = {"courier-userdb": "passwd-file", "sasldb": "passwd-file"}


def convert(kind: str, path: str, realms: frozenset[str] = frozenset()) -> Converted:
    """Convert a file of one of these kinds. Errors: Unconvertible, NoProgram."""
    if kind == "sasldb":
        return read_sasldb(path, realms)
    return read_userdb(path)
