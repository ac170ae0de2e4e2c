"""A user's INBOX in a Maildir, of any server: the unique-ids are those of its lists, or those that its files' names give."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from mailserver.migration.files import explain, read_file
from mailserver.migration.places import Formers, Listed, Login, Place
from mailserver.migration.source import Original, Source, SourceError

_INFO: Final = re.compile(rb"[:;!][12],[^/]*$")
_TIME: Final = re.compile(rb"(\d{1,11})(?!\d)(?:\.M(\d{1,6}))?")
_OCTETS: Final = re.compile(rb",W=(\d{1,15})(?=,|$)")
_PLACES: Final = (b"new/", b"cur/")
"""In this order, since a file that goes from one to the other meanwhile is then seen in both, or in cur/ alone."""


class Maildir:
    """The messages of cur/ and new/. Files that go from one to the other, or get flags, are followed."""

    def __init__(self, root: str, former: Listed) -> None:
        self.notes: list[str] = []
        self._root = os.fsencode(root).rstrip(b"/") + b"/"
        self._former = former
        self._names: dict[str, bytes] = {}

    def messages(self) -> Sequence[Original]:
        """First what the list has, in its order, then the others as they came. Errors: SourceError."""
        files = self._files()
        uidls = self._entries(files)
        for base in sorted(files.keys() - uidls.keys(), key=lambda base: (_time(base), base)):
            uidls[base] = self._former.unlisted(files[base].partition(b"/")[2]) or b""
        taken: set[bytes] = set()
        found = []
        for base, uidl in uidls.items():
            message = self._original(files[base], base, b"" if uidl in taken else uidl)
            if message is None:
                continue
            if uidl and uidl in taken:
                self.notes.append(f"{message.place}: an earlier message has its unique-id, too; it gets its own")
            taken.add(uidl)
            found.append(message)
        return found

    def read(self, message: Original) -> Iterator[bytes]:
        """Errors: Unreadable, also if the file is gone; SourceError."""
        path = os.fsencode(message.place)
        if not os.path.lexists(path):
            path = self._root + self._files().get(self._names[message.place], path.removeprefix(self._root))
        return read_file(os.fsdecode(path))

    def close(self) -> None:
        """Nothing is open."""

    def _files(self) -> dict[bytes, bytes]:
        """The messages' names without their infos, and the paths; of two of one name, that in cur/."""
        found: dict[bytes, bytes] = {}
        for place in _PLACES:
            try:
                with os.scandir(self._root + place) as entries:
                    names = [entry.name for entry in entries]
            except OSError as error:
                raise SourceError(f"{os.fsdecode(self._root + place)}: {explain(error)}; is it a Maildir?") from error
            found.update((_INFO.sub(b"", name), place + name) for name in names if not name.startswith(b"."))
        return found

    def _entries(self, files: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """The unique-ids of the messages that are listed, in the list's order."""
        try:
            entries = self._former.entries(self._root) or ()
        except OSError as error:
            raise SourceError(f"{os.fsdecode(self._root)}: {explain(error)}") from error
        except ValueError as error:
            raise SourceError(str(error)) from error
        cut: dict[bytes, list[bytes]] = {}
        for base in files:
            cut.setdefault(base.partition(b":")[0], []).append(base)
        found: dict[bytes, bytes] = {}
        for name, uidl in entries:
            base = _INFO.sub(b"", name)
            if base not in files:  # Dovecot and Courier end a name at its first colon
                alike = cut.get(base.partition(b":")[0], [])
                base = alike[0] if len(alike) == 1 else b""
            if base:
                found.setdefault(base, uidl)
        return found

    def _original(self, file: bytes, base: bytes, uidl: bytes) -> Original | None:
        """None: it is no message, or it was deleted meanwhile."""
        path = self._root + file
        try:
            status = os.lstat(path)
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode):
            self.notes.append(f"{os.fsdecode(path)}: it is no regular file, and is left out")
            return None
        octets = _OCTETS.search(base)
        place = os.fsdecode(path)
        self._names[place] = base
        return Original(
            place, uidl, _time(base) or status.st_mtime, b"S" in _flags(file), int(octets[1]) if octets else None
        )


def open_maildir(place: Place, login: Login, formers: Formers) -> Source:
    """The source of ``maildir:PATH?former=...``; without one, it is a Maildir as this server serves it. Errors: SourceError."""
    try:
        former = formers(place.options.get("former", ""))
    except ValueError as error:
        raise SourceError(str(error)) from error
    return Maildir(place.path(login), former)


def _flags(file: bytes) -> bytes:
    found = _INFO.search(file)
    return b"" if found is None else found[0][3:]


def _time(base: bytes) -> float:
    """The time of a delivery in a file's name, 0.0: there is none."""
    found = _TIME.match(base)
    return 0.0 if found is None else int(found[1]) + int(found[2] or 0) / 1_000_000
