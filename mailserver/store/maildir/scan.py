"""Scans a Maildir: lists its messages, and measures those that the last index lacks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from itertools import chain, compress, count, repeat
from operator import ne, or_
from typing import NamedTuple

from mailserver.store.maildir import contents
from mailserver.store.maildir import filenames as names
from mailserver.store.maildir.index import CLAIMED, DISTRUSTED, NOTHING, OTHER, UNTRUSTED
from mailserver.store.maildir.listing import PREFIX, Clock, by_identity, identity, look, look_until_complete
from mailserver.store.maildir.naming import Naming
from mailserver.store.maildir.pieces import PIECE, in_pieces, in_turns, one_by_one
from mailserver.store.maildir.rows import Row, Rows
from mailserver.store.maildir.twins import Found, identify

_RACY_NS = 2_000_000_000
"""A directory that changed less than 2 s before its scan may change again without a new mtime: file systems have clock
ticks of milliseconds to 2 s (FAT, old NFS)."""

_SEARCHES = 20
"""Listings in search of messages that were renamed before they were measured; the next login finds the remaining ones."""


_FILES = 32
"""Files that are measured at a time, before other threads have a turn: about a millisecond."""


_DISTRUSTED = bytes(flags & DISTRUSTED for flags in range(256))
"""Translates the flags of rows to what is true of those that must be measured again."""

_OTHER = bytes(flags & OTHER for flags in range(256))
"""The same for rows whose unique-id is not their unique part."""


class Scan(NamedTuple):
    """The rows of a maildrop in their order, and the directories' times, or UNTRUSTED where they prove nothing."""

    rows: Rows
    new_time: int
    cur_time: int
    skipped: int
    """Entries that are neither regular files nor hidden."""


def trusted(times: tuple[int, int], now: int) -> tuple[int, int]:
    """The times of directories that are read `now`: UNTRUSTED where the next change might not change the time."""
    new_time, cur_time = (time if now - time >= _RACY_NS else UNTRUSTED for time in times)
    return new_time, cur_time


def scan(root: bytes, known: Rows, clock: Clock, naming: Naming | None = None) -> Scan:
    """List the maildrop, and measure only the messages that `known` lacks.

    `naming` decides their unique-ids; None: there is no map, and no former server.

    A change after the listing is left to the next login, which finds other times; so no listing is repeated for it.
    """
    listing = look_until_complete(root, known.names, clock)
    rows = _rows(root, listing.files, known, clock, naming or Naming(root, NOTHING, None, extends=False))
    times = trusted(listing.times, listing.began) if listing.complete else (UNTRUSTED, UNTRUSTED)
    return Scan(rows, *times, listing.skipped)


def _rows(root: bytes, files: dict[bytes, int], known: Rows, clock: Clock, naming: Naming) -> Rows:
    """The rows in their order; `files` loses the files whose rows stay as they are."""
    changed = range(len(known)) if naming.doubts_all else _changed(files, known)
    rows = Rows()
    found = identify(root, files, map(known.__getitem__, changed))
    lost = _looked_at(root, naming.named(found, known, changed), rows)
    for _ in range(_SEARCHES):
        if not lost:
            break
        listing = look(root, clock)
        there = by_identity(listing)
        again = [(message, there.get(identity(message.path, message.inode))) for message in lost]
        hidden = [message for message, path in again if path is None and not listing.complete]
        moved = [message._replace(path=path) for message, path in again if path is not None]
        lost = hidden + _looked_at(root, moved, rows)
    return known.merged(changed, rows.in_order())


def _changed(files: dict[bytes, int], known: Rows) -> list[int]:
    """The indexes of the rows that must be identified again; takes the files of all other rows out of `files`.

    A row stays as it is if its file is there under the same name with the same inode, and nothing else has its unique part:
    neither another file nor another row. Of several rows with one unique part, all but one have a hash as unique-id.
    Columns are compared in C: 100,000 rows take 25 ms, a fifth of the login that finds ten new messages, and not 67.
    """
    changed: list[int] = []
    if not known:
        return changed
    there: dict[bytes, int] = {}
    for start in in_turns(range(0, len(known), PIECE)):
        piece = slice(start, start + PIECE)
        found = list(map(files.pop, known.names[piece], repeat(None)))
        replaced = map(ne, found, known.inodes[piece])
        distrusted = known.flags[piece].translate(_DISTRUSTED)
        doubtful = map(or_, replaced, map(or_, distrusted, map(names.is_hash, known.uidls[piece])))
        for at in compress(range(start, start + PIECE), doubtful):
            changed.append(at)
            inode = found[at - start]
            if inode is not None:
                there[known.names[at]] = inode
    files.update(there)
    parts = {names.unique_part(name[PREFIX:]) for name in one_by_one(files)}
    uidls = chain.from_iterable(in_pieces(known.uidls))
    twins = set(compress(count(), map(parts.__contains__, uidls)))
    if parts:
        others = compress(count(), known.flags.translate(_OTHER))
        twins.update(at for at in one_by_one(others) if names.unique_part(known.names[at][PREFIX:]) in parts)
    twins.difference_update(changed)
    files.update((known.names[at], known.inodes[at]) for at in twins)
    return sorted({*changed, *twins})


def _looked_at(root: bytes, messages: Iterable[Found], rows: Rows) -> list[Found]:
    """Add the rows of the messages to `rows`; answers the messages that were removed or renamed before that."""
    lost = []
    for message in in_turns(messages, _FILES):
        try:
            row = _row(root, message)
        except FileNotFoundError:
            lost.append(message)
            continue
        if row is not None:
            rows.append(row)
    return lost


def _row(root: bytes, message: Found) -> Row | None:
    path, inode, uidl, known, rank = message
    if known is not None and not known.flags & DISTRUSTED and not (known.inode and inode and known.inode != inode):
        row: Row | None = known._replace(name=path, inode=inode, uidl=uidl, rank=rank)
    else:
        distrusted = known is not None and known.flags & DISTRUSTED
        row = _look(root, message, *((None, None) if distrusted else names.sizes(path)))
    if row is None or uidl == names.unique_part(path[PREFIX:]):
        return row
    return row._replace(flags=row.flags | OTHER)


def _look(root: bytes, message: Found, size: int | None, octets: int | None) -> Row | None:
    """The row of a message, from its name as far as possible; None when it is not a regular file after all.

    Errors: FileNotFoundError. Any other error leaves a row that must be measured again.
    """
    path, inode, uidl, _, rank = message
    arrival = names.arrival(path[PREFIX:])
    if size is not None and octets is not None and arrival is not None:
        return Row(arrival, path, uidl, size, octets, CLAIMED, inode, rank)
    stored = 0
    try:
        status = os.lstat(root + path)
    except FileNotFoundError:
        raise
    except OSError:
        octets = None  # it can still be read
    else:
        if not stat.S_ISREG(status.st_mode):
            return None
        stored = status.st_size
        if arrival is None:
            arrival = max(0, status.st_mtime_ns // 1000)  # a time before the epoch comes from a wrong clock
    arrival = arrival or 0
    if octets is not None:
        return Row(arrival, path, uidl, stored if size is None else size, octets, CLAIMED, inode, rank)
    try:
        found = contents.measured(root + path)
    except FileNotFoundError:
        raise
    except OSError:
        # The file may become readable again without a change of its directory.
        return Row(arrival, path, uidl, stored, stored, DISTRUSTED, inode, rank)
    return Row(arrival, path, uidl, *found, inode, rank)
