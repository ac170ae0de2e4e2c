"""Maildirs that Courier's POP3 server has served: its list `courierpop3dsizelist`, and new messages in it as it adds them.

Its first line is ``/VERSION NEXT VALIDITY``; a message is ``NAME SIZE N:VALIDITY`` in version 2, with ``:1`` behind for headers that
are UTF-8 in version 3, ``NAME SIZE N`` in version 1; without a first line it is version 0, ``NAME SIZE``. Versions were changed with
the messages' unique-ids kept, so old messages have N 0, or no validity. Names have their info, which may be old.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from mailserver.incoming import Given
from mailserver.store.maildir.files import open_to_read, rename, sync_directory, write_new
from mailserver.store.maildir.foreign.lists import file_of, lines, listable, permitted, stem, unreadable
from mailserver.store.maildir.former import Entry
from mailserver.store.maildir.pieces import one_by_one

NAME: Final = b"courierpop3dsizelist"

_HEADER: Final = re.compile(rb"/(\d{1,3}) (\d{1,19})(?: (\d{1,19}))?")
_LINE: Final = re.compile(rb"(.+) (\d{1,19}) (\d{1,19})(?::(\d{1,19})(?::(\d))?)?", re.DOTALL)
_OLDEST: Final = re.compile(rb"(.+) (\d{1,19})", re.DOTALL)
_SECONDS: Final = re.compile(rb"\s*([+-]?\d{1,19})")

_UIDL: Final = re.compile(rb"UID([1-9]\d{0,18})(?:-([1-9]\d{0,18}))?")
_ESCAPED: Final = re.compile(rb"[^\x21-\x7e]|['\"+]")

_PIECE: Final = 256 * 1024


class Listed(NamedTuple):
    """A message."""

    name: bytes
    """Without its info."""
    octets: int
    number: int
    """0: its unique-id is its name."""
    validity: int
    """0: it is not in the unique-id."""
    utf8: int = 0
    info: bytes = b":2,"
    """What the list has behind the name. Courier compares names up to a colon: with none it does not find a file that has one."""

    def unique_id(self) -> bytes:
        """As Courier shows it."""
        if not self.number:
            return _ESCAPED.sub(lambda found: b"+%02X" % found[0][0], self.name)
        return b"UID%d-%d" % (self.number, self.validity) if self.validity else b"UID%d" % self.number


class Sizelist(NamedTuple):
    """The whole list."""

    version: int
    following: int
    """The next number."""
    validity: int
    """Of the messages that come."""
    messages: Sequence[Listed]


class Courier:
    """As `Former`."""

    signature = b"courier"
    list_name = NAME

    def entries(self, root: bytes) -> Sequence[Entry] | None:
        """As `Former`. Courier lists by the time and the rest of the name."""
        try:
            found = read(root + NAME)
        except FileNotFoundError:
            return None
        made = ((message.name, message.unique_id()) for message in sorted(found.messages, key=_place))
        return [Entry(name, uidl) for name, uidl in made if permitted(uidl)]

    def unlisted(self, name: bytes) -> None:
        """None: its list gives the numbers."""

    def extend(self, root: bytes, names: Sequence[bytes]) -> Sequence[Entry]:
        """As `Former`. Courier has no lock for its list: of two sessions at once the later one's list stays, as at Courier itself."""
        found = _read_or_new(root)
        there = {message.name: message for message in found.messages}
        added: list[Listed] = []
        for name in filter(listable, names):
            new = None if stem(name) in there else _found(root, name)
            if new is not None:
                added.append(new._replace(number=found.following + len(added), validity=found.validity))
                there[new.name] = added[-1]
        if added:
            write(root, found._replace(following=found.following + len(added), messages=[*found.messages, *added]))
        wanted = {stem(name) for name in names}
        ours = sorted((there[name] for name in wanted if name in there), key=_place)
        return [Entry(message.name, message.unique_id()) for message in ours]

    def give_back(self, root: bytes, entries: Sequence[Entry], dry_run: bool) -> Given:
        """Let Courier show these unique-ids, as far as its list can hold them. Under the maildrop's lock. Errors: OSError; ValueError."""
        found = _read_or_new(root)
        known = {message.name: message for message in found.messages}
        there, following, entered, lost = dict(known), found.following, 0, 0
        for entry in entries:
            name = stem(entry.name)
            numbers = _numbers(entry, name)
            old = known.get(name)
            if numbers is None or not listable(entry.name):
                lost += 1
                continue
            if old is not None and (old.number, old.validity) == numbers:
                continue
            message = old or _found(root, entry.name)
            if message is None:
                continue  # it is gone since it was listed
            entered += 1
            there[name] = message._replace(number=numbers[0], validity=numbers[1])
            if numbers[1] == found.validity:
                following = max(following, numbers[0] + 1)  # else a new message would get the unique-id once more
        if entered and not dry_run:
            write(root, found._replace(following=following, messages=list(there.values())))
        return Given(len(entries), entered, lost)


def read(path: bytes) -> Sizelist:
    """Read a list. Lines that Courier would skip are skipped. Errors: FileNotFoundError; OSError; ValueError."""
    each = iter(lines(path))
    first = next(each, None)
    if first is None:
        return Sizelist(2, 1, int(time.time()), [])
    header = _HEADER.fullmatch(first)
    if header is None:
        if first[:1] == b"/":
            raise unreadable(path, "its first line cannot be understood")
        oldest = [_oldest(line) for line in one_by_one((first, *each))]
        return Sizelist(0, 1, int(time.time()), [message for message in oldest if message])
    version = int(header[1])
    if version not in {1, 2, 3}:
        raise unreadable(path, f"it is of version {version}, and 1 to 3 are known")
    messages = [_listed(line) for line in one_by_one(each)]
    validity = int(header[3]) if header[3] else int(time.time())
    return Sizelist(version, int(header[2]), validity, [message for message in messages if message])


def write(root: bytes, found: Sizelist) -> None:
    """Replace the list, durably, in version 3 if it is that, else in 2, which every Courier of today reads. Errors: OSError."""
    version = 3 if found.version == 3 else 2  # noqa: PLR2004 - the version's own number
    text = [b"/%d %d %d\n" % (version, found.following, found.validity)]
    for name, octets, number, validity, utf8, info in sorted(found.messages, key=_place):
        behind = b":%d" % utf8 if version == 3 else b""  # noqa: PLR2004 - as above
        text.append(b"%b%b %d %d:%d%b\n" % (name, info, octets, number, validity, behind))
    temporary = root + NAME + b".tmp"  # not in tmp/, as Courier does: its user may have put a link there
    write_new(temporary, b"".join(text), durable=True)
    rename(temporary, root + NAME)
    sync_directory(root)


def _read_or_new(root: bytes) -> Sizelist:
    try:
        return read(root + NAME)
    except FileNotFoundError:
        return Sizelist(2, 1, int(time.time()), [])


def _numbers(entry: Entry, name: bytes) -> tuple[int, int] | None:
    """The number and validity that show this unique-id; None: there are none."""
    if Listed(name, 0, 0, 0).unique_id() == entry.uidl:
        return 0, 0
    found = _UIDL.fullmatch(entry.uidl)
    return (int(found[1]), int(found[2] or 0)) if found else None


def _listed(line: bytes) -> Listed | None:
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    name = stem(found[1])
    octets, number, validity, utf8 = (int(each or 0) for each in found.groups()[1:])
    return Listed(name, octets, number, validity, utf8, found[1][len(name) :])


def _oldest(line: bytes) -> Listed | None:
    found = _OLDEST.fullmatch(line)
    return Listed(stem(found[1]), int(found[2]), 0, 0, info=found[1][len(stem(found[1])) :]) if found else None


def _place(message: Listed) -> tuple[int, bytes]:
    seconds = _SECONDS.match(message.name)
    return (int(seconds[1]) if seconds else 0), message.name


def _found(root: bytes, name: bytes) -> Listed | None:
    """A message of which the list knows nothing, without a number; None: its file is gone, or cannot be read. Errors: OSError.

    Courier counts each line end as two octets, and adds the last one.
    """
    path = file_of(root, name)
    if path is None:
        return None
    try:
        descriptor = open_to_read(path)
    except (FileNotFoundError, PermissionError):  # one such message must not close the whole maildrop
        return None
    try:
        size, ends, last, utf8, header = 0, 0, b"\n", 0, b""
        while piece := os.read(descriptor, _PIECE):
            if not size:
                header = piece.partition(b"\n\n")[0].partition(b"\r\n\r\n")[0]
                utf8 = int(not header.isascii())
            size, ends, last = size + len(piece), ends + piece.count(b"\n"), piece[-1:]
    finally:
        os.close(descriptor)
    file = path[len(root) + len(b"new/") :]
    info = file[len(stem(file)) :] or (
        b"" if path.startswith(b"cur/", len(root)) else b":2,"
    )  # which it gets when Courier moves it
    return Listed(stem(file), size + ends + (0 if last == b"\n" else 2), 0, 0, utf8, info)
