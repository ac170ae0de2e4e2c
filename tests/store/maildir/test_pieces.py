"""Big columns are worked on in pieces, with the result of one call."""

from __future__ import annotations

from collections.abc import Sequence
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from mailserver.store.maildir import pieces
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
