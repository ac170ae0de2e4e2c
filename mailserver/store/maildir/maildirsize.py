"""The size of a maildrop, kept in the file `maildirsize` (Maildir++), and the quota that is measured by it.

Its first line is the quota, as ``1000000S,1000C``; each further one is an amount of octets and messages, and their sum is what
the maildrop and its Maildir++ folders hold, but for Trash. Who adds or removes messages appends a line in one write. The file is
counted anew when it cannot be used, has `LONG` octets, or says that the quota is exceeded and may be wrong: it has more than
one amount, or is older than `_OLD` seconds. So changes by programs that do not keep it are found, too.

Maildir++ has no lock, and allows some messages too many. We take one of our own from the look at the sum to the message's name in
new/, so two deposits at the edge never both pass. No fsync is under it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from mailserver.errors import MaildropUnavailable, OutcomeUnknown, QuotaExceeded
from mailserver.incoming import Usage, effective
from mailserver.interfaces import Quota
from mailserver.store.maildir import filenames as names
from mailserver.store.maildir.counting import count, times
from mailserver.store.maildir.files import directory_status, rename, shown, unlink_if_there, write_new
from mailserver.store.maildir.removal import Removal
from mailserver.store.maildir.same import Target

NAME: Final = b"maildirsize"
LOCK: Final = b"mailserver-quota"
_TEMPORARY: Final = b"tmp/mailserver-maildirsize"

LONG: Final = 5120
"""Octets of the file at which it is counted anew (Maildir++)."""

_OLD: Final = 15 * 60
"""Seconds after which a file that says that the quota is exceeded is counted anew (Maildir++)."""

_COUNTS: Final = 3
"""Counts of a maildrop that changes meanwhile. The last is used, but not kept."""

_PATIENCE: Final = 10.0
"""Seconds of waiting for the lock, which others hold for microseconds, or as long as a count takes: a second for 100,000 messages."""

_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class _Sum(NamedTuple):
    usage: Usage
    quota: bytes
    sure: bool
    """Whether the file has just been counted, so that it is not counted anew for saying that the quota is exceeded."""


def glance(root: bytes, quota: Quota | None) -> Usage | None:
    """What the maildrop holds by its file; None where only `usage` can tell. Bounded work: one small read."""
    quota = effective(quota)
    if quota is None:
        return None
    found = _read(root)
    return found.usage if found is not None and _serves(found, quota) else None


def stated(root: bytes) -> Usage | None:
    """What the file says, whatever the quota; None where there is none, or it cannot be used."""
    found = _read(root)
    return None if found is None else found.usage


def usage(root: bytes, quota: Quota | None) -> Usage:
    """What the maildrop holds: nothing if it does not exist. Without a quota it is counted. Errors: OSError.

    With one it is counted where the file cannot tell, and the file is written, unless the disk does not let us.
    """
    quota = effective(quota)
    if quota is None:
        return count(root)[0]
    found = _read(root)
    if found is not None and _serves(found, quota):
        return found.usage
    try:
        with _locked(root):
            return _counted(root, quota)
    except OSError:  # no such maildrop yet; or it cannot be written, but perhaps read
        return count(root)[0]


def charge(root: bytes, quota: Quota | None, octets: int, enter: Callable[[], object]) -> None:
    """Call `enter`, which gives a new message its name in the maildrop, and count its `octets`.

    Errors: QuotaExceeded, before `enter`; those of `enter`, after which nothing is counted; MaildropUnavailable; OSError.
    """
    quota = effective(quota)
    if quota is None and not os.path.lexists(root + NAME):
        enter()
        return
    with _locked(root):
        if quota is not None:
            _check(root, quota, octets)
        descriptor = _open(root)
        try:
            _append(root, descriptor, octets, 1)
            try:
                enter()
            except BaseException:
                with suppress(OSError):
                    _append(root, descriptor, -octets, -1)
                raise
        finally:
            _close(descriptor)


class Discount:
    """What will be removed from a maildrop. It is made before the first file is gone.

    A count that another process makes meanwhile replaces the file, and the amount then goes to the old one: the new one counts
    some files that go, perhaps, but forgets none.
    """

    __slots__ = ("_descriptor", "_root")

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._descriptor = _open(root)

    def take(self, octets: int, messages: int) -> None:
        """So much was removed; nothing more can be told."""
        descriptor, self._descriptor = self._descriptor, -1
        try:
            if messages:
                with suppress(OSError):
                    _append(self._root, descriptor, -octets, -messages)
        finally:
            _close(descriptor)

    def unknown(self) -> None:
        """Nobody knows how much was removed."""
        if self._descriptor >= 0:
            forget(self._root)
        self.close()

    def close(self) -> None:
        """Nothing was removed; idempotent, and harmless after the others."""
        descriptor, self._descriptor = self._descriptor, -1
        _close(descriptor)


def discounted(root: bytes, targets: Sequence[Target], remove: Callable[[], Removal]) -> Removal:
    """Call `remove`, which removes the files of `targets`, and count them out. Errors: those of `remove`."""
    discount = Discount(root)
    try:
        removal = remove()
        if removal.left:
            discount.unknown()  # which are left is not told
        else:
            sizes = (names.sizes(target.path)[0] for target in targets)
            octets = sum(target.size if size is None else size for target, size in zip(targets, sizes, strict=True))
            discount.take(octets, len(targets))
    except OutcomeUnknown:
        discount.unknown()
        raise
    finally:
        discount.close()
    return removal


def _read(root: bytes) -> _Sum | None:
    """What the file says; None if it cannot be used."""
    try:
        descriptor = os.open(root + NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = os.read(descriptor, LONG)
        age = time.time() - os.fstat(descriptor).st_mtime
    except OSError:
        return None
    finally:
        os.close(descriptor)
    quota, _, rest = data.partition(b"\n")
    lines = rest.split(b"\n")
    if len(data) >= LONG or lines.pop():
        return None
    try:
        amounts = [(int(octets), int(messages)) for octets, messages in map(bytes.split, lines)]
    except ValueError:
        return None
    octets, messages = sum(each for each, _ in amounts), sum(each for _, each in amounts)
    if not amounts or octets < 0 or messages < 0:
        return None
    return _Sum(Usage(messages, octets), quota, len(amounts) == 1 and abs(age) < _OLD)


def _serves(found: _Sum, quota: Quota, octets: int = 1, messages: int = 1) -> bool:
    """Whether a further message of so many octets can be decided upon by what the file says."""
    return found.quota == _definition(quota) and (found.sure or not found.usage.exceeds(quota, octets, messages))


def _definition(quota: Quota) -> bytes:
    limits = ((quota.octets, b"S"), (quota.messages, b"C"))
    return b",".join(b"%d%b" % each for each in limits if each[0])


def _check(root: bytes, quota: Quota, octets: int) -> None:
    """Under the lock. Errors: QuotaExceeded."""
    found = _read(root)
    used = found.usage if found and _serves(found, quota, octets) else _counted(root, quota)
    if used.exceeds(quota, octets, 1):
        raise QuotaExceeded(
            f"{shown(root)} holds {used.messages} messages of {used.octets} octets: one of {octets} octets exceeds the quota of "
            f"{_definition(quota).decode('ascii')}"
        )


def _counted(root: bytes, quota: Quota) -> Usage:
    """Under the lock: count, and write the file."""
    for _ in range(_COUNTS):
        found, before = count(root)
        data = b"%b\n%d %d\n" % (_definition(quota), found.octets, found.messages)
        try:
            directory_status(root + b"tmp/")
            write_new(root + _TEMPORARY, data, durable=False)
            rename(root + _TEMPORARY, root + NAME)
        except OSError:
            with suppress(OSError):
                unlink_if_there(root + _TEMPORARY)
            forget(root)
            return found
        if before == times(root):
            return found
    forget(root)
    return found


def _open(root: bytes) -> int:
    """A descriptor to append to the file, or -1 where there is none."""
    try:
        return os.open(root + NAME, _APPEND)
    except FileNotFoundError:
        return -1
    except OSError:  # a link, a FIFO, a directory: it keeps no message out, and its sum would be wrong from now on
        forget(root)
        return -1


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)


def _append(root: bytes, descriptor: int, octets: int, messages: int) -> None:
    """Append in one write, as others may append, too. Errors: OSError; then the file is gone, as it may have half of a line."""
    if descriptor < 0:
        return
    line = b"%d %d\n" % (octets, messages)
    try:
        if os.write(descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fsdecode(root + NAME))
    except OSError:
        forget(root)
        raise


def forget(root: bytes) -> None:
    """Remove the file: whoever needs it next counts."""
    with suppress(OSError):
        unlink_if_there(root + NAME)


@contextmanager
def _locked(root: bytes) -> Iterator[None]:
    """Hold the lock. Errors: OSError; MaildropUnavailable where another process does not let go of it."""
    descriptor = os.open(root + LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        _wait(root, descriptor)
        yield
    finally:
        os.close(descriptor)


def _wait(root: bytes, descriptor: int) -> None:
    until, pause = time.monotonic() + _PATIENCE, 0.000_1
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise MaildropUnavailable(
                    f"{shown(root + LOCK)} has been locked by another process for {_PATIENCE:.0f} s"
                ) from None
        else:
            return
        time.sleep(pause)
        pause = min(2 * pause, 0.005)
