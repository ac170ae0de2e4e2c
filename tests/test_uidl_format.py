"""Dovecot's formats of unique-ids. A real Dovecot is asked in `tests/old`."""

from __future__ import annotations

from hashlib import md5

import pytest

from mailserver.uidl_format import DEFAULT, Format

NAME = b"1700000000.M1P2.host,S=3,W=4"
DIGEST = md5(NAME).hexdigest().encode()

VALUES = {"uid": b"27", "uidvalidity": b"1700000000", "md5": b"0123456789abcdef", "filename": NAME, "guid": b"Guid"}


@pytest.mark.parametrize(
    ("text", "uidl"),
    [
        (DEFAULT, b"0000001b6553f100"),
        ("%08Xv%08Xu", b"6553f1000000001b"),
        ("%v.%u", b"1700000000.27"),
        ("%v-%u", b"1700000000-27"),
        ("UID%u-%v", b"UID27-1700000000"),
        ("%u", b"27"),
        ("%f", NAME),
        ("%g", b"Guid"),
        ("%m", b"0123456789abcdef"),
        ("%Mf", DIGEST),
        ("%UMf", md5(NAME.upper()).hexdigest().encode()),  # the modifiers are taken from the left
        ("%MUf", DIGEST.upper()),
        ("%Rg", b"diuG"),
        ("%Lg%Ug", b"guidGUID"),
        ("%3g", b"Gui"),
        ("%1.2g", b"ui"),
        ("%-2.0g", b"id"),
        ("%1.g", b"uid"),
        ("%0.-1g", b"Gui"),
        ("%0.-9g", b"Guid"),
        ("%09u", b"000000027"),
        ("%01u", b"27"),
        ("%Xg%u", b"027"),
        ("100%%%u", b"100%27"),
        ("%{uid | hex(8)}%{uidvalidity | hex(8)}", b"0000001b6553f100"),
        ("%{uidvalidity}.%{uid}", b"1700000000.27"),
        ("%{uid|hex}", b"1b"),
        ("%{uid | hex(1)}", b"b"),
        ("%{uid | hex(-4)}", b"1b00"),
        ("%{guid | md5 | hexlify}", md5(b"Guid").hexdigest().encode()),
        ("%{guid | md5 | hexlify(8)}", md5(b"Guid").hexdigest()[:8].encode()),
        ("x%{filename | upper}", b"x" + NAME.upper()),
    ],
)
def test_a_format_gives_the_unique_id_that_dovecot_gives(text: str, uidl: bytes) -> None:
    assert Format(text).expand(VALUES) == uidl


@pytest.mark.parametrize(
    ("text", "keys"), [(DEFAULT, {"uid", "uidvalidity"}), ("%Mf", {"filename"}), ("%{guid}%{md5}", {"guid", "md5"})]
)
def test_a_format_tells_what_it_needs(text: str, keys: set[str]) -> None:
    assert Format(text).keys == keys


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no variable"),
        ("UID", "has no variable"),
        ("100%%", "has no variable"),
        ("%u%", "ends within a variable"),
        ("%08X", "unknown variable"),
        ("%08", "unknown variable"),
        ("%z", "unknown variable '%z'"),
        ("%Hu", "modifier H"),
        ("%9999u", "the greatest is 1024"),
        ("%" + "9" * 5000 + "u", "the greatest is 1024"),
        ("%{uid", "not understood at '%{uid'"),
        ("%{size}", "known are uid"),
        ("%u%{uid}", "not understood at '%u"),
        ("%{uid | rot13}", "filter"),
        ("%{uid | hex(8) junk}", "filter"),
        ("%u %v", "can have a space"),
        ("%{uid} %{uidvalidity}", "can have a space"),
        ("ü%u", "not ASCII"),
        ("%u\n", "can have a space"),
    ],
)
def test_what_is_no_format_is_told(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="the format") as told:
        Format(text)
    assert why in str(told.value)
