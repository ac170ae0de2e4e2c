"""Which message of IMAP is which of POP3."""

from hypothesis import given
from hypothesis import strategies as st

from mailserver.migration.matching import Side, match


def side(messages, read=None):
    """Of pairs of octets and headers."""

    def likenesses(indexes):
        if read is not None:
            read.extend(indexes)
        return [messages[index][1] for index in indexes]

    return Side([octets for octets, _ in messages], likenesses)


def test_sizes_that_nobody_else_has_are_proof_enough():
    read = []
    found = match(side([(1, b"a"), (2, b"b")], read), side([(1, b"a"), (2, b"b"), (3, b"c")], read))
    assert found == {0: 0, 1: 1}
    assert read == []


def test_sizes_that_others_have_too_are_told_apart_by_headers():
    read = []
    found = match(side([(1, b"a"), (2, b"b"), (2, b"c")], read), side([(2, b"c"), (1, b"a"), (2, b"b")]))
    assert found == {0: 1, 1: 2, 2: 0}
    assert read == [1, 2]


def test_sizes_in_another_order_are_no_proof():
    assert match(side([(1, b"a"), (2, b"b")]), side([(2, b"a"), (1, b"b")])) == {0: 0, 1: 1}


def test_one_header_with_two_sizes_is_told_apart_by_them_first():
    found = match(side([(5, b"a"), (5, b"a"), (6, b"a")]), side([(6, b"a"), (5, b"a"), (6, b"a"), (5, b"a")]))
    assert found == {0: 1, 1: 3, 2: 0}


def test_sizes_that_are_lies_do_not_matter_where_headers_differ():
    assert match(side([(0, b"a"), (0, b"b")]), side([(7, b"b"), (8, b"a")])) == {0: 1, 1: 0}


def test_headers_that_cannot_be_read_match_nothing():
    assert match(side([(1, None), (1, b"a")]), side([(1, None), (1, b"b")])) == {}


MESSAGES = st.lists(st.tuples(st.integers(1, 4), st.sampled_from([b"a", b"b", b"c", None])), max_size=12)


@given(MESSAGES, MESSAGES)
def test_nothing_is_matched_twice(one, other):
    found = match(side(one), side(other))
    assert len(set(found.values())) == len(found)


@given(st.data(), st.lists(st.tuples(st.integers(1, 3), st.integers()), unique_by=lambda each: each[1], max_size=12))
def test_messages_with_headers_of_their_own_are_found_in_any_order(data, messages):
    one = [(octets, b"%d" % number) for octets, number in messages]
    order = data.draw(st.permutations(range(len(one))))
    found = match(side(one), side([one[index] for index in order]))
    assert {index: order[place] for index, place in found.items()} == {index: index for index in range(len(one))}


@given(MESSAGES.filter(lambda messages: all(header for _, header in messages)))
def test_equal_lists_are_matched_whole(messages):
    found = match(side(messages), side(messages))
    assert {(messages[a], messages[b]) for a, b in found.items()} == {(each, each) for each in messages}
    assert len(found) == len(messages)
