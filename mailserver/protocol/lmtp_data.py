r"""The octets of a message on their way in: DATA's text and BDAT's chunks.

A text ends at CRLF "." CRLF alone (RFC 5321 section 4.1.1.4), where the CRLF behind DATA counts as the first. Everything else is
text: a bare LF or CR, ``\n.\n``, ``\r.\r``, ``\n.\r\n``, a NUL. Who takes one of these for the end reads the rest as commands of a
client, which is how mail is smuggled in under another's name (SMTP smuggling, 2023).

A leading dot is taken away behind a CRLF only, by the same rule: text that was stuffed once is the text again.
"""

from __future__ import annotations

from typing import Final

from mailserver.errors import Refusal
from mailserver.protocol.lmtp_texts import BARE_LF
from mailserver.protocol.wire import LineBuffer
from mailserver.smtp_errors import BadSyntax

WRITE_OCTETS: Final = 120 * 1024
"""Octets of one write at most, as of one read (`net.transfer` has measured it); what arrives at once is 64 KiB as a rule."""

_LAST_LINE: Final = b".\r\n"
_END: Final = b"\r\n.\r\n"
_HELD: Final = ((b"\r\n.\r", 2, True), (b"\r\n.", 1, True), (b"\r\n", 0, True), (b"\r", 1, False))
"""How a piece may end within CRLF "." CRLF: the octets that wait for the next one, and whether a line begins with them."""


class MailBuffer(LineBuffer):
    """Input that is read as command lines, as the text of a message, or as so many octets."""

    __slots__ = ("_line_begins",)

    def __init__(self) -> None:
        super().__init__()
        self._line_begins = True

    def command(self, limit: int) -> bytes | None:
        """Take the next line without its CRLF. As `line`, but one that ends with a bare LF is taken, and refused.

        Clients send none, but an LF that a client lets through in an address or a parameter would end a command within it.
        """
        line = self.line(limit)
        if line is not None and not self._data.startswith(b"\r\n", max(self._start - 2, 0)):
            raise BadSyntax(BARE_LF)
        if not self.unread:
            self.clear()
        return line

    def skip_line(self) -> bool:
        """Drop the rest of a line; False where its end has not come."""
        end = self._data.find(b"\n", self._start)
        self._taken(len(self._data) if end < 0 else end + 1)
        return end >= 0

    def octets(self, most: int) -> bytes:
        """Take what is there, up to `most` octets."""
        start = self._start
        data = self._data[start : start + min(most, WRITE_OCTETS)]
        self._taken(start + len(data))
        return data

    def begin_text(self) -> None:
        """Go on as if a CRLF had just passed: it ended the line of DATA."""
        self._line_begins = True

    def text(self) -> tuple[bytes, bool]:
        """Take text, unstuffed, and whether its end was behind it. Nothing, where the next octet must tell what it is."""
        data, start = self._data, self._start
        stop = min(start + WRITE_OCTETS, len(data))
        if self._line_begins:
            head = data[start : start + len(_LAST_LINE)]
            if head == _LAST_LINE:
                self._taken(start + len(_LAST_LINE))
                return b"", True
            if _LAST_LINE.startswith(head):
                return b"", False
            start += head.startswith(b".")
        end = data.find(_END, start, stop)
        if end >= 0:
            cut, taken = end + 2, end + len(_END)
        else:
            held, self._line_begins = _held(data, start, stop)
            cut = taken = stop - held
        text = data[start:cut].replace(b"\r\n.", b"\r\n")
        self._taken(taken)
        return text, end >= 0

    def _taken(self, start: int) -> None:
        """Go on from here. Nothing keeps the octets of a message once they have been taken."""
        self._start = self._mark = start
        self.unread = len(self._data) - start
        if not self.unread:
            self.clear()


def _held(data: bytes, start: int, stop: int) -> tuple[int, bool]:
    for tail, held, line_begins in _HELD:
        if data.endswith(tail, start, stop):
            return held, line_begins
    return 0, False


class Text:
    """DATA's: it is last, and ends by a line."""

    __slots__ = ("whole",)

    last: Final = True
    refusal: Final = None

    def __init__(self, buffer: MailBuffer) -> None:
        buffer.begin_text()
        self.whole = False
        """Whether all of it was read."""

    def read(self, buffer: MailBuffer) -> bytes:
        """Take more of it; b"" also where the next octet must tell what it is."""
        data, self.whole = buffer.text()
        return data


class Chunk:
    """BDAT's, which ends by its size (RFC 3030 section 2). A `refusal` is told when it has been read, and nothing of it counts."""

    __slots__ = ("_left", "last", "refusal", "size")

    def __init__(self, size: int, *, last: bool = False, refusal: Refusal | None = None) -> None:
        self.size = self._left = size
        self.last = last
        self.refusal = refusal

    @property
    def whole(self) -> bool:
        """Whether all of it was read."""
        return self._left == 0

    def read(self, buffer: MailBuffer) -> bytes:
        """Take more of it."""
        data = buffer.octets(self._left)
        self._left -= len(data)
        return data
