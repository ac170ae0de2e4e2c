"""The unique-ids of qpopper: those that it has written, and those that it makes of a message's header."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import md5
from typing import Final

from mailserver.migration.contents import is_unique_id
from mailserver.migration.mbox_fields import Field
from mailserver.migration.mbox_layout import Rule


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
        return [each if is_unique_id(each) else b"" for each in self._uidls]

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
