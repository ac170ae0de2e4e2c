"""Changes a passwd-file: one line of it, under a lock, and in one step.

All other lines stay as they are, octet by octet. The new file takes the old one's place, with its owner, group and mode, once it is
durable; the server reads it at its next login. Each change is read back as the server would read it before it is made.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from mailserver.auth.entry import Entry
from mailserver.auth.passwd.table import read_table
from mailserver.errors import ConfigError
from mailserver.names import PLAIN, Names, user_name

_ACCESS_LIST: Final = "system.posix_acl_access"


class Unchanged(Exception):
    """The file stays as it is. The text says why; it has nothing of a secret."""


class Line(NamedTuple):
    """An entry, as its fields: ``name:secret:uid:gid:gecos:home:shell:extra``."""

    name: bytes
    secret: bytes
    uid: bytes
    gid: bytes
    gecos: bytes
    home: bytes
    shell: bytes
    extra: bytes

    @classmethod
    def read(cls, text: bytes) -> Line:
        """Split a line."""
        return cls(*(text.split(b":", 7) + [b""] * 7)[:8])

    def written(self) -> bytes:
        """The line, without a line end, and without the empty fields at its end but the secret's. Errors: Unchanged."""
        if any(b":" in each for each in self[1:7]) or any(end in each for each in self[1:] for end in b"\n\r\0"):
            raise Unchanged("no field, nor a password that is stored as it is, may hold a colon or a line end")
        fields = list(self)
        while len(fields) > 2 and not fields[-1]:  # noqa: PLR2004 - the name and the secret
            del fields[-1]
        return b":".join(fields)

    def with_extra(self, given: dict[str, str], taken: frozenset[str]) -> Line:
        """With these extra fields, each in the place of one of the same name, and without those that are `taken`."""
        words = [word for word in self.extra.split(b" ") if word]
        kept = [word for word in words if os.fsdecode(word.partition(b"=")[0]) not in taken | given.keys()]
        new = [os.fsencode(f"{name}={value}" if value else name) for name, value in given.items()]
        return self._replace(extra=b" ".join([*kept, *new]))


def is_name(name: bytes) -> bool:
    """Whether a user can have this name in a passwd-file."""
    return user_name(name) is not None and b":" not in name and not name.startswith(b"#") and name.strip() == name


def add(path: str, line: Line, domain: str = "", names: Names = PLAIN) -> Entry:
    """Add a user at the end; the line as the server reads it. Errors: Unchanged, OSError."""
    name = line.name
    if not is_name(name):
        raise Unchanged(f"{_shown(name)} cannot be a user's name")
    with _changing(path) as change:
        if _those_of(change.lines, name, domain):
            raise Unchanged(f"{_shown(name)} is there already")
        return change.write([*change.lines, line.written()], len(change.lines), domain, names)


def edit(path: str, name: bytes, changed: Callable[[Line], Line], domain: str = "", names: Names = PLAIN) -> Entry:
    """Change a user's line, the first, which is the one that counts; the answer is as of `add`. Errors: Unchanged, OSError."""
    with _changing(path) as change:
        at = _find(change.lines, name, domain)[0]
        lines = [*change.lines]
        ending = b"\r" if lines[at].endswith(b"\r") else b""
        lines[at] = changed(Line.read(lines[at].rstrip(b"\r"))).written() + ending
        return change.write(lines, at, domain, names)


def remove(path: str, name: bytes, domain: str = "") -> None:
    """Take a user's lines out: all, since a second one would count when the first is gone. Errors: Unchanged, OSError."""
    with _changing(path) as change:
        gone = _find(change.lines, name, domain)
        change.replace([line for at, line in enumerate(change.lines) if at not in gone])


def _those_of(lines: list[bytes], name: bytes, domain: str) -> list[int]:
    """Where the user's lines are; in the file of a domain, with or without it."""
    wanted = _full(name, domain)
    named = ((at, line.rstrip(b"\r").partition(b":")[0]) for at, line in enumerate(lines) if not line.startswith(b"#"))
    return [at for at, each in named if _full(each, domain) == wanted]


def _find(lines: list[bytes], name: bytes, domain: str) -> list[int]:
    """As `_those_of`. Errors: Unchanged, where there is none."""
    found = _those_of(lines, name, domain)
    if not found:
        raise Unchanged(f"there is no {_shown(name)}")
    return found


def _full(name: bytes, domain: str) -> bytes:
    return name if b"@" in name or not domain else name + b"@" + domain.encode("utf-8")


def _shown(name: bytes) -> str:
    return repr(name.decode("utf-8", "replace"))


class _Change:
    """The file as it is, and its replacement."""

    def __init__(self, path: Path, status: os.stat_result, data: bytes) -> None:
        self._path = path
        self._status = status
        self.lines = data.removesuffix(b"\n").split(b"\n") if data else []

    def write(self, lines: list[bytes], at: int, domain: str, names: Names) -> Entry:
        """Replace the file, if the new line can be read as it is meant; the answer is as of `add`. Errors: Unchanged, OSError."""
        entry = _read_back(self.lines, lines, at, domain, names)
        self.replace(lines)
        return entry

    def replace(self, lines: list[bytes]) -> None:
        """Replace the file. Errors: OSError."""
        descriptor, made = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}-")
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
                self._liken(descriptor)
                file.write(b"".join(line + b"\n" for line in lines))
                file.flush()
                os.fsync(descriptor)
            Path(made).rename(self._path)
        except BaseException:
            with suppress(OSError):
                Path(made).unlink()
            raise
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _liken(self, descriptor: int) -> None:
        """Give the new file the owner, the group, the mode and the access list of the old one. Errors: OSError."""
        new = os.fstat(descriptor)
        if (self._status.st_uid, self._status.st_gid) != (new.st_uid, new.st_gid):
            os.fchown(descriptor, self._status.st_uid, self._status.st_gid)
        os.fchmod(descriptor, self._status.st_mode & 0o7777)
        if _ACCESS_LIST in os.listxattr(self._path):
            os.setxattr(descriptor, _ACCESS_LIST, os.getxattr(self._path, _ACCESS_LIST))


@contextmanager
def _changing(path: str) -> Iterator[_Change]:
    """Lock the file against others that change it by this module. Errors: OSError."""
    real = Path(path).resolve(strict=True)  # of a link, the file itself is replaced
    while True:
        with real.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            status = os.fstat(file.fileno())
            if os.path.samestat(status, real.stat()):  # else somebody has replaced it meanwhile
                yield _Change(real, status, file.read())
                return


def _read_back(old: list[bytes], lines: list[bytes], at: int, domain: str, names: Names) -> Entry:
    """See that the server would know the user of a changed line; the line as it reads it. Errors: Unchanged."""
    name = Line.read(lines[at]).name
    alone = read_table(lines[at], domain, names)
    if not alone.entries:
        reason = "; ".join(note.partition(": ")[2] for note in alone.notes)
        raise Unchanged(f"the server would not read the line of {_shown(name)}: {reason}")
    ((key, entry),) = alone.entries.items()
    before = read_table(b"\n".join(old), domain, names).entries.get(key)
    if before is not None and at == len(old):
        raise Unchanged(f"{_shown(name)} is there already, as {before.user.name!r}")
    if entry.trouble and not entry.user.denied and (before is None or not before.trouble):
        raise Unchanged(f"{_shown(name)} could not log in: {entry.trouble}")
    return entry


def place_of(checkers: tuple[str, ...]) -> tuple[str, str]:
    """The path and the domain of the one passwd-file among the checkers. Errors: ConfigError."""
    files = [each.partition(":")[2] for each in checkers if each.startswith("passwd-file:")]
    if len(files) != 1:
        found = "no passwd-file" if not files else f"{len(files)} passwd-files"
        raise ConfigError([f"auth.checkers: there is {found}; name one by --file"])
    path, _, domain = files[0].partition(":domain=")
    return path, domain
