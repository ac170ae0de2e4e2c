"""Users as lines of our passwd-file (docs/authentication.md)."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from mailserver.migration.users.converted import MASK, Converted, Remark
from mailserver.names import user_name

_PREFIX: Final = re.compile(r"\{([A-Za-z0-9.-]{1,40})\}(.*)", re.DOTALL)

_BARE: Final = re.compile(r"[!-9;-~]+")
"""A secret that may stand in a line as it is: ``:`` ends a field, and blanks at its end would be lost."""

_CLEAR: Final = frozenset({"PLAIN", "CLEAR", "CLEARTEXT"})


@dataclass(frozen=True, slots=True)
class Account:
    """A user."""

    name: str
    secret: str = field(default="", repr=False)
    """With its ``{SCHEME}``; "": the user has no password that we can verify."""
    home: str = ""
    extra: Sequence[str] = ()
    """Words such as ``userdb_mail=maildir:/path``."""
    secrets: Sequence[str] = field(default=(), repr=False)
    """Words such as ``app_password=phone:::{SCHEME}secret``."""


def passwd_file(accounts: Iterable[Account], head: str, remarks: Sequence[Remark] = ()) -> Converted:
    """The file. A user whom no line can hold, or who is there already, is left out and told."""
    lines: list[str] = []
    masked: list[str] = []
    told = list(remarks)
    seen: set[str] = set()
    for account in accounts:
        if why := "an earlier one has this name, which stays" if account.name in seen else _misfit(account):
            told.append(Remark(printable(account.name), f"left out: {why}"))
            continue
        seen.add(account.name)
        lines.append(_line(account, in_line(account.secret), account.secrets))
        masked.append(_line(account, hidden(account.secret), [_hidden_app(word) for word in account.secrets]))
    top = "".join(f"# {line}\n" for line in head.splitlines())
    return Converted(top + "".join(lines), top + "".join(masked), told)


def plain(password: bytes) -> str:
    """The secret of a password in clear."""
    text = password.decode("utf-8", "surrogateescape")
    if _BARE.fullmatch(text):
        return f"{{PLAIN}}{text}"
    return f"{{PLAIN.b64}}{b64encode(password).decode('ascii')}"


def in_line(secret: str) -> str:
    """A secret as it can stand in a line: a password in base64, where a ``:`` or a blank would end it or be lost."""
    match = _PREFIX.fullmatch(secret)
    if match is None or match[1].upper() not in _CLEAR or not match[2] or _BARE.fullmatch(match[2]):
        return secret
    return f"{{{match[1]}.b64}}{b64encode(match[2].encode('utf-8', 'surrogateescape')).decode('ascii')}"


def hidden(secret: str) -> str:
    """The scheme alone, which is no secret."""
    match = _PREFIX.fullmatch(secret)
    return f"{{{match[1]}}}{MASK}" if match else MASK * bool(secret)


def _hidden_app(word: str) -> str:
    return ":".join([*word.split(":", 3)[:3], MASK])


def _line(account: Account, secret: str, secrets: Sequence[str]) -> str:
    fields = [account.name, secret, "", "", "", account.home, "", " ".join([*account.extra, *secrets])]
    return ":".join(fields[:2] if not any(fields[2:]) else fields).rstrip(":") + "\n"


def _misfit(account: Account) -> str:
    """Why no line can hold the user; "": one can."""
    if not account.name or ":" in account.name or account.name.startswith("#"):
        return "no line of the file can hold this name: a user needs another one"
    if user_name(account.name.encode("utf-8", "surrogateescape")) != account.name:
        return "it is no name by which somebody can log in (control characters, blanks at its ends, or not UTF-8)"
    if re.search(r"[:\s]", in_line(account.secret)):
        return "its secret has a character that no secret of this scheme has: give the user a new password"
    if any(each in account.home for each in ":\n\r"):
        return 'its home has a ":" or a line\'s end: rename the directory'
    if any(re.search(r"\s", word) for word in (*account.extra, *account.secrets)):
        return "a field of its line would have a blank, such as that of its mail location: rename the directory"
    return ""


def printable(name: str) -> str:
    """A name, or what is said of one, without what would steer a terminal."""
    return name if name.isprintable() else ascii(name)[1:-1]
