"""Courier's userdb: a text file, or a directory of such, of lines ``name<tab>field=value|field=value`` (makeuserdb(8))."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from mailserver.migration.users.accounts import Account, passwd_file
from mailserver.migration.users.converted import Converted, Remark
from mailserver.migration.users.courier_secrets import courier_secret, no_pop3, quota_rule
from mailserver.migration.users.texts import named, read_text

SECRETS: Final = ("pop3pw", "systempw", "hmac-md5pw")
"""In Courier's order: that of the service, that of all, and last what only CRAM-MD5 uses there, while here it serves all."""

KNOWN: Final = frozenset(
    {*SECRETS, "home", "mail", "quota", "options", "uid", "gid", "gecos", "shell", "fullname", "_"}
)

OTHER_SECRETS: Final = re.compile(r"(?:imap|esmtp|webmail|hmac-\w+)pw")
"""Those of other services and digests, which POP3 never asked."""

NO_TEXT: Final = (
    "it is too big, or no text; of a userdb.dat or userdbshadow.dat, give the text that makeuserdb made it of: "
    "/etc/courier/userdb"
)


def read_userdb(path: str) -> Converted:
    """The users of a userdb. Errors: Unconvertible."""
    accounts: list[Account] = []
    remarks: list[Remark] = []
    for file in _files(Path(path)):
        for number, name, fields in _entries(file):
            told = f"{named(str(file))}:{number}: {name}"
            remarks += [Remark(told, text) for text in _told(fields)]
            accounts.append(_account(name, fields))
    return passwd_file(accounts, f"Users of {named(path)}.", remarks)


def _files(place: Path) -> list[Path]:
    """The files in makeuserdb's manner: all whose names do not begin with a dot. Errors: Unconvertible."""
    if place.is_dir():
        return sorted(each for each in place.rglob("[!.]*") if each.is_file() and not _hidden(each.relative_to(place)))
    return [place]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _entries(file: Path) -> Iterator[tuple[int, str, Mapping[str, str]]]:
    """The users of a file, with their lines. Errors: Unconvertible."""
    for number, line in enumerate(read_text(str(file), NO_TEXT).split("\n"), 1):
        name, tab, rest = line.partition("\t")
        if not tab or line.startswith("#") or name.endswith("="):  # "1000=<tab>alice" is the way back from a uid
            continue
        yield number, name, dict(_field(each) for each in rest.split("|"))


def _field(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key.strip(), value


def _account(name: str, fields: Mapping[str, str]) -> Account:
    secret, _ = _secret(fields)
    home = re.sub(r"/(?:\./)+", "/", fields.get("home", ""))
    extra = []
    if mail := fields.get("mail"):
        extra.append("userdb_mail=maildir:" + (mail if mail.startswith("/") else f"~/{mail.removeprefix('./')}"))
    if rule := quota_rule(fields.get("quota", "")):
        extra.append(f"userdb_quota_rule={rule}")
    if no_pop3(fields.get("options", "")):
        extra.append("disabled=yes")
    return Account(name, secret, home, extra)


def _secret(fields: Mapping[str, str]) -> tuple[str, str]:
    """The secret, and why there is none."""
    given = next((each for each in SECRETS if fields.get(each)), "")
    if not given:
        return "", "there is no password for POP3: the user cannot log in until one is set"
    if given == "hmac-md5pw":
        return f"{{CRAM-MD5}}{fields[given]}", ""
    return courier_secret(fields[given]), ""


def _told(fields: Mapping[str, str]) -> Iterator[str]:
    """What cannot be taken over of a user."""
    _, why = _secret(fields)
    if why:
        yield why
    if not fields.get("home"):
        yield "there is no home, which Courier needs, too: the maildrop must be named by the store's URL"
    if fields.get("quota") and not quota_rule(fields["quota"]):
        yield f"the quota {fields['quota'][:80]!a} is not understood: set userdb_quota_rule by hand"
    if no_pop3(fields.get("options", "")):
        yield "disablepop3: the user is written as disabled, for all protocols of this server"
    odd = [key for key in fields if key and key not in KNOWN and not OTHER_SECRETS.fullmatch(key)]
    if odd:
        yield f"no place here for {', '.join(ascii(key[:40])[1:-1] for key in sorted(odd))}"
