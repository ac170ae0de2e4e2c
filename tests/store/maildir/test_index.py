"""The index file: what was written is read, and nothing else is believed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.snapshot import Renewed
from mailserver.store.envelopes import Envelopes
from mailserver.store.maildir import index
from mailserver.store.maildir.cache import IndexCache
from mailserver.store.maildir.index import DISTRUSTED, WIRE
from mailserver.store.maildir.rows import Row
from mailserver.store.maildir.same import Target

ROWS = [
    Row(1_700_000_000_000_001, b"cur/1700000000.M1P1.host:2,S", b"1700000000.M1P1.host", 10, 12, 0, 77),
    Row(1_700_000_001_000_001, b"new/1700000001.M1P1.host", b"1700000001.M1P1.host", 20, 20, WIRE),
    Row(1_700_000_002_000_001, b"new/x y", b"," + b"0" * 64, 2**40, 2**41, DISTRUSTED),
]
DATA = index.encode(ROWS, 11, 22)

NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: not {0, 0x2F} & set(name) and name[0] != 0x2E)
NUMBERS = st.integers(0, 2**64 - 1)


class Whole(index.Column):
    """A column that is not looked at value by value."""

    __slots__ = ()

    def __getitem__(self, at: object) -> bytes:  # type: ignore[override]
        raise AssertionError(at)


def test_a_column_is_searched_in_one_step() -> None:
    column = Whole(b"a\0b", 2)
    assert b"b" in column
    assert b"c" not in column


def test_what_was_written_is_read() -> None:
    found = index.decode(DATA)
    assert found is not None
    assert (found.new_time, found.cur_time) == (11, 22)
    assert list(found.names) == [row.name for row in ROWS]
    assert found.names[1:] == [row.name for row in ROWS[1:]]
    assert list(found.sizes) == [row.size for row in ROWS]
    assert list(found.inodes) == [77, 0, 0]
    assert found.target(0) == Target(ROWS[0].name, 77, 10)
    assert found.others([found.target(1)]) == {77}
    assert list(found.snapshot) == [(row.uidl, row.octets, row.flags == WIRE) for row in ROWS]
    assert list(index.decode_rows(DATA)) == ROWS


@given(st.dictionaries(NAMES, st.tuples(NUMBERS, NUMBERS, NUMBERS, st.integers(0, 3))))
def test_any_rows_are_read_as_they_were_written(files: dict[bytes, tuple[int, int, int, int]]) -> None:
    rows = [
        Row(arrival, b"new/" + name, b"%d" % number, size, octets, flags)
        for number, (name, (arrival, size, octets, flags)) in enumerate(files.items())
    ]
    data = index.encode(rows, index.UNTRUSTED, 0)
    assert list(index.decode_rows(data)) == rows
    found = index.decode(data)
    assert found is not None
    assert len(found.snapshot) == len(found.names) == len(rows)


def test_no_rows_are_an_index_too() -> None:
    found = index.decode(index.encode([], 1, 2))
    assert found is not None
    assert list(found.names) == []
    assert list(index.decode_rows(index.encode([], 1, 2))) == []


def test_big_columns_are_split_where_they_are_loaded() -> None:
    rows = [Row(number, b"new/%d" % number, b"%d" % number, 1, 1, 0) for number in range(1001)]
    found = index.decode(index.encode(rows, 1, 2))
    assert found is not None
    assert isinstance(found.names._values, list)
    assert found.names[1000] == b"new/1000"


@pytest.mark.parametrize("position", range(len(DATA)))
def test_a_changed_octet_anywhere_is_damage(position: int) -> None:
    damaged = bytearray(DATA)
    damaged[position] ^= 0x40
    assert index.decode(bytes(damaged)) is None
    assert list(index.decode_rows(bytes(damaged))) == []


@pytest.mark.parametrize("length", range(len(DATA)))
def test_a_torn_file_is_damage(length: int) -> None:
    assert index.decode(DATA[:length]) is None


@given(st.binary(max_size=300))
def test_anything_else_is_damage(data: bytes) -> None:
    assert index.decode(data) is None
    assert index.decode(data + index._digest(data)) is None
    assert index.decode(DATA + data) is (None if data else index.decode(DATA)) or not data


def test_the_rows_of_the_first_version_serve_a_scan() -> None:
    inodes_at = (
        len(DATA) - 16 - len(b"\0".join([*(row.uidl for row in ROWS), *(row.name for row in ROWS)])) - 1 - 3 - 24
    )
    first = (
        DATA[:8]
        + (1).to_bytes(4, "little")
        + DATA[12:48]
        + DATA[48 + index._MORE.size : inodes_at]
        + DATA[inodes_at + 24 : -16]
    )
    first += index._digest(first)
    assert index.decode(first) is None
    assert list(index.decode_rows(first)) == [row._replace(inode=0) for row in ROWS]


def test_the_sizes_of_the_first_version_are_the_names_word_where_they_are_its_own() -> None:
    rows = [
        Row(1, b"cur/1.a,S=50,W=60:2,", b"a", 50, 60, 0),
        Row(2, b"cur/2.b,S=50,W=60:2,", b"b", 40, 60, 0),
        Row(3, b"cur/3.c:2,", b"c", 40, 60, 0),
    ]
    data = index.encode(rows, 1, 2)
    inodes_at = index._HEADER.size + 3 * 3 * 8
    inodes_at += index._MORE.size
    first = (
        data[:8]
        + (1).to_bytes(4, sys.byteorder)
        + data[12:48]
        + data[48 + index._MORE.size : inodes_at]
        + data[inodes_at + 3 * 8 : -16]
    )
    found = index.decode_rows(first + index._digest(first))
    assert [row.flags for row in found] == [index.CLAIMED, 0, 0]


def test_another_version_is_another_file() -> None:
    data = DATA[:8] + (4).to_bytes(4, "little") + DATA[12:-16]
    assert index.decode(data + index._digest(data)) is None


@pytest.mark.parametrize(
    "name",
    [
        b"../secret",
        b"/etc/passwd",
        b"new",
        b"tmp/1",
        b"cur/../new/1",
        b"new/a/b",
        b"cur/..",
        b"cur/.",
        b"new/.a",
        b"x/new/a",
    ],
)
def test_a_name_that_leads_elsewhere_is_a_lie(name: bytes) -> None:
    assert index.decode(index.encode([*ROWS, ROWS[0]._replace(name=name, uidl=b"u")], 1, 2)) is None


@pytest.mark.parametrize("uidl", [b"", b"x" * 256, b"a b", b"\xff", b"a\0b", ROWS[0].uidl])
def test_a_unique_id_that_cannot_be_is_a_lie(uidl: bytes) -> None:
    assert index.decode(index.encode([*ROWS, ROWS[0]._replace(name=b"new/n", uidl=uidl)], 1, 2)) is None


def test_names_and_rows_must_be_as_many() -> None:
    assert index.decode(index.encode([ROWS[0]._replace(name=b"new/a\0new/b")], 1, 2)) is None
    assert index.decode(index.encode([], 1, 2)[:-16] + b"x") is None


def test_writing_replaces_the_file_at_once(tmp_path: Path) -> None:
    root = bytes(tmp_path) + b"/"
    first = index.write(root, DATA)
    assert index.write(root, index.encode([], 1, 2)) != first
    assert [path.name for path in tmp_path.iterdir()] == ["mailserver-index"]
    assert (tmp_path / "mailserver-index").stat().st_mode & 0o777 == 0o600


def test_the_cache_forgets_the_oldest_when_its_rows_are_too_many() -> None:
    found = index.decode(DATA)
    assert found is not None
    cache = IndexCache(rows=50)
    for root in (b"a", b"b", b"a", b"c"):
        cache.put(root, (1, 1, 1), found)
    assert [cache.get(root, (1, 1, 1)) for root in (b"a", b"b", b"c")] == [found, None, found]
    cache.put(b"b", (1, 1, 1), found)
    assert [cache.get(root, (1, 1, 1)) for root in (b"a", b"b", b"c")] == [None, found, found]
    assert cache.get(b"b", (1, 1, 2)) is None
    assert len(cache) == 2


def test_envelopes_stay_with_the_very_index_they_are_of() -> None:
    first, second = index.decode(DATA), index.decode(DATA)
    assert first is not None
    assert second is not None
    cache = IndexCache(rows=100)
    kept = Envelopes(first.snapshot, [], [])
    cache.keep_envelopes(b"a", first, kept)
    assert cache.envelopes(b"a", first) is None, "there is no index to keep them beside"
    cache.put(b"a", (1, 1, 1), first)
    cache.keep_envelopes(b"a", second, kept)
    assert cache.envelopes(b"a", first) is None
    cache.keep_envelopes(b"a", first, kept)
    assert cache.envelopes(b"a", first) is kept
    assert cache.envelopes(b"a", second) is cache.envelopes(b"b", first) is None
    cache.put(b"a", (1, 1, 1), second)
    assert cache.envelopes(b"a", first) is cache.envelopes(b"a", second) is None


def test_what_the_unique_ids_were_taken_from_is_kept() -> None:
    basis = index.Basis(b"m" * 16, (2**64 - 1, -5, 77), Renewed("format changed", 1_800_000_000))
    rows = [row._replace(rank=rank) for row, rank in zip(ROWS, (4, 2**62, 0), strict=True)]
    found = index.decode(index.encode(rows, 1, 2, basis))
    assert found is not None
    assert found.basis == basis
    assert list(found.rows) == rows
    assert (found.snapshot.unordered, found.snapshot.renewed) == (2, basis.renewed)


def test_the_rows_of_the_second_version_serve_a_scan() -> None:
    second = DATA[:8] + (2).to_bytes(4, sys.byteorder) + DATA[12:48] + DATA[48 + index._MORE.size : -16]
    second += index._digest(second)
    assert index.decode(second) is None
    assert list(index.decode_rows(second)) == ROWS


def test_more_places_than_rows_are_damage() -> None:
    at = 48 + index._MORE.size - 32
    many = DATA[:at] + (4).to_bytes(8, sys.byteorder) + DATA[at + 8 : -16]
    assert index.decode(many + index._digest(many)) is None
