"""Dovecot's passdbs and userdbs as checkers of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from mailserver.migration.users.dovecot_conf import Block
from mailserver.migration.users.taking import Taking

ASK_DOVECOT: Final = "dovecot-auth:/run/dovecot/auth-client:userdb=/run/dovecot/auth-userdb"
"""The checker that serves whatever users Dovecot has, as long as its auth service runs (docs/users-dovecot.md)."""

SQL: Final = "sql:/etc/mailserver/sql.toml"
USERS: Final = "/etc/mailserver/users"


def take_checkers(taking: Taking) -> None:
    """``[auth]`` checkers, in Dovecot's order."""
    found: list[str] = []
    for passdb in taking.within("passdb"):
        kind = driver(passdb)
        about = f"passdb {kind}"
        if passdb.yes("deny"):
            taking.tell(
                about,
                "deny = yes: its users must not log in; give each `disabled=yes` in the new users' file or database",
            )
        elif passdb.yes("master"):
            taking.tell(
                about,
                "master = yes: name these users in auth.masters; they log in by PLAIN with an authorization identity, not by user*master",
            )
        else:
            found.append(KINDS.get(kind, _other)(passdb, taking, about))
            _restrictions(passdb, taking, about)
    if not found:
        taking.tell("passdb", "there is none that lets users in: write auth.checkers yourself")
    taking.put("auth", "checkers", list(dict.fromkeys(found)) or [ASK_DOVECOT])


def driver(block: Block) -> str:
    """The kind of a passdb or userdb: 2.4 has it as the block's label, unless a setting says it."""
    return block.get("driver", f"{block.name}_driver", default=block.label)


def arguments(block: Block) -> tuple[dict[str, str], str]:
    """2.3's ``args``: options, and the path that follows them."""
    options: dict[str, str] = {}
    words = block.get("args").split()
    while words and "=" in words[0] and not words[0].startswith("/"):
        key, _, value = words.pop(0).partition("=")
        options[key] = value
    return options, " ".join(words)


def _passwd_file(block: Block, taking: Taking, about: str) -> str:
    options, path = arguments(block)
    path = path or block.get("passwd_file_path", default=taking.get("passwd_file_path"))
    scheme = options.get("scheme", block.get("default_password_scheme", "passdb_default_password_scheme")).upper()
    if "%" in path:
        taking.tell(
            about, f"{path}: a file for each domain is a checker for each: passwd-file:/path:domain=example.org"
        )
        return f"passwd-file:{USERS}"
    if re.search(r"%n|\| *username", options.get("username_format", block.get("auth_username_format"))):
        taking.tell(about, f"{path} has names without domains: name the domains in names.local_domains")
    if scheme not in ("", "CRYPT"):
        command = f"mailserver migrate users dovecot-users {path} --scheme {scheme} --output {USERS}"
        taking.tell(about, f"its secrets without a {{SCHEME}} are {scheme}: {command}")
        return f"passwd-file:{USERS}"
    return f"passwd-file:{path}"


def _sql(block: Block, taking: Taking, about: str) -> str:
    _, path = arguments(block)
    source = path or "- (what `doveconf -nP` prints)"
    taking.tell(
        about, f"its statements: mailserver migrate users dovecot-sql {source} --output {SQL.removeprefix('sql:')}"
    )
    return SQL


def _pam(_: Block, taking: Taking, about: str) -> str:
    taking.tell(
        about,
        "system users: etc/pam.d/mailserver goes to /etc/pam.d; one user owns all maildrops here (docs/users-pam.md)",
    )
    return "pam:mailserver"


def _static(_: Block, taking: Taking, about: str) -> str:
    taking.tell(about, "one password, or none, for everybody: this has no place here; write a passwd-file")
    return f"passwd-file:{USERS}"


def _ldap(block: Block, taking: Taking, about: str) -> str:
    taking.tell(
        about,
        f"{arguments(block)[1] or 'its settings'}: write ldap.toml by docs/users-ldap.md; until then Dovecot's auth service is asked (docs/users-dovecot.md)",
    )
    return ASK_DOVECOT


def _other(_: Block, taking: Taking, about: str) -> str:
    taking.tell(
        about,
        "this kind has no place here; Dovecot's auth service is asked, which must go on running (docs/users-dovecot.md)",
    )
    return ASK_DOVECOT


KINDS: Final[Mapping[str, Callable[[Block, Taking, str], str]]] = {
    "passwd-file": _passwd_file,
    "sql": _sql,
    "ldap": _ldap,
    "pam": _pam,
    "passwd": _pam,
    "shadow": _pam,
    "bsdauth": _pam,
    "static": _static,
}

_HARMLESS: Final = frozenset(
    {
        "args",
        "driver",
        "deny",
        "master",
        "name",
        "default_password_scheme",
        "passwd_file_path",
        "query",
        "auth_username_format",
    }
)


def _restrictions(block: Block, taking: Taking, about: str) -> None:
    """What decides who may log in beside the password."""
    for name in sorted({key.removeprefix("passdb_") for key in block.values} - _HARMLESS - {"sql_query"}):
        if re.search("result|skip|override|default_fields|fields|mechanisms|username_filter|pass", name):
            taking.tell(
                about, f"{name} has no place here: see whether it lets in, or keeps out, other users than the rest"
            )
    for inner in block.blocks:
        taking.tell(about, f"its block {inner.name} has no place here: see whether it keeps users out")


def take_homes(taking: Taking) -> tuple[str, str]:
    """Where homes are, in Dovecot's notation, and the user of all maildrops; "": the users' own lines or rows say it."""
    home, uid = "", taking.get("mail_uid")
    for userdb in taking.within("userdb"):
        kind = driver(userdb)
        if kind == "static":
            given, _ = arguments(userdb)
            for block in userdb.within("fields"):
                given |= block.values
            home, uid = given.get("home", home), given.get("uid", uid)
        elif kind == "passwd":
            taking.tell(
                "userdb passwd", "each system user owns his mail there; here one user owns all maildrops: chown them"
            )
        elif kind not in ("passwd-file", "sql", "prefetch", "ldap"):
            taking.tell(f"userdb {kind}", "this kind has no place here: homes come from the checkers in auth.checkers")
    return home or taking.get("mail_home"), uid
