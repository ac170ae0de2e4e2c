"""Messages that servers get wrong, and what each is on the wire by the simplest possible reading of the RFCs."""

from __future__ import annotations

import re
from typing import Final

HEAD: Final = b"From: alice@example.org\nSubject: %b\n\n"
BYTES: Final = bytes(range(256))


def filled(size: int) -> bytes:
    """A message of so many octets, whose last line has no end."""
    return (HEAD % b"filled" + (b"f" * 59 + b"\n") * (size // 60))[: size - 1] + b"f"


CORPUS: Final[dict[str, bytes]] = {
    "usual": HEAD % b"usual" + b"Hello,\n\nthis is a message.\n",
    "usual-crlf": (HEAD % b"usual-crlf" + b"Hello,\n\nthis is a message.\n").replace(b"\n", b"\r\n"),
    "empty": b"",
    "one-octet": b"x",
    "first-octet-a-dot": b".From: dot@example.org\n\nbody\n",
    "only-a-dot": b".",
    "only-a-dot-line": b".\n",
    "only-a-dot-line-crlf": b".\r\n",
    "only-dots": b".\n..\n...\n....\n",
    "leading-dots": HEAD % b"leading-dots" + b".one\n..two\n...three\n.\n..\n. \n.\tx\n",
    "leading-dots-crlf": (HEAD % b"leading-dots" + b".one\n..two\n.\n..\n").replace(b"\n", b"\r\n"),
    "body-begins-with-dots": HEAD % b"body-begins" + b".\n.\nbody\n",
    "dot-in-the-headers": b"From: alice@example.org\n.\nSubject: no header\n\nbody\n",
    "ends-with-a-dot": HEAD % b"ends-with-a-dot" + b"the last line has one\n.",
    "ends-with-a-dot-line": HEAD % b"ends-with-a-dot-line" + b"text\n.\n",
    "forged-reply": HEAD % b"forged" + b"text\n.\n+OK 1 octets\n.\n-ERR forged\n",
    "no-final-newline": HEAD % b"no-final-newline" + b"the end",
    "header-only": b"From: alice@example.org\nSubject: header only\n",
    "header-only-unended": b"From: alice@example.org\nSubject: header only",
    "header-and-blank-line": HEAD % b"header and blank line",
    "no-blank-line": b"no header at all\nand no blank line\n.either\n",
    "begins-with-a-blank-line": b"\nbody\n.body\n",
    "only-newlines": b"\n\n\n",
    "only-one-newline": b"\n",
    "mixed-ends": HEAD % b"mixed" + b"lf\ncrlf\r\nlf\n\r\n\n.dot\r\n.dot\n",
    "bare-cr": HEAD % b"bare-cr" + b"one\rtwo\r\rthree\r\r\nfour\n\rfive\n",
    "bare-cr-and-dots": HEAD % b"bare-cr-dots" + b"a\r.b\r\n.c\r\r\n.\r.\n",
    "lone-cr": b"\r",
    "ends-with-cr": HEAD % b"ends-with-cr" + b"text\r",
    "ends-with-cr-cr-lf": HEAD % b"ends-with-cr-cr-lf" + b"text\r\r\n",
    "nul": HEAD % b"nul" + b"\0a\0\n\0.\0\n.\0\n\0",
    "every-octet": HEAD % b"every-octet" + BYTES + b"\n" + BYTES[::-1] + b"\n." + BYTES,
    "eight-bit": HEAD % "Grüße".encode() + "naïve café, 你好\n".encode() + "latin: é\n".encode("latin-1"),
    "long-line": HEAD % b"long-line" + b"x" * 100_000 + b"\n." + b"." * 100_000 + b"\nend\n",
    "long-line-unended": HEAD % b"long-line-unended" + b"y" * 100_000,
    "long-header": b"From: alice@example.org\nX-Long: " + b"z" * 100_000 + b"\n\nbody\n",
    "many-headers": b"".join(b"X-%d: header\n" % number for number in range(3000)) + b"\nbody\n",
    # Just below, at and above the sizes of reads and writes: the line end or the dot falls on the chunk's edge.
    **{
        f"edge-{edge // 1024}k{offset:+d}": filled(edge + offset) + b"\n.\n..\n.tail"
        for edge in (16 * 1024, 64 * 1024, 120 * 1024)
        for offset in (-3, -2, -1, 0)
    },
    "edge-cr-lf": b"c" * (120 * 1024 - 1) + b"\r\n.\r\n",
    "large": HEAD % b"large" + b"All work and no play makes a large message.\n.\n" * 230_000,
    "large-wire-form": (HEAD % b"large-wire" + b"No line begins with a dot; sendfile.\n" * 280_000).replace(
        b"\n", b"\r\n"
    ),
}
"""By name, as a delivery agent wrote them into files."""

SMALL: Final = {name: message for name, message in CORPUS.items() if len(message) < 1_000_000}


def canonical(message: bytes) -> bytes:
    """The message on the wire, before byte-stuffing: CRLF for every line end, and one after the last line."""
    lines = re.split(rb"\r?\n", message)
    if lines[-1] == b"":
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


def top(message: bytes, count: int) -> bytes:
    """What TOP gives of it: the headers, the blank line, and so many lines of the body (RFC 1939 section 7)."""
    lines = canonical(message).split(b"\r\n")[:-1]
    if b"" not in lines:
        return canonical(message)
    end = lines.index(b"") + 1 + count
    return b"".join(line + b"\r\n" for line in lines[:end])
