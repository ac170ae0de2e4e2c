"""Names as delivery agents and mail readers write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.store.maildir import filenames as names

SECOND = 1_000_000

TABLE = [
    # file name, unique part, microseconds after 1700000000
    (b"1700000000.V801I12eaM654321.mail.example.org", b"1700000000.V801I12eaM654321.mail.example.org", 654321),  # Postfix
    (b"1700000000.H123456P789.mail.example.org", b"1700000000.H123456P789.mail.example.org", 123456),  # Exim
    (b"1700000000.H5P789.mail,S=2048", b"1700000000.H5P789.mail", 5),  # Exim with maildir_tag
    (b"1700000000.M20046P2137.mail,S=4542,W=4642:2,S", b"1700000000.M20046P2137.mail", 20046),  # Dovecot
    (b"1700000000.M20046P2137V0000000000000801I0000000000C8A3D4_0.mail,S=4542:2,RS",
     b"1700000000.M20046P2137V0000000000000801I0000000000C8A3D4_0.mail", 20046),  # Courier
    (b"1700000000.2137_1.mail,U=7:2,S", b"1700000000.2137_1.mail", 0),  # mbsync
    (b"1700000000_3.2137.mail,U=7,FMD5=7e33429f656f1e6e9d79b29c3f82c57e:2,FRS", b"1700000000_3.2137.mail", 0),  # offlineimap
    (b"1700000000.2137.mail", b"1700000000.2137.mail", 0),  # qmail
    (b"1700000000.R8822511311.mail:2,", b"1700000000.R8822511311.mail", 0),  # mutt
    (b"1700000000.M1234567P1.mail", b"1700000000.M1234567P1.mail", 0),  # no microseconds: there are seven digits
    (b"1700000000", b"1700000000", 0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "unique", "microseconds"), TABLE)
def test_the_unique_part_and_the_arrival(name: bytes, unique: bytes, microseconds: int) -> None:
    assert names.unique_part(name) == unique
    assert names.arrival(name) == 1_700_000_000 * SECOND + microseconds
    assert names.unique_id(unique) == unique


@pytest.mark.parametrize("name", [b"", b"message.eml", b"123456789012.M1P1.host", b":2,S", b";2,S"])
def test_some_names_tell_no_time(name: bytes) -> None:
    assert names.arrival(name) is None


def test_a_name_of_many_capitals_costs_no_more_than_others() -> None:
    assert names.arrival(b"1700000000." + b"DEADBEEFCAFE" * 20) == 1_700_000_000 * SECOND
    assert names.arrival(b"1700000000.V80AI1BM5P7.host") == 1_700_000_000 * SECOND + 5  # hexadecimal in capitals


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        (b"1.a,S=12,W=34:2,S", (12, 34)),
        (b"1.a,W=34,S=12", (12, 34)),
        (b"1.a,S=12:2,W=9", (12, None)),
        (b"1.a,S=12;2,W=9", (12, None)),
        (b"1.a,S=12!2,F", (12, None)),
        (b"10:00:00,S=12:2,F", (12, None)),
        (b"1.a:2,S=3", (None, None)),
        (b"1.a,S=1x,W=", (None, None)),
        (b"1.a,S=9999999999999999,W=-1", (None, None)),
        (b"1.aS=12", (None, None)),
    ],
)
def test_sizes_are_read_from_the_base_alone(name: bytes, sizes: tuple[int | None, int | None]) -> None:
    assert names.sizes(name) == sizes


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        (b"1.a", b"1.a:2,S"),
        (b"1.a:2,", b"1.a:2,S"),
        (b"1.a:2,TRFa", b"1.a:2,FRSTa"),
        (b"1.a:2,S", None),
        (b"1.a:1,x", None),
        (b"1.a;1,x", None),
        (b"1.a;2,F", b"1.a;2,FS"),
        (b"1.a!2,", b"1.a!2,S"),
        (b"1.a:3,", b"1.a:3,:2,S"),
        (b"1.a:", b"1.a::2,S"),
    ],
)
def test_the_seen_flag_goes_to_its_place(name: bytes, seen: bytes | None) -> None:
    assert names.seen(name) == seen


def test_only_the_flags_of_an_info_tell_what_was_seen() -> None:
    marked = [b"1.a:2,S", b"1.a:2,FS", b"1.a;2,ST", b"1.a,S=9:2,aS"]
    plain = [b"1.S", b"1.a:2,", b"1.a:2,FT", b"1.a:1,S", b"1.a,S=9", b"1.a,S=9:2,", b"1.a:3,S"]
    assert [names.is_seen(name) for name in marked] == [True] * len(marked)
    assert [names.is_seen(name) for name in plain] == [False] * len(plain)


@pytest.mark.parametrize(
    ("name", "unique", "base"),
    [
        (b"2024-01-01T10:00:00.eml", b"2024-01-01T10:00:00.eml", b"2024-01-01T10:00:00.eml"),
        (b"2024-01-01T10:00:00.eml,S=1:2,S", b"2024-01-01T10:00:00.eml", b"2024-01-01T10:00:00.eml,S=1"),
        (b"1.a;2,S", b"1.a", b"1.a"),
        (b"1.a,S=1!2,S", b"1.a", b"1.a,S=1"),
        (b"1.a!1,", b"1.a", b"1.a"),
        (b"1.a:1,x", b"1.a", b"1.a"),
        (b"1.a:3,x", b"1.a:3", b"1.a:3,x"),
        (b"1.a:2", b"1.a:2", b"1.a:2"),
        (b"wow!.a;b", b"wow!.a;b", b"wow!.a;b"),
        (b":2,S", b"", b""),
    ],
)
def test_an_info_begins_with_its_kind_and_other_colons_are_the_name_s_own(
    name: bytes, unique: bytes, base: bytes
) -> None:
    assert (names.unique_part(name), names.base(name)) == (unique, base)


@pytest.mark.parametrize("unique", [b"", b"x" * 71, b"a b", b"caf\xc3\xa9", b"\x7f", b"\n"])
def test_what_no_client_could_keep_is_hashed(unique: bytes) -> None:
    uidl = names.unique_id(unique)
    assert len(uidl) == 65
    assert uidl.isascii()
    assert uidl.startswith(b",")


def test_seventy_octets_are_kept() -> None:
    assert names.unique_id(b"x" * 70) == b"x" * 70


PARTS = st.lists(st.sampled_from([b"a", b":", b",", b";", b"!", b"2,", b"1,", b"2", b"S=1", b" ", b"\xff"]), max_size=8)


@given(PARTS.map(b"".join), st.sampled_from([b"", b":2,", b":2,FS", b":1,x", b";2,S", b"!2,"]))
def test_the_unique_part_is_the_same_under_any_info(name: bytes, info: bytes) -> None:
    base = names.base(name)
    assert names.base(base + info) == base
    assert names.unique_part(base + info) == names.unique_part(name) == base.partition(b",")[0]


UIDLS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=70).map(str.encode)


@given(UIDLS, st.sampled_from([b"", b":2,", b":2,FS", b";2,S", b"!1,x", b",S=4", b",S=4,W=5:2,S"]))
def test_a_name_gives_the_unique_id_of_its_field(uidl: bytes, end: bytes) -> None:
    name = b"1.a" + names.field_for(uidl) + end
    assert names.given(name) == names.own_id(name) == uidl
    assert names.unique_part(name) == b"1.a"


@pytest.mark.parametrize(
    "name",
    [
        b"1.a", b"1.a,U=", b"1.a,U=A", b"1.a,U=QQ==", b"1.a,U=QR", b"1.a,U=QQ,U=QQ", b"1.a,U=QQ,U=", b"1.aU=QQ", b"1.a:2,U=QQ",
        b"1.a,U=IA", b"1.a,U=AA", b"1.a,U=Q Q", b"1.a,U=QQ;x", b"1.a,u=QQ", b"1.a,U=" + b"QUFB" * 24, b"1.a,U=6Q",
    ],
)  # fmt: skip
def test_what_is_not_exactly_one_field_as_we_write_it_gives_nothing(name: bytes) -> None:
    assert names.given(name) is None
    assert names.own_id(name) == names.unique_id(names.unique_part(name))


def test_the_longest_name_of_an_import_is_a_file_name() -> None:
    longest = b"x" * 70 + b",S=%d,W=%d" % (10**15, 10**15) + names.field_for(b"~" * 70) + b":2,DFPRST"
    assert len(longest) <= 255
