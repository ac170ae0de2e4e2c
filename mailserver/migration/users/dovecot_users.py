"""A passwd-file of Dovecot's as ours, which has the same form: what differs is the scheme of secrets that name none, and what is verified here."""

from __future__ import annotations

import re
from typing import Final

from mailserver.migration.users.accounts import hidden
from mailserver.migration.users.converted import MASK, Converted, Remark

SAME_AS: Final = {"HMAC-MD5": "CRAM-MD5"}
"""Dovecot's other names of schemes."""

OWN_FORMAT: Final = (
    "userdb_pop3_uidl_format: here all users have one format (store.former), so this one may download the mail again"
)

_SECRET: Final = re.compile(r"\{([A-Za-z0-9-]+)(\.[A-Za-z0-9]+)?\}(.*)", re.DOTALL)
_PWDFILE: Final = re.compile(r"[^{$].*\[\d\d\]", re.DOTALL)


def read_dovecot_users(text: str, scheme: str = "") -> Converted:
    """The file with each line as it is there, but for the secret. `scheme` is that of secrets without one; "": CRYPT."""
    lines: list[str] = []
    remarks: list[Remark] = []
    shown: list[str] = []
    for line in text.split("\n"):
        name, colon, rest = line.partition(":")
        if line.startswith("#") or not colon:
            lines.append(line)
            shown.append(_shown(line))
            continue
        stored, *more = rest.split(":", 1)
        if more and "userdb_pop3_uidl_format=" in more[0]:
            remarks.append(Remark(name, OWN_FORMAT))
        secret = _secret(stored, scheme)
        lines.append(":".join([name, secret, *more]))
        shown.append(":".join([name, hidden(secret), *(_without_apps(each) for each in more)]))
    return Converted("\n".join(lines), "\n".join(shown), remarks)


def _shown(line: str) -> str:
    """A line that is no user, but may have been one: commented out, or broken."""
    if not line.strip() or (line.startswith("#") and ":" not in line):
        return line
    return "#" * line.startswith("#") + MASK


def _secret(stored: str, scheme: str) -> str:
    match = _SECRET.fullmatch(stored)
    if match:
        name = SAME_AS.get(match[1].upper())
        return f"{{{name}{match[2] or ''}}}{match[3]}" if name else stored
    if stored and scheme and scheme.upper() != "CRYPT" and not _PWDFILE.fullmatch(stored):
        return f"{{{scheme}}}{stored}"
    return stored


def _without_apps(text: str) -> str:
    """The fields behind the secret, where passwords for proxies, those of apps, and keys may stand."""
    return re.sub(r"(\b(?!nopassword)\w*(?:pass|key|secret|token)\w*=)\S+", rf"\1{MASK}", text)
