"""KRB-ERROR (RFC 4120 section 5.9.1), as a sendauth server sends it to a client whose ticket it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

GENERIC: Final = 60
"""KRB_ERR_GENERIC (RFC 4120 section 7.5.9): what has no code of the protocol's, trouble of the server's included."""

TEXTS: Final = MappingProxyType(
    {
        GENERIC: "the server could not verify the ticket",
        31: "the ticket was made for another key of this server, get a new one",
        32: "the ticket has expired, get a new one",
        33: "the ticket is not valid yet",
        34: "the request was used before",
        35: "the ticket is for another server",
        36: "the ticket and the request name different clients",
        37: "the clocks of client and server differ too much",
        38: "the ticket is for another address",
        39: "the request is of another version of Kerberos",
        40: "this is no Kerberos request",
        41: "the request was altered on its way",
        44: "the server does not have this version of its key, get a new ticket",
        45: "the server does not have its key",
    }
)
"""What a stranger may read. MIT's own texts name the keytab's path, its key versions and its principals."""

_PRINCIPAL: Final = 1
"""KRB_NT_PRINCIPAL (RFC 4120 section 6.2)."""


def krb_error(code: int, seconds: float, realm: bytes, server: Sequence[bytes]) -> bytes:
    """The message: `code` of RFC 4120 section 7.5.9, the clock's `seconds` since the epoch, and the server's principal.

    A code that has no text here goes out as the generic one, so that a server tells no more than the table does.
    """
    code = code if code in TEXTS else GENERIC
    now = datetime.fromtimestamp(seconds, UTC)
    name = _der(0x30, _field(0, _integer(_PRINCIPAL)) + _field(1, _der(0x30, b"".join(map(_string, server)))))
    fields = (
        _field(0, _integer(5)),  # pvno
        _field(1, _integer(30)),  # msg-type
        _field(4, _der(0x18, now.strftime("%Y%m%d%H%M%SZ").encode("ascii"))),
        _field(5, _integer(now.microsecond)),
        _field(6, _integer(code)),
        _field(9, _string(realm)),
        _field(10, name),
        _field(11, _string(TEXTS[code].encode("ascii") + b"\0")),  # fetchmail prints it as a C string
    )
    return _der(0x7E, _der(0x30, b"".join(fields)))  # [APPLICATION 30] SEQUENCE


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:  # noqa: PLR2004 - X.690 section 8.1.3.4: the short form
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def _field(number: int, content: bytes) -> bytes:
    return _der(0xA0 | number, content)


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))  # an octet more where the sign would be set


def _string(value: bytes) -> bytes:
    return _der(0x1B, value)
