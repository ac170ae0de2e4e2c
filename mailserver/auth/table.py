"""The text of a passwd-file, Dovecot's format: ``name:{SCHEME}secret:uid:gid:gecos:home:shell:extra``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network

from mailserver.auth.schemes import SchemeError, Secret, read_secret
from mailserver.interfaces import User
from mailserver.names import user_name

Networks = tuple[IPv4Network | IPv6Network, ...]

KNOWN_FIELDS = frozenset({"nopassword", "allow_nets", "userdb_mail", "userdb_quota_rule"})
"""Of the extra fields. The quota rule is for deliveries: a maildrop that is only read cannot outgrow it."""

FORBIDDING = ("nologin", "noauthenticate", "allow_real_nets")
"""Extra fields of Dovecot's that let fewer in. Who is not known to pass is kept out."""

LOCAL = (ip_network("127.0.0.1"), ip_network("::1"))
"""What ``local`` in ``allow_nets`` means: the realm counts a Unix socket as these two addresses."""

NOWHERE = (ip_network("255.255.255.255"),)
"""No connection comes from there: he is kept out whatever he proves himself with."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line that names a user."""

    user: User
    secret: Secret | None = None
    """None: no password is right, since the stored one cannot serve; its note said why."""
    any_password: bool = False
    """``nopassword``: every password is right."""


@dataclass(frozen=True, slots=True)
class Table:
    """The entries of one reading of a file. It is never changed: a new reading is a new table."""

    entries: Mapping[bytes, Entry] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()
    """What the operator should know of single lines: ``LINE: text``. Never any of a secret."""
    ignored: frozenset[str] = frozenset()
    """Fields that were given and serve nothing here."""
    decoy: Secret | None = None
    """What to verify an unknown user's password with: the file's commonest slow secret, if it has one."""
    schemes: frozenset[str] = frozenset()
    """The schemes of the secrets that can serve."""
    clear: bool = False
    """Whether some secret is the password itself, so that APOP can work."""


class LineError(Exception):
    """A line that is skipped; the text tells why, and holds nothing of the line."""


def read_table(data: bytes, domain: str = "") -> Table:
    """The table that the octets of a file describe. Lines that are broken are left out and noted, and raise nothing.

    With a `domain` its users are all of that one, whether their lines say so or not.
    """
    entries: dict[bytes, Entry] = {}
    notes: list[str] = []
    seen: set[bytes] = set()
    ignored: set[str] = set()
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip() or line.startswith(b"#"):
            continue
        fields = line.rstrip(b"\r").split(b":", 7) + [b""] * 7
        if domain and b"@" not in fields[0]:
            fields[0] += b"@" + domain.encode("utf-8")
        try:
            if fields[0] in seen:  # even a broken one: it may have restricted what this one would allow
                raise LineError("a line before it names the same user")
            seen.add(fields[0])
            entry, note = _read_entry(fields, ignored)
            if domain and not entry.user.name.endswith("@" + domain):
                raise LineError("it names a user of another domain than the file's")
        except LineError as error:
            notes.append(f"{number}: {error}; the line is skipped")
            continue
        entries[fields[0]] = entry
        if note:
            notes.append(f"{number}: {entry.user.name} cannot log in: {note}")
    secrets = [entry.secret for entry in entries.values() if entry.secret]
    return Table(
        entries,
        tuple(notes),
        frozenset(ignored),
        _decoy(secrets),
        frozenset(secret.scheme for secret in secrets),
        any(secret.clear is not None for secret in secrets),
    )


def _decoy(secrets: list[Secret]) -> Secret | None:
    slow = [secret for secret in secrets if secret.slow]
    if not slow:
        return secrets[0] if secrets else None
    cost, _ = Counter(secret.cost for secret in slow).most_common(1)[0]
    return next(secret for secret in slow if secret.cost == cost)


def _read_entry(fields: list[bytes], ignored: set[str]) -> tuple[Entry, str]:
    """The entry, and why its user cannot log in, or "". Errors: LineError."""
    name, stored, uid, gid, _gecos, home, _shell, extra = fields[:8]
    text = user_name(name)
    if text is None:
        raise LineError("it does not begin with a name that a user can have")
    if uid or gid:
        ignored.add("uid and gid")
    extras = _read_extra(extra, ignored)
    user = User(text, _text(home) or None, extras.get("userdb_mail") or None, _networks(extras))
    if forbidding := [key for key in FORBIDDING if key in extras]:
        return Entry(user), f"{forbidding[0]} keeps him out"
    if "nopassword" in extras:
        if stored:
            return Entry(user), "nopassword goes with an empty password only"
        return Entry(user, any_password=True), ""
    if not stored:
        return Entry(user), "there is no password"
    try:
        return Entry(user, read_secret(stored)), ""
    except SchemeError as error:
        return Entry(user), str(error)


def _read_extra(extra: bytes, ignored: set[str]) -> dict[str, str]:
    fields = {}
    for word in _text(extra).split():
        key, _, value = word.partition("=")
        if key in KNOWN_FIELDS or key in FORBIDDING:
            fields[key] = value
        elif re.fullmatch(r"[a-z0-9_]{1,40}|userdb_[\w/.+-]{1,80}", key, re.ASCII):
            ignored.add(key)
        else:
            raise LineError("its last field is not a list of NAME=VALUE")
    return fields


def _networks(extras: dict[str, str]) -> Networks:
    if not extras.keys().isdisjoint(FORBIDDING):
        return NOWHERE
    if "allow_nets" not in extras:
        return ()
    networks: Networks = ()
    for word in extras["allow_nets"].split(","):
        try:
            networks += LOCAL if word == "local" else (ip_network(word, strict=False),)
        except ValueError:  # the line goes, lest a slip of the pen opens the account to everybody
            raise LineError("its allow_nets is not a list of networks") from None
    return networks


def _text(octets: bytes) -> str:
    """UTF-8 whatever the locale, as the store makes paths of it again; other octets survive."""
    return octets.decode("utf-8", "surrogateescape")
