"""Notices when most messages of a maildrop have other unique-ids than before, so that their clients will fetch them again."""

from __future__ import annotations

from mailserver.snapshot import Renewed
from mailserver.store.maildir import filenames as names
from mailserver.store.maildir.cache import Kept
from mailserver.store.maildir.index import NO_MAP
from mailserver.store.maildir.listing import PREFIX
from mailserver.store.maildir.naming import Naming
from mailserver.store.maildir.pieces import one_by_one
from mailserver.store.maildir.rows import Rows

_SECOND = 1_000_000_000


def renewal(known: Rows, kept: Kept | None, rows: Rows, naming: Naming, now: int) -> Renewed | None:
    """What has given most of these rows other ids than they had; None: nothing.

    They had those of the last index, `known`; or if that is lost, of the one that this process remembers. `now` is in nanoseconds.
    """
    if known:
        reason, before = naming.reason, known if naming.doubts_all else None
    elif kept is not None:
        lost_both = naming.there == NO_MAP != kept.found.basis.uidls
        reason, before = "map missing" if lost_both else "index lost", kept.found.rows
    else:
        return None
    return Renewed(reason, now // _SECOND) if before is not None and _most(before, rows) else None


def _most(before: Rows, after: Rows) -> bool:
    """Whether at least half of the messages were there before, with another unique-id."""
    columns = one_by_one(zip(before.names, before.inodes, before.uidls, strict=True))
    had = {(names.unique_part(name[PREFIX:]), inode): uidl for name, inode, uidl in columns}
    rows = one_by_one(zip(after.names, after.inodes, after.uidls, strict=True))
    changed = sum(had.get((names.unique_part(name[PREFIX:]), inode), uidl) != uidl for name, inode, uidl in rows)
    return changed > 0 and 2 * changed >= len(after)
