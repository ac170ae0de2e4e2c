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
from typing import NamedTuple

from mailserver.auth.passwd.table import read_table
from mailserver.errors import ConfigError
from mailserver.names import user_name


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
        """The line, without a line end, and without the empty fields at its end but the secret's."""
        return self.name + b":" + b":".join(self[1:]).rstrip(b":")

    def with_extra(self, given: dict[str, str], taken: frozenset[str]) -> Line:
        """With these extra fields, each in the place of one of the same name, and without those that are `taken`."""
        words = [word for word in self.extra.split(b" ") if word]
        kept = [word for word in words if os.fsdecode(word.partition(b"=")[0]) not in taken | given.keys()]
        new = [os.fsencode(f"{name}={value}" if value else name) for name, value in given.items()]
        return self._replace(extra=b" ".join([*kept, *new]))


def add(path: str, line: Line, domain: str = "") -> str:
    """Add a user at the end; why the user may not log in, if the line says so ("": he may). Errors: Unchanged, OSError."""
    with _changing(path) as change:
        lines = change.lines
        if any(_names(each, line.name) for each in lines):
            raise Unchanged(f"{_shown(line.name)} is there already")
        return change.write([*lines, line.written()], line.name, domain)


def edit(path: str, name: bytes, changed: Callable[[Line], Line], domain: str = "") -> str:
    """Change a user's line; the answer is as of `add`. Errors: Unchanged, OSError."""
    with _changing(path) as change:
        at = _find(change.lines, name)
        lines = [*change.lines]
        ending = b"\r" if lines[at].endswith(b"\r") else b""
        lines[at] = changed(Line.read(lines[at].rstrip(b"\r"))).written() + ending
        return change.write(lines, name, domain)


def remove(path: str, name: bytes) -> str:
    """Take a user's line out. Errors: Unchanged, OSError."""
    with _changing(path) as change:
        at = _find(change.lines, name)
        return change.write([*change.lines[:at], *change.lines[at + 1 :]], b"", "")


def _names(line: bytes, name: bytes) -> bool:
    return not line.startswith(b"#") and line.rstrip(b"\r").partition(b":")[0] == name


def _find(lines: list[bytes], name: bytes) -> int:
    """The first line of the user, which is the one that counts. Errors: Unchanged."""
    for at, line in enumerate(lines):
        if _names(line, name):
            return at
    raise Unchanged(f"there is no {_shown(name)}")


def _shown(name: bytes) -> str:
    return repr(name.decode("utf-8", "replace"))


class _Change:
    """The file as it is, and its replacement."""

    def __init__(self, path: Path, status: os.stat_result, data: bytes) -> None:
        self._path = path
        self._status = status
        self.lines = data.removesuffix(b"\n").split(b"\n") if data else []

    def write(self, lines: list[bytes], name: bytes, domain: str) -> str:
        """Replace the file, if the line of `name` (b"": none is new) can be read as it is meant; the answer is as of `add`.

        Errors: Unchanged, OSError.
        """
        data = b"".join(line + b"\n" for line in lines)
        denied = _read_back(data, name, domain) if name else ""
        descriptor, made = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}-")
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
                os.fchmod(descriptor, self._status.st_mode & 0o7777)
                if (self._status.st_uid, self._status.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(descriptor, self._status.st_uid, self._status.st_gid)
                file.write(data)
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
        return denied


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


def _read_back(data: bytes, name: bytes, domain: str) -> str:
    """See that the server would know this user; why it would not let him in, by his fields. Errors: Unchanged."""
    if user_name(name) is None or b":" in name or name.startswith(b"#") or name.strip() != name:
        raise Unchanged(f"{_shown(name)} cannot be a user's name")
    full = name if b"@" in name or not domain else name + b"@" + domain.encode("utf-8")
    entry = read_table(data, domain).entries.get(full)
    if entry is None:
        raise Unchanged(
            f"the server would not read the line of {_shown(name)}: see that no field holds a colon or a line end"
        )
    if entry.trouble and not entry.user.denied:
        raise Unchanged(f"{_shown(name)} could not log in: {entry.trouble}")
    return entry.user.denied


def place_of(checkers: tuple[str, ...]) -> tuple[str, str]:
    """The path and the domain of the one passwd-file among the checkers. Errors: ConfigError."""
    files = [each.partition(":")[2] for each in checkers if each.startswith("passwd-file:")]
    if len(files) != 1:
        found = "no passwd-file" if not files else f"{len(files)} passwd-files"
        raise ConfigError([f"auth.checkers: there is {found}; name one by --file"])
    path, _, domain = files[0].partition(":domain=")
    return path, domain
