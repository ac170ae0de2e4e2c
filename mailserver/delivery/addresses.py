"""Addresses: the two sides of what stands in a path (RFC 5321 section 4.1.2, RFC 6531 section 3.3), and back."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from mailserver.names import folded

_CONTROL: Final = re.compile("[\x00-\x1f\x7f]")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"(?:@(.+))?', re.DOTALL)
_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)
_SPECIAL: Final = re.compile(r'["\\]')
_PLAIN: Final = re.compile(
    r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\u0080-\U0010ffff][A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\u0080-\U0010ffff.]*"
)
"""A local part that is read without quotes: dots may stand where RFC 5321 has none, as at some providers, but not first."""


class Address(NamedTuple):
    """An address as its two sides, without quotes."""

    local: str
    domain: str = ""
    """In lower case and one spelling; "": the address has none."""

    @property
    def text(self) -> str:
        """The sides and the "@" between them: what a name is read from."""
        return f"{self.local}@{self.domain}" if self.domain else self.local

    @property
    def octets(self) -> bytes:
        """As it stands in a header, with quotes where it needs them alone."""
        local = self.local if _PLAIN.fullmatch(self.local) else f'"{_SPECIAL.sub(_escaped, self.local)}"'
        return (f"{local}@{self.domain}" if self.domain else local).encode("utf-8")


def _escaped(found: re.Match[str]) -> str:
    return "\\" + found[0]


def read_address(octets: bytes) -> Address | None:
    """The address in a path without angle brackets; None where it is none, or holds octets that no line can."""
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return parse_address(text)


def parse_address(text: str) -> Address | None:
    """The same of a text."""
    if _CONTROL.search(text):
        return None
    if text.startswith('"'):
        quoted = _QUOTED.fullmatch(text)
        if quoted is None:
            return None
        local, domain = _PAIR.sub(r"\1", quoted[1]), quoted[2] or ""
    else:
        before, at, after = text.rpartition("@")
        local, domain = (before, after) if at else (after, "")
        if (at and not domain) or '"' in local or " " in local:
            return None
    if not local or " " in domain or "@" in domain or '"' in domain:
        return None
    return Address(local, folded(domain))
