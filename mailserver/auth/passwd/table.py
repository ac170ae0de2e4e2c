"""The text of a passwd-file, Dovecot's format: ``name:{SCHEME}secret:uid:gid:gecos:home:shell:extra``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mailserver.auth.passwd.extra_fields import Extra, read_extra
from mailserver.auth.schemes import CLEAR, Secret, read_secret
from mailserver.auth.scram_keys import DIGESTS
from mailserver.auth.secret import SchemeError
from mailserver.interfaces import User
from mailserver.names import PLAIN, Names, user_name

LINES_SHOWN = 5
"""Line numbers in one note: enough to see the pattern, and to find the rest by it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line that names a user."""

    user: User
    secret: Secret | None = None
    """None: no password is right, since the stored one cannot serve."""
    any_password: bool = False
    """``nopassword``: every password is right."""
    not_before: float = 0.0
    """``delay_until``: he may log in from then on, in seconds of the Unix epoch."""
    trouble: str = ""
    """Why no password is right."""


@dataclass(frozen=True, slots=True)
class Table:
    """The entries of one reading of a file. It is never changed: a new reading is a new table."""

    entries: Mapping[bytes, Entry] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()
    """What the operator should know: those who cannot log in, by reason, and single lines. Never any of a secret."""
    ignored: frozenset[str] = frozenset()
    """Fields that were given and serve nothing here."""
    decoy: Secret | None = None
    """What to verify an unknown user's password with: the file's commonest slow secret, if it has one."""
    schemes: frozenset[str] = frozenset()
    """The schemes of the secrets that can serve."""
    similar: Mapping[str, str] = field(default_factory=dict, repr=False)
    """A user by the casefolded name before his domain, for who typed another domain, or none."""
    users: int = 0
    """Those who have a secret that can serve."""
    able: Mapping[bytes, int] = field(default_factory=dict)
    """How many of them can use a mechanism that needs a secret of some kind; ``APOP`` is one of these."""

    @property
    def clear(self) -> bool:
        """Whether some secret is the password itself."""
        return not self.schemes.isdisjoint(CLEAR)


def abilities(secret: Secret) -> frozenset[bytes]:
    """The mechanisms that a stored secret can serve beside those that show the password; with ``APOP``."""
    if secret.scheme in CLEAR:
        return frozenset({b"APOP", b"CRAM-MD5", b"DIGEST-MD5", *DIGESTS})
    scheme = secret.scheme.encode("ascii")
    return frozenset({scheme}) if scheme in DIGESTS or scheme == b"CRAM-MD5" else frozenset()


class LineError(Exception):
    """A line that is skipped; the text tells why, and holds nothing of its secret."""


class _Line(NamedTuple):
    number: int
    entry: Entry
    written: bytes
    key: bytes
    remarks: tuple[str, ...]


def read_table(data: bytes, domain: str = "", names: Names = PLAIN) -> Table:
    """The table that the octets of a file describe. Lines that are broken are left out and noted, and raise nothing.

    Its names are read as `names` reads typed ones. With a `domain` its users are all of that one, whether their lines say
    so or not.
    """
    notes = _Notes()
    ignored: set[str] = set()
    lines: list[_Line] = []
    seen: set[bytes] = set()
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
            lines.append(_read_line(number, fields, names, ignored))
            if domain and not lines[-1].entry.user.name.endswith("@" + domain):
                del lines[-1]
                raise LineError("it names a user of another domain than the file's")
        except LineError as error:
            notes.skipped(number, str(error))
    entries = _entries(lines, seen, notes)
    return _table(entries, notes.told(len(lines)), frozenset(ignored))


def _entries(lines: Iterable[_Line], seen: set[bytes], notes: _Notes) -> dict[bytes, Entry]:
    """The entries by their names as they are read. Who is written as he is read comes before another spelling of him."""
    entries: dict[bytes, Entry] = {}
    for line in lines:
        name = line.entry.user.name
        if line.key != line.written and (line.key in seen or line.key in entries):
            notes.skipped(line.number, f"its name is read as {name!r}, whom another line names")
            continue
        entries[line.key] = line.entry
        if line.entry.trouble:
            notes.locked_out(line.number, name, line.entry.trouble)
        elif line.entry.user.unserved:
            notes.unserved(line.number, name, line.entry.user.unserved)
        for remark in line.remarks:
            notes.remark(line.number, name, remark)
    return entries


def _table(entries: dict[bytes, Entry], notes: tuple[str, ...], ignored: frozenset[str]) -> Table:
    secrets = [entry.secret for entry in entries.values() if entry.secret]
    similar: dict[str, str] = {}
    for entry in entries.values():
        name = entry.user.name
        similar.setdefault((name.rpartition("@")[0] or name).casefold(), name)
    return Table(
        entries,
        notes,
        ignored,
        _decoy(secrets),
        frozenset(secret.scheme for secret in secrets),
        similar,
        len(secrets),
        Counter(mechanism for secret in secrets for mechanism in abilities(secret)),
    )


def _decoy(secrets: list[Secret]) -> Secret | None:
    slow = [secret for secret in secrets if secret.slow]
    if not slow:
        return secrets[0] if secrets else None
    cost, _ = Counter(secret.cost for secret in slow).most_common(1)[0]
    return next(secret for secret in slow if secret.cost == cost)


def _read_line(number: int, fields: list[bytes], names: Names, ignored: set[str]) -> _Line:
    """What a line says. Errors: LineError."""
    name, stored, uid, gid, _gecos, home, _shell, words = fields[:8]
    text = user_name(name)
    if text is None:
        raise LineError("it does not begin with a name that a user can have")
    read = names.read(text)
    if read is None or not names.spells(text, read):
        raise LineError(f"nobody can log in by it: {text!r} is read as {read!r}")
    if uid or gid:
        ignored.add("uid and gid")
    extra = read_extra(_text(words), read)
    ignored |= extra.ignored
    user = User(
        read,
        _home(extra.home or _text(home)),
        extra.mail,
        extra.networks,
        barred=extra.barred,
        unserved=extra.unserved,
    )
    secret, trouble = _secret(stored, extra)
    remarks = extra.remarks if secret is None or not secret.weak else (*extra.remarks, secret.weak)
    entry = Entry(user, secret, extra.nopassword and not trouble, extra.not_before, trouble)
    return _Line(number, entry, name, read.encode("utf-8"), remarks)


def _secret(stored: bytes, extra: Extra) -> tuple[Secret | None, str]:
    """The secret, or why no password is right."""
    if extra.barred:
        return None, extra.barred
    if extra.nopassword:
        return None, "nopassword goes with an empty password only" if stored else ""
    if not stored:
        return None, "there is no password"
    try:
        return read_secret(stored), ""
    except SchemeError as error:
        return None, str(error)


def _home(text: str) -> str | None:
    """A home. ``/./`` is where Dovecot would change its root to: the same folder, for who does not."""
    return re.sub(r"/(?:\./)+", "/", text) or None


def _text(octets: bytes) -> str:
    """UTF-8 whatever the locale, as the store makes paths of it again; other octets survive."""
    return octets.decode("utf-8", "surrogateescape")


class _Notes:
    """What is wrong with lines, gathered by what it is: how many it hits comes first."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], list[tuple[int, str]]] = {}

    def skipped(self, number: int, why: str) -> None:
        self._add("skipped", why, number)

    def locked_out(self, number: int, name: str, why: str) -> None:
        self._add("cannot log in", why, number, name)

    def unserved(self, number: int, name: str, why: str) -> None:
        self._add("may log in, but find no maildrop", why, number, name)

    def remark(self, number: int, name: str, why: str) -> None:
        self._add("remark", why, number, name)

    def _add(self, kind: str, why: str, number: int, name: str = "") -> None:
        self._found.setdefault((kind, why), []).append((number, name))

    def told(self, users: int) -> tuple[str, ...]:
        """The notes: first those that hit most."""
        ordered = sorted(self._found.items(), key=lambda found: -len(found[1]))
        return tuple(_note(kind, why, hits, users) for (kind, why), hits in ordered)


def _note(kind: str, why: str, hits: list[tuple[int, str]], users: int) -> str:
    (number, name), count = hits[0], len(hits)
    if count == 1:
        who = {"skipped": f"{number}: {why}; the line is skipped", "remark": f"{number}: {name}: {why}"}
        return who.get(kind, f"{number}: {name} {kind}: {why}")
    shown = ", ".join(str(number) for number, _ in hits[:LINES_SHOWN])
    more = f" and {count - LINES_SHOWN} more" if count > LINES_SHOWN else ""
    if kind == "skipped":
        return f" {count} lines are skipped: {why} (lines {shown}{more})"
    said = why if kind == "remark" else f"{kind}: {why}"
    return f" {count} of {users} users{':' if kind == 'remark' else ''} {said} (lines {shown}{more})"
