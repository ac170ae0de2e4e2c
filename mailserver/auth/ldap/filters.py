"""Search filters as text (RFC 4515), with ``{user}``, ``{local}`` and ``{domain}`` in the place of values.

A filter is parsed once, before any name is known; a name later becomes octets of an assertion's value. It never is text of a
filter, so no name can change what a filter asks for. Names in DNs are text, and are escaped (RFC 4514).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from mailserver.auth.ldap.ber import OCTETS, SEQUENCE, element
from mailserver.toml import near_miss

NAMES: Final = ("user", "local", "domain")
"""The whole name, and its parts before and after the last ``@``; without one it has no domain."""

Given = Mapping[str, str]

_MAX_DEPTH: Final = 20
"""Of parentheses; no site's filter has half of it."""

_ATTRIBUTE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.;-]*")
_ITEM: Final = re.compile(
    r"(?P<attribute>[^=~<>:()]*)(?::(?!=)(?P<rule>[^=()]*?))?(?P<kind>:=|~=|>=|<=|=)(?P<value>[^()]*)"
)
_PIECE: Final = re.compile(r"\\(?P<hex>[0-9A-Fa-f]{2})|\{(?P<name>[^{}]*)\}|(?P<text>[^\\{}*\0]+)")

_AND, _OR, _NOT, _EQUAL, _SUBSTRINGS, _AT_LEAST, _AT_MOST, _PRESENT, _APPROX, _EXTENSIBLE = (
    *(0xA0, 0xA1, 0xA2, 0xA3, 0xA4),
    *(0xA5, 0xA6, 0x87, 0xA8, 0xA9),
)
_COMPARISONS: Final = {"=": _EQUAL, ">=": _AT_LEAST, "<=": _AT_MOST, "~=": _APPROX}


class FilterError(Exception):
    """What is wrong with a filter or a template, in words for its author."""


def given(name: str) -> Given:
    """The values for a user's name."""
    local, at, domain = name.rpartition("@")
    return {"user": name, "local": local if at else name, "domain": domain}


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that was parsed."""

    encode: Callable[[Given], bytes]
    """The filter for a name, as a search has it."""
    names: frozenset[str]
    """The parameters in it."""


def read_filter(text: str) -> Filter:
    """Parse a filter. Errors: FilterError."""
    names: set[str] = set()
    encode, end = _filter(text.strip(), 0, names, 0)
    if end != len(text.strip()):
        raise FilterError("something stands behind the last parenthesis")
    return Filter(encode, frozenset(names))


Encode = Callable[[Given], bytes]


def _filter(text: str, start: int, names: set[str], depth: int) -> tuple[Encode, int]:
    """The filter that begins here, and where it ends."""
    if depth > _MAX_DEPTH:
        raise FilterError("it has too many parentheses within each other")
    if text[start : start + 1] != "(":
        raise FilterError("a filter is written in parentheses, as in (uid={user})")
    kind = text[start + 1 : start + 2]
    if kind and kind in "&|!":
        return _combined(kind, text, start + 2, names, depth)
    match = _ITEM.match(text, start + 1)
    if match is None or text[match.end() : match.end() + 1] != ")":
        raise FilterError("a condition is written as in (uid={user})")
    return _item(match, names), match.end() + 1


def _combined(kind: str, text: str, position: int, names: set[str], depth: int) -> tuple[Encode, int]:
    parts: list[Encode] = []
    while text[position : position + 1] == "(":
        part, position = _filter(text, position, names, depth + 1)
        parts.append(part)
    if text[position : position + 1] != ")":
        raise FilterError("a parenthesis is not closed")
    if not parts or (kind == "!" and len(parts) != 1):
        raise FilterError(f"({kind}...) has {'no condition' if not parts else 'more than one'}")
    tag = {"&": _AND, "|": _OR, "!": _NOT}[kind]
    return lambda values: element(tag, *(part(values) for part in parts)), position + 1


def _item(match: re.Match[str], names: set[str]) -> Encode:
    attribute, rule, kind, value = match.group("attribute", "rule", "kind", "value")
    if rule is not None and kind != ":=":
        raise FilterError(f"{attribute!a} has a matching rule, and no := behind it")
    if kind == ":=":
        return _extensible(attribute, rule or "", _value(value, names))
    if not _ATTRIBUTE.fullmatch(attribute):
        raise FilterError(f"{attribute!a} is no attribute")
    name = element(OCTETS, attribute.encode("ascii"))
    if kind == "=" and value == "*":
        return lambda _: element(_PRESENT, attribute.encode("ascii"))
    if kind == "=" and "*" in value:
        return _substrings(name, [_value(piece, names) if piece else None for piece in value.split("*")])
    read = _value(value, names)
    return lambda values: element(_COMPARISONS[kind], name, element(OCTETS, read(values)))


def _substrings(name: bytes, pieces: list[Encode | None]) -> Encode:
    if not any(pieces):
        raise FilterError("it has only asterisks")
    last = len(pieces) - 1
    tags = [0x80 if at == 0 else 0x82 if at == last else 0x81 for at in range(last + 1)]

    def encode(values: Given) -> bytes:
        parts = (element(tag, piece(values)) for tag, piece in zip(tags, pieces, strict=True) if piece)
        return element(_SUBSTRINGS, name, element(SEQUENCE, *parts))

    return encode


def _extensible(attribute: str, rule: str, value: Encode) -> Encode:
    """A matching rule, such as Active Directory's ``(memberOf:1.2.840.113556.1.4.1941:=cn=...)``."""
    words = [each for each in rule.split(":") if each]
    of_dn = "dn" in words
    rules = [each for each in words if each != "dn"]
    if len(rules) > 1 or not all(map(_ATTRIBUTE.fullmatch, [*rules, *([attribute] if attribute else [])])):
        raise FilterError(
            "a matching rule is written as in (memberOf:1.2.840.113556.1.4.1941:=cn=mail,dc=example,dc=org)"
        )
    head = (element(0x81, rules[0].encode("ascii")) if rules else b"") + (
        element(0x82, attribute.encode("ascii")) if attribute else b""
    )
    tail = element(0x84, b"\xff") if of_dn else b""
    return lambda values: element(_EXTENSIBLE, head, element(0x83, value(values)), tail)


def _value(text: str, names: set[str]) -> Encode:
    """The value's octets for a name."""
    pieces: list[bytes | str] = []
    position = 0
    while position < len(text):
        match = _PIECE.match(text, position)
        if match is None:
            raise FilterError(f"{text[position]!a} in a value is written as \\{ord(text[position]):02x}")
        position = match.end()
        if match["hex"] is not None:
            pieces.append(bytes.fromhex(match["hex"]))
        elif match["text"] is not None:
            pieces.append(match["text"].encode("utf-8"))
        else:
            pieces.append(parameter(match["name"]))
            names.add(match["name"])
    return lambda values: b"".join(each if isinstance(each, bytes) else values[each].encode("utf-8") for each in pieces)


def parameter(name: str) -> str:
    """The parameter. Errors: FilterError."""
    if name not in NAMES:
        raise FilterError(f"{{{name}}} is no parameter{near_miss(name, NAMES)}")
    return name


def check_template(text: str) -> None:
    """Whether a name to bind with has known parameters. Errors: FilterError."""
    for match in re.finditer(r"\{([^{}]*)\}", text):
        parameter(match[1])
    if not re.search(r"\{(?:user|local)\}", text):
        raise FilterError("all users would bind with the same name: it needs {user} or {local}")


def filled(template: str, values: Given) -> str:
    """A DN, or another name to bind with such as ``{user}@ad.example.org``, for a user."""
    escape = escaped if "=" in template else str
    return re.sub(r"\{(user|local|domain)\}", lambda match: escape(values[match[1]]), template)


def escaped(value: str) -> str:
    """A value as it stands in a DN (RFC 4514 section 2.4)."""
    text = re.sub(r'([\\",+<>;=])', r"\\\1", value).replace("\0", r"\00")
    if text[:1] in ("#", " "):
        text = "\\" + text
    return f"{text[:-1]}\\ " if value.endswith(" ") and len(value) > 1 else text
