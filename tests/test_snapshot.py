"""The maildrop as a session sees it: rows, columns, and the text of its listings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.snapshot import BLOCK, Message, Snapshot

UIDLS = st.binary(min_size=1, max_size=70).map(lambda octets: bytes(0x21 + octet % 94 for octet in octets))
ROWS = st.lists(st.builds(Message, UIDLS, st.integers(0, 2**40), st.booleans()), max_size=30)
THREE = [Message(b"one", 24, wire=True), Message(b"two", 25, wire=False), Message(b"three", 0, wire=True)]


@given(ROWS)
def test_it_is_the_sequence_of_its_rows(rows):
    snapshot = Snapshot.of(rows)
    assert list(snapshot) == rows
    assert len(snapshot) == len(rows)
    assert snapshot.total == sum(row.octets for row in rows)
    assert all(type(row.wire) is bool for row in snapshot)


@given(ROWS, st.slices(30))
def test_it_can_be_sliced(rows, part):
    assert list(Snapshot.of(rows)[part]) == rows[part]


def test_an_index_from_the_end_and_one_too_far():
    snapshot = Snapshot.of(THREE)
    assert snapshot[-1] == THREE[-1]
    assert THREE[1] in snapshot
    with pytest.raises(IndexError):
        snapshot[3]


def test_flags_may_come_as_bytes():
    snapshot = Snapshot([b"a", b"b"], (1, 2), b"\0\1")
    assert [row.wire for row in snapshot] == [False, True]


def test_arrivals_are_known_for_all_messages_or_for_none():
    assert Snapshot.of(THREE).arrivals == ()
    assert Snapshot.of(THREE, [1, 2, 3]).arrivals == [1, 2, 3]


@pytest.mark.parametrize(
    "columns",
    [((b"a",), (), ()), ((), (1,), ()), ((b"a",), (1,), (1, 0)), ((b"a",), (1,), (1,), (5, 6)), ((), (), (), (5,))],
)
def test_columns_of_different_lengths_are_a_bug(columns):
    with pytest.raises(ValueError, match="different lengths"):
        Snapshot(*columns)


def test_rows_of_the_listings():
    snapshot = Snapshot.of(THREE)
    assert snapshot.scan_row(2) == b"2 25\r\n"
    assert snapshot.unique_row(3) == b"3 three\r\n"


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_the_blocks_are_the_rows(count):
    snapshot = Snapshot([b"uid%d" % index for index in range(count)], range(count), [1] * count)
    blocks = range(-(-count // BLOCK))
    assert b"".join(map(snapshot.scan_block, blocks)) == b"".join(map(snapshot.scan_row, range(1, count + 1)))
    assert b"".join(map(snapshot.unique_block, blocks)) == b"".join(map(snapshot.unique_row, range(1, count + 1)))
    assert all(snapshot.scan_block(block).count(b"\n") <= BLOCK for block in blocks)
    assert snapshot.scan_block(len(blocks)) == snapshot.unique_block(len(blocks)) == b""


def test_a_block_is_made_once():
    snapshot = Snapshot.of(THREE)
    assert snapshot.scan_block(0) is snapshot.scan_block(0)
    assert snapshot.unique_block(0) is snapshot.unique_block(0)
    assert snapshot.scan_block(0) != snapshot.unique_block(0)


def test_nothing_is_hung_on_a_snapshot():
    assert set(Snapshot.__slots__) == {
        "uidls",
        "octets",
        "wire",
        "arrivals",
        "unordered",
        "renewed",
        "total",
        "_scan",
        "_unique",
    }
    with pytest.raises(AttributeError):
        Snapshot.of(THREE).envelopes = None
