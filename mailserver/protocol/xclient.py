"""XCLIENT: a trusted client tells for whom it speaks, in Postfix's form (its XCLIENT_README).

An attribute is ``NAME=value``, the value in xtext, or ``[UNAVAILABLE]`` or ``[TEMPUNAVAIL]`` where nobody knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, Final

from mailserver.protocol.lmtp_policy import Client
from mailserver.protocol.lmtp_texts import BAD_ATTRIBUTE
from mailserver.protocol.lmtp_wire import from_xtext
from mailserver.smtp_errors import BadSyntax

VALUE_LIMIT: Final = 255
"""Octets of a value: those of a domain."""

ATTRIBUTES: Final[Mapping[bytes, str]] = {
    b"NAME": "name",
    b"ADDR": "address",
    b"PORT": "port",
    b"PROTO": "protocol",
    b"HELO": "helo",
    b"LOGIN": "login",
    b"DESTADDR": "destination",
    b"DESTPORT": "destination_port",
}
"""What can be said, and the field of `Client` that holds it."""

_ADDRESSES: Final = {"address", "destination"}
_PORTS: Final = {"port", "destination_port"}
_OCTETS: Final = {"protocol", "helo", "login"}
_NOBODY_KNOWS: Final = {b"[UNAVAILABLE]", b"[TEMPUNAVAIL]"}
_IPV6: Final = "IPV6:"


def told(client: Client, words: Sequence[bytes]) -> Client:
    """Return the client as these attributes tell it. Errors: BadSyntax, and then none of them counts."""
    fields: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition(b"=")
        field = ATTRIBUTES.get(name.upper())
        if field is None:
            raise BadSyntax(BAD_ATTRIBUTE)
        try:
            fields[field] = _value(field, value)
        except ValueError:
            raise BadSyntax(BAD_ATTRIBUTE) from None
    return replace(client, **fields)


def _value(field: str, value: bytes) -> object:
    unknown = value.upper() in _NOBODY_KNOWS
    decoded = b"" if unknown else from_xtext(value)
    if not unknown and not 0 < len(decoded) <= VALUE_LIMIT:
        raise ValueError(field)
    if field in _OCTETS:
        return decoded
    text = decoded.decode("ascii")
    if field in _ADDRESSES:
        return "" if unknown else _address(text[len(_IPV6) :] if text.upper().startswith(_IPV6) else text)
    if field not in _PORTS:
        return text
    if unknown:
        return 0
    if not (text.isdigit() and int(text) < 1 << 16):
        raise ValueError(field)
    return int(text)


def _address(text: str) -> str:
    """An IP address, as it came: it goes into the log and a header field. Errors: ValueError; a zone may be any text, so there is none."""
    if "%" in text:
        raise ValueError(text)
    ip_address(text)
    return text
