"""The kinds of sources, in one table: whose file it is, and which of ours becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

from mailserver.migration.users.converted import Converted
from mailserver.migration.users.courier_ldap import read_courier_ldap
from mailserver.migration.users.courier_sql import read_courier_sql
from mailserver.migration.users.courier_userdb import read_userdb
from mailserver.migration.users.cyrus import read_imapd_conf
from mailserver.migration.users.dovecot import read_dovecot
from mailserver.migration.users.dovecot_sql import read_sql
from mailserver.migration.users.dovecot_users import read_dovecot_users
from mailserver.migration.users.sasldb import read_sasldb
from mailserver.migration.users.texts import named, read_text

BECOMES: Final[Mapping[str, str]] = {
    "courier-ldap": "ldap",
    "courier-sql": "sql",
    "courier-userdb": "passwd-file",
    "cyrus": "settings",
    "dovecot": "settings",
    "dovecot-sql": "sql",
    "dovecot-users": "passwd-file",
    "sasldb": "passwd-file",
    "sql": "passwd-file",
}

TEXTS: Final[Mapping[str, Callable[[str, str], Converted]]] = {
    "courier-ldap": read_courier_ldap,
    "courier-sql": read_courier_sql,
    "cyrus": read_imapd_conf,
    "dovecot": read_dovecot,
    "dovecot-sql": read_sql,
}
"""The converters of one file of text, which they are given with its name."""


def convert(kind: str, path: str, realms: Collection[str] = (), scheme: str = "") -> Converted:
    """Convert a file of one of these kinds; "-" is standard input, if it is text. `realms` are for a sasldb, `scheme` is for dovecot-users.

    Errors: Unconvertible, NoProgram.
    """
    if kind == "sasldb":
        return read_sasldb(path, frozenset(realms))
    if kind == "courier-userdb":
        return read_userdb(path)
    if kind == "dovecot-users":
        return read_dovecot_users(read_text(path), scheme)
    return TEXTS[kind](read_text(path), named(path))
