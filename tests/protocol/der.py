"""DER as a strict reader takes it (X.690 section 8.1.3 and 10.1), written without a line of the server's."""

from __future__ import annotations


def read(data: bytes) -> tuple[int, bytes, bytes]:
    """The tag and the content of the first value, and what follows it."""
    tag, length, rest = data[0], data[1], data[2:]
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(rest[:count], "big")
        assert count
        assert length >= 0x80, "the short form would do"
        assert rest[0] != 0, "fewer octets would do"
        rest = rest[count:]
    assert len(rest) >= length, "the value is cut short"
    return tag, rest[:length], rest[length:]


def only(data: bytes, tag: int) -> bytes:
    """The content of the one value that is there."""
    found, content, rest = read(data)
    assert (found, rest) == (tag, b"")
    return content


def fields(data: bytes) -> dict[int, bytes]:
    """The fields of a sequence's content, by their numbers, which must ascend."""
    found: dict[int, bytes] = {}
    while data:
        tag, content, data = read(data)
        assert tag & 0xE0 == 0xA0, "not a context tag"
        assert not found or tag & 0x1F > max(found), "out of order"
        found[tag & 0x1F] = content
    return found


def integer(data: bytes) -> int:
    """A whole number, in as few octets as it needs."""
    content = only(data, 0x02)
    assert len(content) == 1 or content[0] or content[1] & 0x80, "fewer octets would do"
    return int.from_bytes(content, "big", signed=True)


def strings(data: bytes) -> list[bytes]:
    """The GeneralStrings of a sequence."""
    rest = only(data, 0x30)
    found = []
    while rest:
        tag, content, rest = read(rest)
        assert tag == 0x1B
        found.append(content)
    return found


def error(data: bytes) -> dict[str, object]:
    """A KRB-ERROR (RFC 4120 section 5.9.1)."""
    found = fields(only(only(data, 0x7E), 0x30))
    assert found.keys() == {0, 1, 4, 5, 6, 9, 10, 11}
    assert (integer(found[0]), integer(found[1])) == (5, 30)
    name = fields(only(found[10], 0x30))
    assert integer(name[0]) == 1
    return {
        "time": only(found[4], 0x18),
        "microseconds": integer(found[5]),
        "code": integer(found[6]),
        "realm": only(found[9], 0x1B),
        "server": strings(name[1]),
        "text": only(found[11], 0x1B),
    }
