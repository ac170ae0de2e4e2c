"""Dovecot's columns of passdbs and userdbs, and what they are in our statements."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from mailserver.migration.users.queries import Column, Kind, Made, joined
from mailserver.sizes import octets

SAME: Final = {
    "password": "password",
    "allow_nets": "allow_nets",
    "home": "home",
    "mail_home": "home",
    "mail": "mail",
    "mail_location": "mail",
}
"""By Dovecot's name without ``userdb_`` ours."""

DROPPED: Final = frozenset(
    {
        "uid",
        "gid",
        "system_groups_user",
        "nodelay",
        "quota_warning",
        "mailbox_format",
        "mail_driver",
    }
)
"""What has no effect here and restricts nobody: one system user owns all maildrops."""

DENYING: Final = frozenset({"nologin", "fail", "proxy", "proxy_maybe", "host"})
"""Whatever they hold but NULL, the user's mail is not served here."""

DECIDING: Final = frozenset(
    {"nopassword", "noauthenticate", "allow_real_nets", "delay_until", "login_user", "passdb_import"}
    | {"check_client_fp", "check_client_cert_fp", "check_client_pubkey_fp", "password_noscheme"}
)
"""What else decides in a passdb's answer who gets in, and by which secret, and has no place here."""

_STRING: Final = r"'([^']*)'"
_CONCAT: Final = re.compile(
    rf"CONCAT\s*\(\s*{_STRING}\s*,\s*(.+?)\s*(?:,\s*{_STRING}\s*)?\)", re.IGNORECASE | re.DOTALL
)
_BARS: Final = re.compile(rf"{_STRING}\s*\|\|\s*(.+?)\s*(?:\|\|\s*{_STRING})?", re.DOTALL)
_RULE: Final = re.compile(r"\*:(storage|bytes|messages)=")


def translate(columns: Sequence[Column], kind: Kind, *, userdb: bool) -> Made:
    """Columns of ours. In a passdb's answer only those that begin with ``userdb_`` are a userdb's."""
    made = Made()
    names = {each.name: each.text for each in columns}
    if user := _user(names, kind):
        made.columns["user"] = user
    for column in columns:
        name = column.name.removeprefix("userdb_")
        if name in ("user", "username", "domain") or (name in DROPPED):
            continue
        prefixed = name != column.name
        if not (userdb or prefixed or name in ("password", "allow_nets") or name in DENYING | DECIDING):
            made.told.append(f"the column {column.name} has no effect in a passdb there, and is left out")
        elif name in SAME:
            made.columns[SAME[name]] = column.text
        else:
            _other(made, Column(name, column.text))
    return made


def _user(names: dict[str, str], kind: Kind) -> str:
    if "user" in names:
        return names["user"]
    if "username" in names and "domain" in names:
        return joined((names["username"], "'@'", names["domain"]), kind)
    return names.get("username", "")


def _other(made: Made, column: Column) -> None:
    if column.name in DENYING:
        before = made.columns.get("disabled", "NULL")
        made.columns["disabled"] = f"CASE WHEN ({column.text}) IS NULL THEN {before} ELSE '{column.name}' END"
        made.told.append(f"{column.name}: who has it is refused here, too, as disabled")
    elif re.fullmatch(r"quota_rule|quota_storage_size|quota_message_count|quota_bytes", column.name):
        quota = _quota(column)
        if quota is None:
            made.told.append(
                f"the column {column.name} is not understood: add the quota in octets AS quota, a whole number"
            )
        else:
            made.columns[quota[0]] = quota[1]
    elif column.name == "pop3_uidl_format":
        made.told.append(
            "pop3_uidl_format: here all users have one format (store.former); those with another one download their mail again"
        )
    elif re.fullmatch(r"quota_rule\d+", column.name):
        made.told.append(f"{column.name}: rules for single folders have no effect here")
    else:
        made.columns[column.name] = column.text
        made.told.append(
            f"the column {column.name} means nothing here and may restrict users: the server does not start with it; take it out, or name it anew"
        )


def _quota(column: Column) -> tuple[str, str] | None:
    """The quota as octets or messages."""
    if column.name == "quota_message_count":
        return "quota_messages", column.text
    match = _CONCAT.fullmatch(column.text) or _BARS.fullmatch(column.text)
    if column.name in ("quota_storage_size", "quota_bytes"):
        return ("quota", column.text) if re.fullmatch(r"[\w.`\"]+", column.text) else None
    rule = _RULE.fullmatch(match[1]) if match else None
    if match is None or rule is None:
        return None
    if rule[1] == "messages":
        return ("quota_messages", match[2]) if not match[3] else None
    factor = octets(f"1 {match[3] or ''}", 1024 if rule[1] == "storage" else 1)
    if factor is None:
        return None
    return "quota", match[2] if factor == 1 else f"{_grouped(match[2])} * {factor}"


def _grouped(text: str) -> str:
    return text if re.fullmatch(r"[\w.`\"]+", text) else f"({text})"
