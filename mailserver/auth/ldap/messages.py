"""LDAP's messages (RFC 4511), as far as users are looked up and proved: bind, search, StartTLS, unbind, pages (RFC 2696)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from mailserver.auth.ldap.ber import (
    ENUMERATED,
    INTEGER,
    OCTETS,
    SEQUENCE,
    SET,
    Malformed,
    Reader,
    boolean,
    element,
    elements,
    integer,
)

Scope = Literal["base", "one", "subtree"]
_SCOPES: Final = ("base", "one", "subtree")

SUCCESS: Final = 0
SIZE_LIMIT: Final = 4
REFERRAL: Final = 10
NO_SUCH_OBJECT: Final = 32
INVALID_DN: Final = 34
INVALID_CREDENTIALS: Final = 49

CODES: Final[Mapping[int, str]] = {
    1: "operationsError",
    2: "protocolError",
    3: "timeLimitExceeded",
    4: "sizeLimitExceeded",
    7: "authMethodNotSupported",
    8: "strongerAuthRequired",
    10: "referral",
    11: "adminLimitExceeded",
    12: "unavailableCriticalExtension",
    13: "confidentialityRequired",
    32: "noSuchObject",
    34: "invalidDNSyntax",
    48: "inappropriateAuthentication",
    49: "invalidCredentials",
    50: "insufficientAccessRights",
    51: "busy",
    52: "unavailable",
    53: "unwillingToPerform",
    80: "other",
}
"""The names of results (RFC 4511 section 4.1.9) that a login can meet."""

_START_TLS: Final = b"1.3.6.1.4.1.1466.20037"
_PAGED_RESULTS: Final = b"1.2.840.113556.1.4.319"

_BIND, _UNBIND, _SEARCH, _EXTENDED = 0x60, 0x42, 0x63, 0x77
_BIND_DONE, _ENTRY, _SEARCH_DONE, _REFERENCE, _EXTENDED_DONE = 0x61, 0x64, 0x65, 0x73, 0x78
_CONTROLS: Final = 0xA0
_SIMPLE: Final = 0x80

MAX_ID: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Result:
    """How an operation ended."""

    of: Literal["bind", "search", "extended"]
    code: int
    diagnostic: str = ""
    """What the server says, as it may stand in a log."""
    cookie: bytes = b""
    """Where the next page begins; b"": nowhere."""

    @property
    def words(self) -> str:
        """The result, for the log."""
        name = CODES.get(self.code, "result")
        return f"{name} ({self.code})" + (f": {self.diagnostic}" if self.diagnostic else "")


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry that a search has found."""

    dn: str
    attributes: Mapping[str, tuple[bytes, ...]] = field(repr=False)
    """By names in lower case."""

    def values(self, attribute: str) -> tuple[bytes, ...]:
        """The attribute's values; none if it has none, or they may not be read."""
        return self.attributes.get(attribute.lower(), ())


@dataclass(frozen=True, slots=True)
class Reference:
    """Another server may know more; nobody follows it, since it would get the credentials."""


Response = Result | Entry | Reference


def bind(name: str, password: bytes) -> bytes:
    """A simple bind. An empty password is none for a name: a server would take it for anonymous (RFC 4513 section 5.1.2)."""
    if name and not password:
        raise ValueError("a bind with a name and no password proves nothing")
    return element(_BIND, integer(3), element(OCTETS, name.encode("utf-8")), element(_SIMPLE, password))


def search(  # noqa: PLR0913 - the fields of a request
    base: str, scope: Scope, condition: bytes, attributes: Iterable[str], *, limit: int = 0, seconds: int = 0
) -> bytes:
    """A search; `condition` is a filter as `filters` encodes it, `limit` the number of entries, `seconds` the server's time."""
    names = (element(OCTETS, each.encode("utf-8")) for each in attributes)
    return element(
        _SEARCH,
        element(OCTETS, base.encode("utf-8")),
        integer(_SCOPES.index(scope), ENUMERATED),
        integer(0, ENUMERATED),  # aliases are not followed: one would be a second name of an entry
        integer(limit),
        integer(seconds),
        boolean(False),
        condition,
        element(SEQUENCE, *names),
    )


def start_tls() -> bytes:
    """The request for TLS (RFC 4511 section 4.14)."""
    return element(_EXTENDED, element(0x80, _START_TLS))


def unbind() -> bytes:
    """The end of a connection; it has no answer."""
    return element(_UNBIND)


def page(size: int, cookie: bytes) -> bytes:
    """The control that asks for a page of a search's entries; critical, because without it a server might send all of them."""
    value = element(SEQUENCE, integer(size), element(OCTETS, cookie))
    return element(SEQUENCE, element(OCTETS, _PAGED_RESULTS), boolean(True), element(OCTETS, value))


def message(number: int, operation: bytes, *controls: bytes) -> bytes:
    """A whole message."""
    return element(SEQUENCE, integer(number), operation, *([element(_CONTROLS, *controls)] if controls else ()))


def read_message(octets: bytes) -> tuple[int, Response]:
    """A whole message's number, and what it says. Errors: Malformed, for what no server answers."""
    outer = Reader(octets)
    whole = Reader(outer.take(SEQUENCE))
    number = whole.take_integer()
    tag, contents = whole.next()
    return number, _response(tag, contents, whole.find(_CONTROLS))


def _response(tag: int, contents: bytes, controls: bytes | None) -> Response:
    if tag == _ENTRY:
        return _entry(Reader(contents))
    if tag == _REFERENCE:
        return Reference()
    reader = Reader(contents)
    of = _DONE.get(tag)
    if of is None:
        raise Malformed("a message that no server sends")
    code = reader.take_integer(ENUMERATED)
    reader.take(OCTETS)
    return Result(of, code, _shown(reader.take(OCTETS)), _cookie(controls or b""))


_DONE: Final[Mapping[int, Literal["bind", "search", "extended"]]] = {
    _BIND_DONE: "bind",
    _SEARCH_DONE: "search",
    _EXTENDED_DONE: "extended",
}


def _entry(reader: Reader) -> Entry:
    dn = reader.take(OCTETS)
    found: dict[str, tuple[bytes, ...]] = {}
    for tag, contents in elements(reader.take(SEQUENCE)):
        if tag != SEQUENCE:
            raise Malformed("an attribute is none")
        attribute = Reader(contents)
        name, values = attribute.take(OCTETS), []
        for kind, value in elements(attribute.take(SET)):
            if kind != OCTETS:
                raise Malformed("a value is none")
            values.append(value)
        found[_text(name).lower()] = tuple(values)
    return Entry(_text(dn), found)


def _text(octets: bytes) -> str:
    """A DN or an attribute's name, which are UTF-8. Errors: Malformed."""
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("a name is not UTF-8") from None


def _cookie(controls: bytes) -> bytes:
    for tag, contents in elements(controls):
        control = Reader(contents)
        if tag == SEQUENCE and control.take(OCTETS) == _PAGED_RESULTS:
            value = Reader(Reader(control.find(OCTETS) or b"").take(SEQUENCE))
            value.take(INTEGER)
            return value.take(OCTETS)
    return b""


def _shown(octets: bytes) -> str:
    """A server's words in a form that is safe for the log."""
    return ascii(octets.rstrip(b"\0").decode("utf-8", "replace")[:200])[1:-1]
