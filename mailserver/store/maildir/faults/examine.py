"""Examines a maildrop, and repairs it under its lock."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from mailserver.errors import StoreError
from mailserver.interfaces import Quota
from mailserver.store.maildir import index, opening
from mailserver.store.maildir.faults import frame, mail, records
from mailserver.store.maildir.faults.fault import Fault
from mailserver.store.maildir.faults.files import Files
from mailserver.store.maildir.files import is_there, read_whole, sync_directory
from mailserver.store.maildir.former import Former
from mailserver.store.maildir.holding import held
from mailserver.store.maildir.listing import DIRECTORIES, Clock
from mailserver.store.maildir.locking import lock
from mailserver.store.maildir.ours import Ours
from mailserver.upkeep import Finding, Repair

_ROUNDS: Final = 8
"""Mending one fault may show another, as rights do: each round sees what the last has uncovered. Three are the most that was seen."""

_PAUSE: Final = 0.2
"""Seconds between two looks at what may only be in the middle of a change: a commit of some messages, or a delivery, takes less."""


def verify(root: bytes, former: Former | None, quota: Quota | None = None) -> Sequence[Finding]:
    """All that is wrong, by reading alone: what is wrong at two looks. `quota` is the user's. Errors: MaildropUnavailable."""
    in_session = _in_session(root)
    first = _examined(root, former, quota)
    if not first:
        return ()
    in_session |= _in_session(root)
    time.sleep(_PAUSE)
    keys = {each.key for each in first}
    again = {each.key: each for each in _examined(root, former, quota)}
    busy = records.BUSY if in_session or _in_session(root) else frozenset()
    return [each.finding for key, each in again.items() if key in keys and each.kind not in busy]


def repair(  # noqa: PLR0913, PLR0917 - what a login needs, and the quota
    root: bytes,
    owner: str,
    clock: Callable[[bytes], int],
    former: Former | None,
    namings: opening.Namings,
    quota: Quota | None = None,
) -> Repair:
    """Mend what can be mended. Errors: MaildropInUse, MaildropUnavailable."""
    mended: dict[tuple[str, bytes], Finding] = {}
    try:
        if not is_there(root):
            return Repair((), ())
        _mend(list(frame.of_locks(root)), mended)
        lock_held = lock(root, owner)
        try:
            _mend_all(partial(_faults, root, former, partial(clock, root), quota), root, mended)
        except BaseException:
            os.close(lock_held)
            raise
        _log_in(root, owner, lock_held, clock, namings)
    except OSError as error:
        raise opening.unavailable(error) from error
    left = verify(root, former, quota)
    still = {(each.kind, each.file) for each in left}
    return Repair([each for each in mended.values() if (each.kind, each.file) not in still], list(left))


def _mend_all(faults: Callable[[], Iterator[Fault]], root: bytes, mended: dict[tuple[str, bytes], Finding]) -> None:
    last: set[tuple[str, bytes]] = set()
    for _ in range(_ROUNDS):
        able = [each for each in faults() if each.mend is not None]
        keys = {each.key for each in able}
        if keys == last:
            break  # there is none, or it stays in spite of all
        _mend(able, mended)
        last = keys
        for directory in (*DIRECTORIES, b""):
            sync_directory(root + directory)


def _mend(faults: Sequence[Fault], mended: dict[tuple[str, bytes], Finding]) -> None:
    """Mend these. What cannot be mended will be told as left."""
    for each in faults:
        if each.mend is not None:
            try:
                each.mend()
            except (OSError, StoreError):
                continue
            mended[each.key] = each.finding


def _log_in(root: bytes, owner: str, held: int, clock: Callable[[bytes], int], namings: opening.Namings) -> None:
    """Do what the next login would do: write the index, and the map of unique-ids. It lets go of the lock."""
    try:
        opened = opening.thoroughly(root, root, owner, held, clock, None, namings)
    except StoreError:
        return  # it is told as what is left
    os.close(opened.lock)


def _examined(root: bytes, former: Former | None, quota: Quota | None) -> list[Fault]:
    """Errors: MaildropUnavailable."""
    try:
        return list(_faults(root, former, time.time_ns, quota)) if is_there(root) else []
    except OSError as error:
        raise opening.unavailable(error) from error


def _faults(root: bytes, former: Former | None, clock: Clock, quota: Quota | None = None) -> Iterator[Fault]:
    """All faults. What keeps the rest from being read is told alone."""
    found: list[Fault] = []
    if os.statvfs(root).f_flag & os.ST_RDONLY:
        text = "nobody can log in, and nothing comes in: its file system is mounted read-only"
        yield Fault("refused", b"", text, "mount it writable: a session holds a lock there")
    try:
        for each in frame.faults(root, time.time()):
            found.append(each)
            yield each
        files = Files(root)
        written = list(records.faults(root, files, clock, quota))
    except OSError:
        if found:
            return
        raise
    yield from written
    copies = list(mail.copies(root, files, _indexed(root)))
    yield from copies
    try:
        twins = list(mail.twins(root, files, Ours(former).rows(root), copies))
    except (StoreError, OSError) as error:
        if not any(each.kind in {"unique-ids", "journal"} for each in written) and not found:
            yield Fault("refused", b"", f"nobody can log in: {error}", "mend what this names")
        yield from mail.faults(root, files, None)
    else:
        yield from twins
        yield from mail.faults(root, files, [*copies, *twins])


def _indexed(root: bytes) -> frozenset[int]:
    """The inodes that the index has."""
    try:
        return frozenset(index.decode_rows(read_whole(root + index.NAME)).inodes)
    except OSError:
        return frozenset()


def _in_session(root: bytes) -> bool:
    """Whether a session holds the lock, as far as it can be told."""
    try:
        return any(each.purpose == "session" for each in held(root))
    except OSError:
        return False
