"""The unique-ids of UW's server: UIDVALIDITY stands in the first message of an mbox, and a UID in each."""

from __future__ import annotations

from collections.abc import Sequence

from mailserver.migration.mbox_fields import BASE, HIGHEST, UID, Field
from mailserver.migration.mbox_layout import Rule


class Uw:
    """ipop3d and imapd of the University of Washington: UIDVALIDITY in the first message, UIDs in all; names are as it writes them."""

    rule = Rule.ANY

    def __init__(self) -> None:
        self._uids: list[int] = []
        self._validity = 0
        self._begun = False
        self._previous = 0
        self._last = 0

    def begin(self, fields: Sequence[Field]) -> None:
        """UIDVALIDITY is there."""
        for each in fields:
            self._base(each)
        self._begun = True

    def add(self, line: bytes, fields: Sequence[Field]) -> bool:  # noqa: ARG002 - of all numberings
        """Messages that were deleted by IMAP, and not expunged, are not shown."""
        uid, deleted = 0, False
        for each in fields:
            self._base(each)
            if each.whole.startswith(b"X-UID:") and self._validity:
                uid = self._uid(each, uid)
            elif each.whole.startswith((b"Status:", b"X-Status:")):
                deleted = deleted or b"D" in each.value
        self._begun = True
        if not uid:
            self._last += 1
            uid = self._last
        self._previous = uid
        if not deleted:
            self._uids.append(uid)
        return not deleted

    def _base(self, field: Field) -> None:
        if self._begun or self._validity or not field.whole.startswith((b"X-IMAPbase:", b"X-IMAP:")):
            return
        if found := BASE.match(field.rest):
            self._validity, self._last = int(found[1]), int(found[2])

    def _uid(self, field: Field, before: int) -> int:
        """A UID that does not rise makes all numbers void, in this server, too."""
        found = UID.match(field.rest)
        uid = int(found[1]) if found else 0
        if before or uid <= self._previous:
            self._validity = 0
            return 0
        self._last = max(self._last, uid)
        return uid

    @property
    def _valid(self) -> bool:
        return 0 < self._validity <= HIGHEST

    def uidls(self) -> Sequence[bytes]:
        """UIDVALIDITY and UID, as ipop3d shows them."""
        if not self._valid:
            return [b""] * len(self._uids)
        return [b"%08x%08x" % (self._validity, uid) for uid in self._uids]

    def trouble(self) -> str:
        """Without a UIDVALIDITY it would give new ones at the next login."""
        return (
            ""
            if self._valid or not self._uids
            else "no X-IMAPbase that is valid: the old server has given no lasting unique-ids"
        )
