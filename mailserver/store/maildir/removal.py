"""Removes listed messages, and no others, while other programs may rename them."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from mailserver.store.maildir.files import shown, unlink_if_there
from mailserver.store.maildir.listing import PASSES, Clock, Listing, look, pause
from mailserver.store.maildir.places import NOWHERE, make, put, sync_place
from mailserver.store.maildir.same import Target, candidates, is_proven


class Removal(NamedTuple):
    """The outcome of a removal."""

    left: int
    """The number of files that are still there."""
    notes: list[str]
    """Notes for the operator."""


def remove(  # noqa: PLR0913, PLR0917  # what one listing after the other is compared with
    root: bytes,
    targets: Collection[Target],
    clock: Clock,
    first: Listing | None = None,
    others: AbstractSet[int] = frozenset(),
    place: bytes = NOWHERE,
) -> Removal:
    """Unlink the targets that exist; `first` is a listing made just before, `others` the inodes of other messages.

    Before its name goes, each has another one at the `place`, durably. What cannot have that stays in the maildrop.

    A target that no listing shows is gone only if it was unlinked here or the listing was complete. Errors: OSError of the
    directories; EAGAIN when they change without end.
    """
    work = _Work(root, targets, others, place)
    if place and (trouble := _made(root, place)):
        return work.nothing(trouble)
    for passes in range(PASSES):
        listing = first or look(root, clock)
        first = None
        if work.once(listing, clock):
            continue  # look again: a message may have several names
        if listing.complete or not work.unseen:
            return work.removal()
        pause(passes, 0.02)  # the coarsest clocks tick every 2 s
    raise OSError(errno.EAGAIN, "messages move faster than they can be removed", os.fsdecode(root))


def _made(root: bytes, place: bytes) -> str:
    """Make the place; the reason why there is none."""
    try:
        make(root, place)
    except OSError as error:
        return error.strerror or str(error)
    return ""


class _Work:
    """The progress of a removal."""

    def __init__(self, root: bytes, targets: Collection[Target], others: AbstractSet[int], place: bytes) -> None:
        self._root = root
        self._place = place
        self._targets = targets
        self._known = others | {target.inode for target in self._targets if target.inode}
        self._failed: dict[Target, tuple[bytes, str]] = {}
        self._strange: dict[Target, tuple[bytes, str]] = {}
        self.unseen = set(self._targets)
        """The targets that were neither unlinked nor failed."""

    def once(self, listing: Listing, clock: Clock) -> bool:
        """Unlink the targets in the listing; answers whether there were any, so that another listing is needed."""
        named = candidates(listing.files, self._targets)
        self._strange.clear()
        busy, proven = False, list[tuple[Target, bytes]]()
        for target in self._targets:
            if target in self._failed:
                continue
            for path in named[target.unique]:
                inode = listing.files[path]
                try:
                    if is_proven(self._root, target, path, listing.files, clock):
                        if self._place:
                            proven.append((target, path))
                        else:
                            busy |= self._unlink(target, path)
                    elif inode == target.inode or inode not in self._known:
                        self._strange[target] = path, "it is not proven to be the file that was listed"
                except FileNotFoundError:
                    busy = True  # another program renamed it: look again
        return busy | self._put_away(proven)

    def nothing(self, trouble: str) -> Removal:
        """The outcome where nothing is removed."""
        self._failed = dict.fromkeys(self._targets, (self._place, trouble))
        return self.removal()

    def _put_away(self, proven: Sequence[tuple[Target, bytes]]) -> bool:
        """Put the files at the place, and then unlink them; answers whether another listing is needed."""
        busy, put_there, moved = False, list[tuple[Target, bytes]](), set[Target]()
        for target, path in proven:
            try:
                if put(self._root, path, self._place):
                    moved.add(target)
                put_there.append((target, path))
            except FileNotFoundError:
                busy = True  # another program renamed it: look again
            except OSError as error:
                self._fail(target, path, error)
        try:
            if put_there:
                sync_place(self._root, self._place)
        except OSError as error:
            for target, path in put_there:
                self._fail(target, path, error)
            return busy
        for target, path in put_there:
            busy |= self._unlink(target, path)
        self.unseen -= moved
        return busy

    def _fail(self, target: Target, path: bytes, error: OSError) -> None:
        self._failed[target] = path, error.strerror or str(error)
        self.unseen.discard(target)

    def _unlink(self, target: Target, path: bytes) -> bool:
        try:
            if unlink_if_there(self._root + path):
                self.unseen.discard(target)
        except OSError as error:
            self._fail(target, path, error)
            return False
        return True

    def removal(self) -> Removal:
        """The outcome."""
        left = self._failed | {target: why for target, why in self._strange.items() if target in self.unseen}
        reasons: dict[str, list[bytes]] = {}
        for path, reason in left.values():
            reasons.setdefault(reason, []).append(path)
        return Removal(len(left), [self._note(paths, reason) for reason, paths in reasons.items()])

    def _note(self, paths: Sequence[bytes], reason: str) -> str:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        return f"{shown(self._root + min(paths))}{more} cannot be removed: {reason}"
