"""The unique-ids of a Dovecot whose mail is in an mbox: by its `pop3_uidl_format`, of UIDs in the fields of UW's server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import md5

from mailserver.migration.contents import is_unique_id
from mailserver.migration.mbox_fields import BASE, HIGHEST, UID, Field
from mailserver.migration.mbox_layout import Rule


class Dovecot:
    """Dovecot's own UIDs, in the fields of UW's server, and the format that its `pop3_uidl_format` says."""

    rule = Rule.LENGTH

    def __init__(self, expand: Callable[[dict[str, bytes]], bytes], *, reuse: bool) -> None:
        """`reuse`: as `pop3_reuse_xuidl`."""
        self._expand = expand
        self._reuse = reuse
        self._found: list[tuple[int, bytes, bytes]] = []  # the UID, the sum of the header, and X-UIDL
        self._validity = 0
        self._next = 1
        self._previous = 0
        self._begun = False

    def begin(self, fields: Sequence[Field]) -> None:
        """UIDVALIDITY is there."""
        self._begun = any(each.name == b"x-imap" and self._base(each) for each in fields)

    def add(self, line: bytes, fields: Sequence[Field]) -> bool:  # noqa: ARG002 - of all numberings
        """All are shown, also those that were deleted by IMAP."""
        uid, based, self._begun = 0, self._begun, True
        for each in fields:
            if each.name == b"x-imapbase" and not based:
                based = self._base(each)
            elif each.name == b"x-uid" and based and not uid:
                uid = self._uid(each)
        if not uid:
            uid = self._next
            self._next += 1
        self._previous = uid
        xuidl = next((each.value for each in fields if each.name == b"x-uidl"), b"") if self._reuse else b""
        self._found.append((uid, header_sum(fields), xuidl))
        return True

    def _base(self, field: Field) -> bool:
        found = BASE.match(field.rest)
        if found is None or not 0 < int(found[1]) <= HIGHEST:
            return False
        self._validity = int(found[1])
        self._next = max(self._next, int(found[2]) + 1)
        return True

    def _uid(self, field: Field) -> int:
        """A UID that is too high, or does not rise, is not believed, since a sender can write it."""
        found = UID.fullmatch(field.rest)
        uid = int(found[1]) if found else 0
        if not self._previous < uid <= self._next:
            return 0
        if uid == self._next:
            self._next += 1
        return uid

    def uidls(self) -> Sequence[bytes]:
        """As the format says; where it needs UIDs and there is no UIDVALIDITY, none."""
        return [self._uidl(*each) for each in self._found]

    def _uidl(self, uid: int, digest: bytes, xuidl: bytes) -> bytes:
        if xuidl:
            return xuidl if is_unique_id(xuidl) else b""
        known = {"md5": digest, "guid": digest}
        if self._validity:
            known |= {"uid": b"%d" % uid, "uidvalidity": b"%d" % self._validity}
        try:
            return self._expand(known)
        except KeyError:
            return b""

    def trouble(self) -> str:
        """Its index may know what the file does not yet."""
        if self._validity or not self._found:
            return ""
        return "no X-IMAPbase that is valid: let Dovecot write it (doveadm force-resync), or move by pop3:// from the running server"


def header_sum(fields: Sequence[Field]) -> bytes:
    """Dovecot's `%m` of an mbox: the sum of what makes a message unique, as popa3d had it (`mbox_md5 = apop3d`)."""
    digest = md5(usedforsecurity=False)
    received = False
    for each in fields:
        first = each.name == b"received" and not received
        if (
            first
            or each.name in {b"delivered-to", b"x-delivery-id"}
            or (each.name in {b"date", b"message-id"} and not received)
        ):
            lines = each.whole.split(b"\n")
            digest.update(each.value)
            for line in lines[1:]:
                digest.update(line.removesuffix(b"\r"))
            received = received or first
    return digest.hexdigest().encode("ascii")
