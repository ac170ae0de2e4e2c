"""The header of a message for operators: who wrote it, and what about; or only so much of that as tells messages apart."""

from __future__ import annotations

import re
from contextlib import suppress
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.utils import parseaddr
from typing import Final

_FOLD: Final = re.compile(rb"\r?\n(?=[ \t])")
_WORD: Final = re.compile(r"[^\W\d_]\w+")
_DIGIT: Final = re.compile(r"\d")


def field(head: bytes, name: str) -> str:
    """The decoded value of a field of the header, in one line; "": it has none."""
    found = re.search(rb"(?im)^%b[ \t]*:(.*)$" % name.encode("ascii"), _FOLD.sub(b"", head))
    if found is None:
        return ""
    text = found[1].decode("utf-8", "replace")
    with suppress(HeaderParseError, LookupError, UnicodeError, ValueError):  # then it is as it stands there
        text = str(make_header(decode_header(text)))
    return " ".join(text.encode("utf-8", "replace").decode().split())  # UTF-7, for one, can name half a character


def redacted_sender(text: str) -> str:
    """The first letter of the address, and its domain."""
    local = at = domain = ""
    with suppress(RecursionError):  # of comments in comments in comments
        local, at, domain = parseaddr(text)[1].rpartition("@")
    return f"{local[:1]}…{at}{domain}" if at else "…" if text else ""


def redacted_subject(text: str) -> str:
    """The first letter of each word, without numbers, which may be codes: enough to find a message by what its reader says of it."""
    return _WORD.sub(lambda word: f"{word[0][0]}…", _DIGIT.sub("#", text))
