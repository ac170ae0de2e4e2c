"""The one rule of line ends: a bare LF becomes CRLF, a bare CR stays, and the last line is ended.

A message after this rule is canonical, and its octets are those that LIST counts (RFC 1939 section 11). `Measure` counts them
without a copy, `Canonical` makes them. Both take a message in chunks, whose edges may fall anywhere, between CR and LF too. A
canonical message in which no line begins with a dot is in wire form: `protocol.wire.Stuffer` would not change it.
"""

from __future__ import annotations


class Canonical:
    """Makes a message canonical, chunk by chunk. No chunk that it returns ends between CR and LF."""

    __slots__ = ("_held", "line_ended", "octets")

    def __init__(self) -> None:
        self.octets = 0
        """Octets returned so far."""
        self.line_ended = True
        """Whether what was fed so far ends with a line end; a message begins as after one."""
        self._held = False  # a CR at the end of a chunk: half of a CRLF, or bare

    def feed(self, chunk: bytes) -> bytes:
        """Return the next chunk's octets."""
        if not chunk:
            return b""
        self.line_ended = chunk.endswith(b"\n")
        if self._held:
            chunk = b"\r" + chunk
        self._held = chunk.endswith(b"\r")
        if self._held:
            chunk = chunk[:-1]
        if b"\r" in chunk:  # a search for one octet costs a hundredth of one for two: most stored mail has no CR
            chunk = chunk.replace(b"\r\n", b"\n")
        chunk = chunk.replace(b"\n", b"\r\n")
        self.octets += len(chunk)
        return chunk

    def end(self) -> bytes:
        """Return the last octets: a held CR, and the end of a last line that has none."""
        rest = b"\r" if self._held else b""
        if rest or not self.line_ended:
            rest += b"\r\n"
        self._held = False
        self.line_ended = True
        self.octets += len(rest)
        return rest


class Measure:
    """Counts the octets of the canonical message, and tells whether the stored bytes are in wire form already."""

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
        """Whether the bytes can be sent as they are: canonical, and no line begins with a dot."""
        return not self._bare and not self._dotted and self._last == b"\r\n"


def measure(message: bytes) -> Measure:
    """The measure of a whole message."""
    result = Measure()
    result.feed(message)
    return result
