"""A user's INBOX in the spool of Cyrus: a directory with an index, and a file for each message that is named for its UID."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from glob import escape
from pathlib import Path
from typing import Final

from mailserver.migration.cyrus_index import Index, Record, read_index
from mailserver.migration.files import explain, open_regular, read_file
from mailserver.migration.places import Formers, Login, Place
from mailserver.migration.source import Original, Source, SourceError

FORMATS: Final[Mapping[str, Callable[[int, int], bytes]]] = {
    "cyrus": lambda validity, uid: b"%d.%d" % (validity, uid),
    "uidonly": lambda _, uid: b"%d" % uid,
    "dovecot": lambda validity, uid: b"%08x%08x" % (uid, validity),
    "courier": lambda validity, uid: b"%d-%d" % (validity, uid),
}
"""Of a UIDVALIDITY and a UID, by the names that Cyrus' `uidl_format` has for them; older ones have the first."""

_MAGIC: Final = b"\241\002\213\rCyrus mailbox header\n"
_LIMIT: Final = 65536
"""Octets of a cyrus.header that are read: it has names and rights."""
_NAME: Final = re.compile(rb"[( ]N (?:\"((?:[^\"\\]|\\.)*)\"|([^ ()\"]+))")
_ESCAPED: Final = re.compile(rb"\\(.)")


class Cyrus:
    """The messages of one mailbox. Nothing is open between calls."""

    def __init__(self, place: Place, directory: Path, archive: Path | None) -> None:
        self.notes: list[str] = []
        self._directory = directory
        self._index = Path(place.options.get("meta", directory)) / "cyrus.index"
        self._archive = archive
        self._format = FORMATS[place.options.get("uidl", "cyrus")]
        self._flags = place.options.get("popuseimapflags", "no") == "yes"

    def messages(self) -> Sequence[Original]:
        """As Cyrus shows them by POP3. Errors: SourceError."""
        index = self._read()
        if index.hidden:
            self.notes.append(f"{self._directory}: {index.hidden} messages came before pop3showafter, and are left out")
        if not index.knows_seen and index.records:
            self.notes.append(
                f"{self._index}: this version of Cyrus keeps elsewhere what was seen; all messages are new"
            )
        form = self._format if index.new_uidls else FORMATS["uidonly"]
        return [
            Original(self._file(each), form(index.validity, each.uid), each.received, each.seen, each.octets)
            for each in index.records
            if not (self._flags and each.deleted)
        ]

    def read(self, message: Original) -> Iterator[bytes]:
        """From its file. Errors: Unreadable."""
        return read_file(message.place)

    def close(self) -> None:
        """Nothing is open."""

    def _read(self) -> Index:
        try:
            return read_index(_whole(self._index))
        except OSError as error:
            raise SourceError(f"{self._index}: {explain(error)}") from error
        except ValueError as error:
            remedy = "stop Cyrus if it runs, or let its reconstruct mend the mailbox"
            raise SourceError(f"{self._index}: {error}; {remedy}") from error

    def _file(self, record: Record) -> str:
        directory = self._archive if record.archived and self._archive is not None else self._directory
        return str(directory / f"{record.uid}.")


def open_cyrus(place: Place, login: Login, formers: Formers) -> Source:  # noqa: ARG001 - of all openers
    """The source of ``cyrus:PATH``, a partition of Cyrus' or a mailbox in it. Errors: SourceError."""
    path = Path(place.path(login))
    try:
        os.scandir(path).close()  # or else a search would find nothing, and not say why
        directory = path if (path / "cyrus.header").exists() else _find(path, login.name)
    except OSError as error:
        raise SourceError(f"{path}: {explain(error)}") from error
    archive = Path(place.options["archive"]) / directory.relative_to(path) if "archive" in place.options else None
    return Cyrus(place, directory, archive)


def check_cyrus(place: Place) -> None:
    """Errors: ValueError for options that say nothing that is known."""
    if place.options.get("uidl", "cyrus") not in FORMATS:
        raise ValueError(f"uidl={place.options['uidl']}: known are {', '.join(FORMATS)}, as of Cyrus' uidl_format")
    if place.options.get("popuseimapflags", "no") not in {"yes", "no"}:
        raise ValueError("popuseimapflags= must be yes or no, as in Cyrus' imapd.conf")


def _find(partition: Path, name: str) -> Path:
    """The directory of a user's INBOX in a partition, hashed or not, or named for the mailbox's identity as since Cyrus 3.6."""
    local, _, domain = name.rpartition("@") if "@" in name else (name, "", "")
    if not local or "/" in name or "\0" in name:
        raise SourceError(f"{name!r} is no name of a user of Cyrus")
    inbox = f"user/{escape(local.replace('.', '^'))}/cyrus.header"
    within = [f"domain/{escape(domain)}", f"domain/?/{escape(domain)}"] if domain else []
    may_be_bare = not (domain and _has_domains(partition))
    for folder in [*within, *["."] * may_be_bare]:
        for hashed in (".", "?"):
            if found := next(partition.glob(f"{folder}/{hashed}/{inbox}"), None):
                return found.parent
    known = _by_identity(partition)
    named = known.get(_internal(local, domain)) or (known.get(_internal(local, "")) if may_be_bare else None)
    if named is None:
        bare = "" if may_be_bare else f"; a user of Cyrus' defaultdomain is {local} there"
        raise SourceError(
            f"{partition}: there is no INBOX of {name}; name its directory, which Cyrus' mbpath tells{bare}"
        )
    return named


@lru_cache(1)
def _has_domains(partition: Path) -> bool:
    """Whether users of several domains are in it: then one without a domain is another user than one with it."""
    return (partition / "domain").is_dir() or any(b"!" in name for name in _by_identity(partition))


def _internal(local: str, domain: str) -> bytes:
    name = f"user.{local.replace('.', '^')}"
    return (f"{domain}!{name}" if domain else name).encode("utf-8", "surrogateescape")


@lru_cache(1)
def _by_identity(partition: Path) -> Mapping[bytes, Path]:
    """The INBOXes under uuid/ by their names, which are in their headers alone; read once for all users."""
    found = {}
    for path in partition.glob("uuid/?/?/*/cyrus.header"):
        try:
            name = mailbox_name(_whole(path, _LIMIT))
        except OSError:
            continue  # of a mailbox that was removed meanwhile, or that nobody asks for
        if name.rpartition(b"!")[2].count(b".") == 1:
            found[name] = path.parent
    return found


def mailbox_name(header: bytes) -> bytes:
    """The name of a mailbox in its cyrus.header, with dots between its parts; b"": it has none there."""
    if not header.startswith(_MAGIC):
        return b""
    line = next((each for each in header.split(b"\n") if each.startswith(b"%")), b"")
    found = _NAME.search(line)
    if found is None:
        return b""
    name = _ESCAPED.sub(rb"\1", found[1]) if found[1] is not None else found[2]
    return name.replace(b"\x1f", b".")


def _whole(path: Path, limit: int = -1) -> bytes:
    descriptor, _ = open_regular(str(path))
    with os.fdopen(descriptor, "rb") as file:
        return file.read(limit)
