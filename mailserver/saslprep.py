"""SASLprep (RFC 4013): one spelling for names and passwords that look the same.

Some clients prepare a password before they hash it (SCRAM), others send it as it was typed (PLAIN), and a passwd-file can
contain either. So the prepared spelling does not replace the given one but is tried as a second one. Octets that are not
UTF-8, and texts that SASLprep forbids, have no second spelling.
"""

from __future__ import annotations

import stringprep
import unicodedata
from itertools import chain

LONGEST = 4096
"""Octets: longer texts are not prepared. No name or password is longer, and sorting combining marks takes quadratic time."""

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
"""The prohibited characters of RFC 4013 section 2.3."""


class Forbidden(ValueError):
    """A text that SASLprep does not allow; the message contains nothing of the text."""


def saslprep(text: str) -> str:
    """Prepare `text` as a stored string: unassigned code points are an error as well. Errors: Forbidden."""
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", "".join(_mapped(text)))
    if any(forbidden(char) for char in prepared for forbidden in _FORBIDDEN):
        raise Forbidden("a character is prohibited")
    if any(map(stringprep.in_table_a1, prepared)):
        raise Forbidden("a character is not in Unicode 3.2")
    _check_direction(prepared)
    return prepared


def prepared(octets: bytes) -> bytes:
    """The prepared spelling of octets that are UTF-8, allowed and not too long; others unchanged."""
    if octets.isascii() or len(octets) > LONGEST:  # ASCII is never mapped, and forbidden ASCII stays unchanged
        return octets
    try:
        return saslprep(octets.decode("utf-8")).encode("utf-8")
    except ValueError:
        return octets


def _mapped(text: str) -> chain[str]:
    """Section 2.1: non-ASCII spaces become a space, and characters "commonly mapped to nothing" are removed."""
    return chain.from_iterable(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )


def _check_direction(text: str) -> None:
    """RFC 3454 section 6: a text with right-to-left characters has them at its start and its end, and no left-to-right ones."""
    rightward = list(map(stringprep.in_table_d1, text))
    if any(rightward) and (not (rightward[0] and rightward[-1]) or any(map(stringprep.in_table_d2, text))):
        raise Forbidden("right-to-left and left-to-right are mixed")
