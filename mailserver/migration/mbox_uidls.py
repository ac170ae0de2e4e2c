"""The unique-ids that each server of mboxes gave, by what it has left in the mbox.

A numbering is fed with all messages in their order, and then answers their unique-ids: for some servers a field in the midst of the
mbox changes those of all. b"": clients have not seen the message there, or would see another unique-id at their next login.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import md5
from typing import Final, Protocol

from mailserver.migration.mbox_fields import Field
from mailserver.migration.mbox_layout import Rule

_VALID: Final = re.compile(rb"[\x21-\x7e]{1,70}")
_BASE: Final = re.compile(rb"[ \t]*([0-9]{1,10}) +([0-9]{1,10})(?![0-9])")
_NUMBER: Final = re.compile(rb"[ \t]*([0-9]{1,10})(?![0-9])\s*")
_MOST: Final = 0xFFFFFFFF
"""The highest UID and UIDVALIDITY (RFC 3501)."""


class Numbering(Protocol):
    """What a server makes of the messages."""

    rule: Rule
    """How it cuts the file."""

    def begin(self, fields: Sequence[Field]) -> None:
        """The header of a first message that is none (`is_pseudo`), but has what concerns them all."""

    def add(self, line: bytes, fields: Sequence[Field]) -> bool:
        """The next message, by the line that begins it and its header; False: the server does not show it."""

    def uidls(self) -> Sequence[bytes]:
        """The unique-ids of all messages that it shows."""

    def trouble(self) -> str:
        """What the operator should know; "": nothing."""


class Unnumbered:
    """An mbox that no server has shown, such as an archive."""

    rule = Rule.LENGTH

    def __init__(self) -> None:
        self._count = 0

    def begin(self, fields: Sequence[Field]) -> None:
        """Nothing of that concerns it."""

    def add(self, line: bytes, fields: Sequence[Field]) -> bool:  # noqa: ARG002 - of all numberings
        """All are shown."""
        self._count += 1
        return True

    def uidls(self) -> Sequence[bytes]:
        """There are none."""
        return [b""] * self._count

    def trouble(self) -> str:
        """Nothing is wrong with that."""
        return ""


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
        if found := _BASE.match(field.whole.partition(b":")[2]):
            self._validity, self._last = int(found[1]), int(found[2])

    def _uid(self, field: Field, before: int) -> int:
        """A UID that does not rise makes all numbers void, in this server, too."""
        found = _NUMBER.match(field.whole.partition(b":")[2])
        uid = int(found[1]) if found else 0
        if before or uid <= self._previous:
            self._validity = 0
            return 0
        self._last = max(self._last, uid)
        return uid

    @property
    def _valid(self) -> bool:
        return 0 < self._validity <= _MOST

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
        found = _BASE.match(field.whole.partition(b":")[2])
        if found is None or not 0 < int(found[1]) <= _MOST:
            return False
        self._validity = int(found[1])
        self._next = max(self._next, int(found[2]) + 1)
        return True

    def _uid(self, field: Field) -> int:
        """A UID that is too high, or does not rise, is not believed, since a sender can write it."""
        found = _NUMBER.fullmatch(field.whole.partition(b":")[2])
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
            return xuidl if _VALID.fullmatch(xuidl) else b""
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


class Qpopper:
    """Qpopper: the unique-ids in X-UIDL, which it writes at the end of a session."""

    rule = Rule.BLANK
    _LENGTHS: Final = range(11, 33)
    """Of those that it takes for its own."""

    def __init__(self) -> None:
        self._uidls: list[bytes] = []

    def begin(self, fields: Sequence[Field]) -> None:
        """Nothing of that concerns it."""

    def add(self, line: bytes, fields: Sequence[Field]) -> bool:
        """All are shown."""
        found = (each.value for each in fields if each.name == b"x-uidl")
        self._uidls.append(
            next((each for each in found if len(each) in self._LENGTHS), b"") or self._made(line, fields)
        )
        return True

    def _made(self, line: bytes, fields: Sequence[Field]) -> bytes:  # noqa: ARG002 - of the other kinds
        """What it would make contains the time of the session; nobody has seen it."""
        return b""

    def uidls(self) -> Sequence[bytes]:
        """What is no unique-id by RFC 1939 is none."""
        return [each if _VALID.fullmatch(each) else b"" for each in self._uidls]

    def trouble(self) -> str:
        """What has none was never shown."""
        return ""


class QpopperSum(Qpopper):
    """Qpopper with `update-status-headers = false`: it writes nothing, and makes the same unique-ids each time."""

    _FIELDS: Final = frozenset({b"received", b"date", b"message-id", b"subject"})
    _LINE: Final = 1023
    """Octets of a line that it reads."""

    def _made(self, line: bytes, fields: Sequence[Field]) -> bytes:
        return base80(self._sum(line, fields, again=True))

    def _sum(self, line: bytes, fields: Sequence[Field], *, again: bool) -> bytes:
        begin = line[: self._LINE - 1] + b"\n"
        digest = md5(begin, usedforsecurity=False)
        for each in fields:
            if each.name in self._FIELDS:
                digest.update(each.whole.partition(b"\n")[0][: self._LINE - 1] + b"\n")
        if again:
            digest.update(begin)
        return digest.digest()


class QpopperOld(QpopperSum):
    """Qpopper 2, and later ones with `old-style-uid`: the sum in hexadecimal digits."""

    def _made(self, line: bytes, fields: Sequence[Field]) -> bytes:
        return self._sum(line, fields, again=False).hex().encode("ascii")


def base80(digest: bytes) -> bytes:
    """Sixteen octets as qpopper writes them; it has no dot, since POP3 would stuff one."""
    found = bytearray()
    for at in range(0, 16, 4):
        value = 0
        for octet in digest[at : at + 4]:
            value = (value << 4) + octet
        for _ in range(5):
            value, digit = divmod(value, 80)
            found.append(0x21 + digit)
    return bytes(found).replace(b".", b"~")


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
