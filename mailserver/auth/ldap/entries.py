"""What an entry says: the user's name, the state of the account, and what restricts it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from mailserver.auth.attributes import FALSE, TRUE, Row, read_entry, read_user
from mailserver.auth.entry import MAX_SECRETS, Entry, Stored
from mailserver.auth.ldap.messages import Entry as Found
from mailserver.auth.ldap.messages import Result
from mailserver.auth.ldap.settings import ATTRIBUTES, LdapSettings
from mailserver.auth.passwd.extra_fields import NOWHERE
from mailserver.auth.secret import SchemeError
from mailserver.interfaces import User
from mailserver.names import Names, user_name

LISTS: Final = frozenset({"allow_nets", "listeners"})
"""What may have several values; of anything else two would contradict each other."""

OF_APP_PASSWORDS: Final = ("listeners", "expires")
"""What may restrict an app password."""

SECRETS: Final = frozenset({"password", "app_passwords"})

CONTROL: Final = "userAccountControl"
EXPIRES: Final = "accountExpires"
CHANGED: Final = ("pwdChangedTime", "pwdLastSet")
"""When the password was changed, in OpenLDAP and in Active Directory."""

_DISABLED: Final = 0x2
_NEVER: Final = (0, 0x7FFFFFFFFFFFFFFF)
_FILETIME_EPOCH: Final = 11_644_473_600
"""Seconds from 1601, where Active Directory's time begins, to 1970."""

_ACTIVE: Final = frozenset({"active", "enabled", "nodisable"})
"""The words of mail servers' schemas for an account that is not disabled."""

DIAGNOSTICS: Final = {
    "525": "unknown user",
    "52e": "wrong password",
    "530": "not at this time of the day",
    "531": "not from this workstation",
    "532": "the password has expired",
    "533": "the account is disabled",
    "701": "the account has expired",
    "773": "the password must be changed",
    "775": "the account is locked after too many wrong passwords",
}
"""Why Active Directory refuses a bind: the code behind "data" in its diagnostic message, a Windows error in hexadecimal."""


def attributes(settings: LdapSettings, *, secrets: bool) -> list[str]:
    """The attributes to ask for. Secrets are asked for only where they are compared here."""
    wanted = [settings.attribute(what) for what in ATTRIBUTES if secrets or what not in SECRETS]
    if settings.kind == "active-directory":
        wanted += [CONTROL, EXPIRES]
    if settings.remembers:
        wanted += CHANGED
    return list(dict.fromkeys(filter(None, wanted))) or ["1.1"]  # RFC 4511 section 4.5.1.8: none


def misnamed(found: Found, asked: Iterable[str]) -> str:
    """The attribute of an entry that was asked for by another name, such as its OID, by which nobody would see it; "": none.

    A directory answers in its own names, so a restriction under an alias would look like none.
    """
    names = {each.lower() for each in asked}
    strange = [each for each in found.attributes if each not in names and each.partition(";")[0] not in names]
    return strange[0] if strange and not names <= found.attributes.keys() else ""


def spelled(settings: LdapSettings, found: Found, typed: str, naming: Names) -> tuple[str | None, str]:
    """The user's name; None, with the reason, if the entry is that of another name.

    A directory compares without regard to capitals, widths and some spaces. Here they matter, or else one user would have
    many names, and as many maildrops and guesses.
    """
    attribute = settings.attribute("user")
    if not attribute:
        folded = " ".join(unicodedata.normalize("NFKC", typed).casefold().split())
        return (typed, "") if folded == typed else (None, "the directory has it in lower case")
    names = list(texts(found.values(attribute)))
    if typed in names or typed in {naming.read(each) for each in names}:
        return typed, ""
    same = [each for each in names if _folded(each) == _folded(typed)]
    if same:
        return None, f'{same[0][:80]!a} is known; capitals matter unless names.case is "lower"'
    if len(names) != 1:
        return None, f"its entry has {'several values' if names else 'no value'} of {attribute}"
    return naming.read(names[0]), "its entry has a name that no user can have"


def _folded(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def texts(values: Iterable[bytes]) -> Iterable[str]:
    """The values that can be names of users."""
    return (text for text in map(user_name, values) if text is not None)


def read_found(settings: LdapSettings, found: Found, name: str, now: float) -> User:
    """The user of an entry."""
    row, denied = _row(settings, found)
    return _denied(read_user(name, row), denied or state(settings, found, now))


def read_secrets(settings: LdapSettings, found: Found, name: str, now: float) -> Entry:
    """The user with all secrets: each value of the password, and app passwords."""
    row, denied = _row(settings, found)
    denied = denied or state(settings, found, now)
    if denied:
        return Entry(_denied(read_user(name, row), denied), trouble=denied)
    scheme = settings.password_scheme
    trouble, apps = "", []
    for each in _values(settings, found, "app_passwords"):
        try:
            apps.append(_app(each))
        except SchemeError as error:
            trouble = f"an app password cannot be used: {error}"
    own = _values(settings, found, "password") or (None,)
    read = [read_entry(name, {**row, "password": each}, (), scheme) for each in own]
    first = next((each for each in read if each.secret is not None), read[0])
    others = [Stored(each.secret, each.user) for each in read if each is not first and each.secret is not None]
    others += read_entry(name, row, apps, scheme).others
    return replace(first, trouble=first.trouble or trouble, others=tuple(others[: MAX_SECRETS - 1]))


def _denied(user: User, why: str) -> User:
    return replace(user, denied=why, networks=NOWHERE) if why else user


def _values(settings: LdapSettings, found: Found, what: str) -> Sequence[bytes]:
    attribute = settings.attribute(what)
    return found.values(attribute) if attribute else ()


def _row(settings: LdapSettings, found: Found) -> tuple[Row, str]:
    """The values by what they are for, and why the user may not log in ("": nothing of it)."""
    row: dict[str, bytes | None] = {}
    denied = ""
    for what in ATTRIBUTES:
        values = () if what in SECRETS or what in ("user", "disabled") else _values(settings, found, what)
        if len(values) > 1 and what not in LISTS:
            denied = denied or f"{settings.attribute(what)} has several values"
        elif values:
            row[what] = b",".join(values)
    return row, denied


def _app(value: bytes) -> Row:
    """``phone listeners=pop3s expires=2027-01-31 {SSHA}...``: a name and what restricts it, before the hash.

    Errors: SchemeError, for a word that could be meant to restrict it.
    """
    words, brace, secret = value.partition(b"{")
    row: dict[str, bytes | None] = {"password": brace + secret, "name": b""}
    for word in words.split():
        key, equals, text = word.partition(b"=")
        if equals:
            what = key.decode("utf-8", "replace")
            if what not in OF_APP_PASSWORDS or what in row:
                raise SchemeError("before its hash only listeners= and expires= may stand with a =, once each")
            row[what] = text
        else:
            row["name"] = word if not row["name"] else b"%b %b" % (row["name"], word)
    return row


def state(settings: LdapSettings, found: Found, now: float) -> str:
    """Why the account may not be used; "": it may."""
    for value in _values(settings, found, "disabled"):
        word = value.decode("utf-8", "replace").strip().lower()
        if word not in FALSE and word not in _ACTIVE:
            return "disabled in the directory" + ("" if word in TRUE else f": {word[:80]!a}")
    if settings.kind != "active-directory":
        return ""
    try:
        control = int(next(iter(found.values(CONTROL)), b"0"))
        expires = int(next(iter(found.values(EXPIRES)), b"0"))
    except ValueError:
        return f"{CONTROL} or {EXPIRES} is no number"
    if control & _DISABLED:
        return "the account is disabled"
    return "" if expires in _NEVER or expires / 10_000_000 - _FILETIME_EPOCH > now else "the account has expired"


def version(found: Found) -> bytes:
    """What changes with the user's password, as far as it may be read."""
    return b"\0".join([found.dn.encode("utf-8"), *(value for name in CHANGED for value in found.values(name))])


def why_refused(result: Result) -> str:
    """Why the directory refused a password, as far as it says."""
    code = re.search(r"\bdata ([0-9a-f]+)\b", result.diagnostic)
    return DIAGNOSTICS.get(code[1], "wrong password") if code else "wrong password"
