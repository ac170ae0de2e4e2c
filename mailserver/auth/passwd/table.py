"""The parser of a passwd-file in Dovecot's format: ``name:{SCHEME}secret:uid:gid:gecos:home:shell:extra``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mailserver.auth.entry import Entry
from mailserver.auth.passwd.app_passwords import read_app_passwords
from mailserver.auth.passwd.extra_fields import Extra, read_extra
from mailserver.auth.schemes import CLEAR, Secret, read_secret
from mailserver.auth.secret import SchemeError
from mailserver.auth.verifying import Others
from mailserver.interfaces import User
from mailserver.names import PLAIN, Names, user_name

LINES_SHOWN = 5
"""Line numbers in one note: enough to see the pattern and find the other lines by it."""


@dataclass(frozen=True, slots=True)
class Table:
    """The entries of one reading of a file. It never changes: a new reading makes a new table."""

    entries: Mapping[bytes, Entry] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()
    """Notes for the operator: users who cannot log in, by reason, and skipped lines. They contain nothing of a secret."""
    ignored: frozenset[str] = frozenset()
    """Fields of the file that have no effect here."""
    decoy: Secret | None = None
    """The secret that an unknown user's password is verified against: the file's commonest slow one, if it has one."""
    schemes: frozenset[str] = frozenset()
    """The schemes of the usable secrets."""
    similar: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Users by their casefolded names without the domain, to suggest one when the typed domain is wrong or missing."""
    users: int = 0
    """The number of users with a usable secret."""
    able: Mapping[bytes, int] = field(default_factory=dict)
    """For each mechanism of `interfaces.BY_SECRET`, ``APOP`` included, the number of users who can use it."""

    others: Others = field(init=False, repr=False)
    """What all users together decide about the work of a refusal."""

    def __post_init__(self) -> None:
        """Decide once what each login asks."""
        others = Others(self.decoy, clear=not self.schemes.isdisjoint(CLEAR), contexts="CRAM-MD5" in self.schemes)
        object.__setattr__(self, "others", others)  # the one way for a frozen one


class LineError(Exception):
    """A line that is skipped; the text tells why, and contains nothing of the secret."""


class _Line(NamedTuple):
    number: int
    entry: Entry
    written: bytes
    key: bytes
    remarks: tuple[str, ...]


def read_table(data: bytes, domain: str = "", names: Names = PLAIN) -> Table:
    """Parse a file. Broken lines raise nothing: they are skipped and noted.

    `names` reads the entries' names as it reads typed ones. With a `domain` all users are of that domain, whether their
    names contain it or not.
    """
    notes = _Notes()
    ignored: set[str] = set()
    lines, seen = _lines(data, domain, names, notes, ignored)
    entries = {key: line.entry for key, line in _chosen(lines, seen, notes).items()}
    return _table(entries, notes.texts(len(lines)), frozenset(ignored))


def line_of(data: bytes, user: bytes, domain: str = "", names: Names = PLAIN) -> int:
    """The number of the line from which a user's entry was read; 0: there is none. The other arguments are those of `read_table`."""
    notes = _Notes()
    found = _chosen(*_lines(data, domain, names, notes, set()), notes).get(user)
    return 0 if found is None else found.number


def _lines(data: bytes, domain: str, names: Names, notes: _Notes, ignored: set[str]) -> tuple[list[_Line], set[bytes]]:
    """The lines that can be read, and the names as they were written in all."""
    lines: list[_Line] = []
    seen: set[bytes] = set()
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip() or line.startswith(b"#"):
            continue
        fields = line.rstrip(b"\r").split(b":", 7) + [b""] * 7
        if domain and b"@" not in fields[0]:
            fields[0] += b"@" + domain.encode("utf-8")
        try:
            if fields[0] in seen:  # also where the first is broken: it may restrict what this one allows
                raise LineError("an earlier line names the same user")
            seen.add(fields[0])
            lines.append(_read_line(number, fields, names, ignored))
            if domain and not lines[-1].entry.user.name.endswith("@" + domain):
                del lines[-1]
                raise LineError("the user's domain is not the file's")
        except LineError as error:
            notes.skipped(number, str(error))
    return lines, seen


def _chosen(lines: Iterable[_Line], seen: set[bytes], notes: _Notes) -> dict[bytes, _Line]:
    """The lines by canonical name. Of two with the same one, the line that spells it canonically counts."""
    entries: dict[bytes, _Line] = {}
    for line in lines:
        name = line.entry.user.name
        if line.key != line.written and (line.key in seen or line.key in entries):
            notes.skipped(line.number, f"its name is read as {name!r}, which another line has")
            continue
        entries[line.key] = line
        if line.entry.trouble:
            notes.locked_out(line.number, name, line.entry.trouble)
        elif line.entry.user.unserved:
            notes.unserved(line.number, name, line.entry.user.unserved)
        for remark in line.remarks:
            notes.remark(line.number, name, remark)
    return entries


def _table(entries: dict[bytes, Entry], notes: tuple[str, ...], ignored: frozenset[str]) -> Table:
    usable = [entry for entry in entries.values() if entry.secret or entry.others]
    secrets = [secret for entry in usable for secret in entry.secrets()]
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
        len(usable),
        Counter(mechanism for entry in usable for mechanism in entry.able()),
    )


def _decoy(secrets: list[Secret]) -> Secret | None:
    slow = [secret for secret in secrets if secret.slow]
    if not slow:
        return secrets[0] if secrets else None
    cost, _ = Counter(secret.cost for secret in slow).most_common(1)[0]
    return next(secret for secret in slow if secret.cost == cost)


def _read_line(number: int, fields: list[bytes], names: Names, ignored: set[str]) -> _Line:
    """Parse one line. Errors: LineError."""
    name, stored, uid, gid, _gecos, home, _shell, words = fields[:8]
    text = user_name(name)
    if text is None:
        raise LineError("it does not begin with a valid user name")
    read = names.read(text)
    if read is None or not names.spells(text, read):
        raise LineError(f"nobody can log in with it: {text!r} is read as {read!r}")
    if uid or gid:
        ignored.add("uid and gid")
    extra = read_extra(_text(words), read)
    ignored |= extra.ignored
    user = User(
        read,
        home=_home(extra.home or _text(home)),
        mail=extra.mail,
        networks=extra.networks,
        denied=extra.denied,
        unserved=extra.unserved,
        **extra.attributes,
    )
    secret, trouble = _secret(stored, extra)
    others, remarks = read_app_passwords(() if extra.denied or extra.nopassword else extra.app_passwords, user)
    weak = {each.weak: None for each in (secret, *(other.secret for other in others)) if each and each.weak}
    if others and stored and trouble:
        remarks += (f"the password opens nothing, and app passwords do: {trouble}",)
    trouble = "" if others else trouble
    entry = Entry(user, secret, extra.nopassword and not trouble, extra.not_before, trouble, others)
    return _Line(number, entry, name, read.encode("utf-8"), (*extra.remarks, *remarks, *weak))


def _secret(stored: bytes, extra: Extra) -> tuple[Secret | None, str]:
    """The secret, or why no password is right."""
    if extra.denied:
        return None, extra.denied
    if extra.nopassword:
        return None, "nopassword needs an empty password field" if stored else ""
    if not stored:
        return None, "there is no password"
    try:
        return read_secret(stored), ""
    except SchemeError as error:
        return None, str(error)


def _home(text: str) -> str | None:
    """A home directory. Dovecot would chroot to the part before ``/./``; without chroot it is the same directory."""
    return re.sub(r"/(?:\./)+", "/", text) or None


def _text(octets: bytes) -> str:
    """UTF-8 in every locale, since the store makes paths of the text; octets that are not UTF-8 survive."""
    return octets.decode("utf-8", "surrogateescape")


class _Notes:
    """The notes on lines, grouped by kind and reason."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], list[tuple[int, str]]] = {}

    def skipped(self, number: int, why: str) -> None:
        self._add("skipped", why, number)

    def locked_out(self, number: int, name: str, why: str) -> None:
        self._add("cannot log in", why, number, name)

    def unserved(self, number: int, name: str, why: str) -> None:
        self._add("can log in, but has no maildrop", why, number, name)

    def remark(self, number: int, name: str, why: str) -> None:
        self._add("remark", why, number, name)

    def _add(self, kind: str, why: str, number: int, name: str = "") -> None:
        self._found.setdefault((kind, why), []).append((number, name))

    def texts(self, users: int) -> tuple[str, ...]:
        """The notes; those on the most lines come first."""
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
