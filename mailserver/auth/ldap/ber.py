"""The part of BER that LDAP uses (RFC 4511 section 5.1): definite lengths, and tags of one octet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

INTEGER: Final = 0x02
OCTETS: Final = 0x04
ENUMERATED: Final = 0x0A
SEQUENCE: Final = 0x30
SET: Final = 0x31

_LONG: Final = 0x80
"""In the first octet of a length: the others are the length."""

_MAX_LENGTH_OCTETS: Final = 4
"""2^32 octets: `frame` refuses far less."""

_MAX_INTEGER_OCTETS: Final = 8
"""LDAP's own integers have at most 31 bits; a server may pad."""


class Malformed(Exception):
    """Octets that are no BER, or not what LDAP has in this place."""


def element(tag: int, *parts: bytes) -> bytes:
    """An element of these contents."""
    contents = b"".join(parts)
    size = len(contents)
    if size < _LONG:
        return bytes((tag, size)) + contents
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG | len(length))) + length + contents


def integer(value: int, tag: int = INTEGER) -> bytes:
    """An INTEGER or ENUMERATED that is not negative."""
    return element(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def boolean(value: bool) -> bytes:
    """A BOOLEAN."""
    return element(0x01, b"\xff" if value else b"\0")


def frame(data: bytes | bytearray, limit: int) -> int | None:
    """The octets of the message at the start of `data`; None while its length is not known. Errors: Malformed.

    A message has at most `limit` octets: what a server sends must not fill the memory.
    """
    if data and data[0] != SEQUENCE:
        raise Malformed("a message does not begin as one of LDAP")
    head = _head(data, 0)
    if head is None:
        return None
    start, size = head
    if start + size > limit:
        raise Malformed(f"a message has more than {limit} octets")
    return start + size


def _head(data: bytes | bytearray, position: int) -> tuple[int, int] | None:
    """Where the contents begin, and their size; None if `data` ends before. Errors: Malformed."""
    if len(data) < position + 2:
        return None
    first = data[position + 1]
    if first < _LONG:
        return position + 2, first
    count = first & ~_LONG
    if not 1 <= count <= _MAX_LENGTH_OCTETS:
        raise Malformed("a length that LDAP does not have")
    start = position + 2 + count
    return (start, int.from_bytes(data[position + 2 : start], "big")) if len(data) >= start else None


def elements(contents: bytes) -> Iterator[tuple[int, bytes]]:
    """The tags and contents of the elements one after another. Errors: Malformed."""
    position = 0
    while position < len(contents):
        head = _head(contents, position)
        if head is None or head[0] + head[1] > len(contents):
            raise Malformed("an element ends too early")
        start, size = head
        yield contents[position], contents[start : start + size]
        position = start + size


class Reader:
    """Takes the elements of a sequence one by one."""

    __slots__ = ("_elements",)

    def __init__(self, contents: bytes) -> None:
        self._elements = list(elements(contents))[::-1]

    def take(self, *tags: int) -> bytes:
        """The contents of the next element, which has one of these tags. Errors: Malformed."""
        if not self._elements or self._elements[-1][0] not in tags:
            raise Malformed("an element is missing, or is another one")
        return self._elements.pop()[1]

    def next(self) -> tuple[int, bytes]:
        """The next element, with whatever tag. Errors: Malformed."""
        if not self._elements:
            raise Malformed("an element is missing")
        return self._elements.pop()

    def take_integer(self, tag: int = INTEGER) -> int:
        """The next element, an INTEGER or ENUMERATED. Errors: Malformed."""
        contents = self.take(tag)
        if not 1 <= len(contents) <= _MAX_INTEGER_OCTETS:
            raise Malformed("an integer that LDAP does not have")
        return int.from_bytes(contents, "big", signed=True)

    def find(self, tag: int) -> bytes | None:
        """The contents of the first element left with this tag; None if there is none."""
        return next((contents for each, contents in reversed(self._elements) if each == tag), None)
