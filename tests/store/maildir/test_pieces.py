"""Big columns are worked on in pieces, with the result of one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.store.maildir import index, listing, pieces, scan, twins
from mailserver.store.maildir.rows import Row, Rows

KEYS = st.lists(st.binary(max_size=2), max_size=200)
ROWS = st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=2).filter(lambda name: b"\0" not in name)), max_size=60)


@given(KEYS, st.integers(2, 9))
def test_the_order_is_that_of_a_sort(keys: list[bytes], piece: int) -> None:
    with mock.patch.object(pieces, "PIECE", piece):
        order = pieces.in_order(keys)
    assert sorted(order) == list(range(len(keys)))
    assert [keys[at] for at in order] == sorted(keys)


def test_no_sort_is_of_more_than_two_pieces() -> None:
    sizes: list[int] = []

    def noted(values: Sequence[int], key: object) -> list[int]:
        found = sorted(values, key=key)  # type: ignore[arg-type]  # it is what sorted takes
        sizes.append(len(found))
        return found

    keys = [b"%09d" % (number * 7919 % 100_003) for number in range(100_000)]
    with mock.patch.object(pieces, "sorted", noted, create=True):
        assert [keys[at] for at in pieces.in_order(keys)] == sorted(keys)
    assert max(sizes) <= 2 * pieces.PIECE


@given(
    st.lists(st.binary(min_size=1, max_size=5).filter(lambda value: b"\0" not in value), min_size=1), st.integers(1, 9)
)
def test_values_are_joined_and_split_as_in_one_call(values: list[bytes], piece: int) -> None:
    with mock.patch.object(pieces, "PIECE", piece), mock.patch.object(pieces, "_OCTETS", piece):
        assert pieces.joined(values) == b"\0".join(values)
        assert pieces.split(b"\0".join(values)) == values


@given(ROWS, st.sets(st.integers(0, 59)), ROWS)
def test_a_merge_is_a_sort_of_all_rows(
    old: list[tuple[int, bytes]], gone: set[int], added: list[tuple[int, bytes]]
) -> None:
    def rows(values: list[tuple[int, bytes]], first: int) -> Rows:
        named = [
            Row(arrival, b"new/%b%d" % (name, first + at), b"%d" % (first + at), at, at, at)
            for at, (arrival, name) in enumerate(values)
        ]
        return Rows(named).in_order()

    known, new = rows(old, 1000), rows(added, 2000)
    leaving = sorted(at for at in gone if at < len(known))
    left = [row for at, row in enumerate(known) if at not in leaving]
    assert list(known.merged(leaving, new)) == list(Rows([*left, *new]).in_order())


def test_messages_with_one_arrival_and_base_are_ordered_by_their_unique_ids() -> None:
    rows = [Row(1, b"new/a", b"z", 1, 1, 0), Row(1, b"cur/a:2,", b"b", 1, 1, 0), Row(1, b"cur/a-", b"a", 1, 1, 0)]
    assert Rows(rows).in_order().uidls == [b"b", b"z", b"a"]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of work in which a millisecond passes with every value."""
    taken: list[float] = []
    monkeypatch.setattr(pieces, "_SPELL", -1)
    monkeypatch.setattr(pieces, "sleep", taken.append)
    return taken


def test_work_of_less_than_a_millisecond_has_no_pause(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_SPELL", 0.001)
    monkeypatch.setattr(pieces, "monotonic", lambda: 5.0)
    assert list(pieces.one_by_one(range(5 * pieces.PIECE))) == list(range(5 * pieces.PIECE))
    assert pauses == []


COUNT = 5 * pieces.PIECE
MANY = Rows(Row(at, b"cur/%d.a:2," % at, b"%d.a" % at, 9, 9, 0, at + 1) for at in range(COUNT))
FILES = dict(zip(MANY.names, MANY.inodes, strict=True))
STORED = index.encode(MANY, 1, 2)


@pytest.mark.parametrize(
    "work",
    [
        lambda: scan._changed(dict(FILES), MANY),
        lambda: list(twins.identify(b"/nowhere/", FILES, ())),
        lambda: Rows(MANY),
        MANY.in_order,
        lambda: index.encode(MANY, 1, 2),
        lambda: index.decode(STORED),
        lambda: scan._looked_at(b"/nowhere/", twins.identify(b"/nowhere/", FILES, MANY), Rows()),
    ],
    ids=["changed", "identify", "rows", "order", "encode", "decode", "look at"],
)
def test_big_work_pauses_between_its_pieces(pauses: list[float], work: Callable[[], object]) -> None:
    work()
    assert len(pauses) >= 5


def test_a_listing_pauses_between_its_pieces(pauses: list[float], tmp_path: Path) -> None:
    for name in ("new", "cur"):
        (tmp_path / name).mkdir()
    for number in range(2 * pieces._TURN + 1):
        (tmp_path / "cur" / str(number)).touch()
    assert len(listing.look(bytes(tmp_path) + b"/", lambda: 0).files) == 2 * pieces._TURN + 1
    assert len(pauses) == 3
