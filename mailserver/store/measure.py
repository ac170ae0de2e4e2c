"""What a stored message measures on the wire, counted chunk by chunk without a copy."""

from __future__ import annotations


class Measure:
    """Counts the octets of RFC 1939 section 11 and decides whether the stored bytes are wire form already.

    A bare LF counts as CRLF, a bare CR as itself, and a last line without its end gets one. A chunk's edge may fall
    anywhere.
    """

    __slots__ = ("_bare", "_dotted", "_last", "size")

    def __init__(self) -> None:
        self.size = 0
        """Octets fed so far, as stored."""
        self._bare = 0  # LFs without their CR
        self._dotted = False  # whether some line begins with a dot
        self._last = b"\r\n"  # the two octets before the next chunk; a message begins as after a line end

    def feed(self, chunk: bytes) -> None:
        """Count the next chunk."""
        if not chunk:
            return
        self.size += len(chunk)
        self._bare += chunk.count(b"\n") - chunk.count(b"\r\n")
        if chunk.startswith(b"\n") and self._last.endswith(b"\r"):
            self._bare -= 1
        self._dotted = self._dotted or b"\n." in chunk or (chunk.startswith(b".") and self._last.endswith(b"\n"))
        self._last = chunk[-2:] if len(chunk) > 1 else self._last[-1:] + chunk

    @property
    def octets(self) -> int:
        """Size on the wire, without byte-stuffing and the termination line."""
        return self.size + self._bare + (0 if self._last.endswith(b"\n") else 2)

    @property
    def wire(self) -> bool:
        """Whether the bytes can be sent as they are: CRLF line ends, nothing to stuff, the last line ended."""
        return not self._bare and not self._dotted and self._last == b"\r\n"


def measure(message: bytes) -> Measure:
    """The measure of a whole message."""
    result = Measure()
    result.feed(message)
    return result
