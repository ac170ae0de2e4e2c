"""SASLprep (RFC 4013): one spelling for names and passwords that look the same.

Clients prepare before they hash (SCRAM), others send what was typed (PLAIN), and what stands in a passwd-file may be either.
So nothing here replaces what was given: it adds a second spelling where there is one. Octets that are no UTF-8, and texts
that SASLprep forbids, have none.
"""

from __future__ import annotations

import stringprep
import unicodedata
from itertools import chain

LONGEST = 4096
"""Octets that are prepared: nobody's name or password has more, and to sort combining marks takes the square of their number."""

_FORBIDDEN = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)
"""RFC 4013 section 2.3. The controls of C.2 among them have no place in a name either."""


class Forbidden(ValueError):
    """A text that SASLprep does not allow; its message holds nothing of the text."""


def saslprep(text: str) -> str:
    """Prepare `text` as a stored string, in which unassigned code points are an error too. Errors: Forbidden."""
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", "".join(_mapped(text)))
    if any(forbidden(char) for char in prepared for forbidden in _FORBIDDEN):
        raise Forbidden("a character is prohibited")
    if any(map(stringprep.in_table_a1, prepared)):
        raise Forbidden("a character is not in Unicode 3.2")
    _check_direction(prepared)
    return prepared


def prepared(octets: bytes) -> bytes:
    """The prepared spelling of what is UTF-8, allowed and not too long; anything else as it is."""
    if octets.isascii() or len(octets) > LONGEST:  # of ASCII nothing is mapped, and what is forbidden stays as it is
        return octets
    try:
        return saslprep(octets.decode("utf-8")).encode("utf-8")
    except ValueError:
        return octets


def _mapped(text: str) -> chain[str]:
    """Section 2.1: other spaces become a space, and what is commonly mapped to nothing goes."""
    return chain.from_iterable(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )


def _check_direction(text: str) -> None:
    """RFC 3454 section 6: a text that runs from right to left does so from its first to its last character."""
    rightward = list(map(stringprep.in_table_d1, text))
    if any(rightward) and (not (rightward[0] and rightward[-1]) or any(map(stringprep.in_table_d2, text))):
        raise Forbidden("right-to-left and left-to-right are mixed")
