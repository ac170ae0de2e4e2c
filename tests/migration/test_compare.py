"""What a client that keeps its mail at the server would do after a move."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.migration.compare import EXAMPLES, Amount, Comparison, Example, Listed, compare

NONE = Amount(0, 0)


class Server:
    """A maildrop: unique-ids, each with its octets and its header; a header of None cannot be read."""

    def __init__(self, *rows: tuple[bytes, int | None, bytes | None]) -> None:
        self.rows = rows
        self.asked: list[int] = []

    def listing(self) -> Sequence[Listed]:
        return [Listed(uidl, octets) for uidl, octets, _ in self.rows]

    def likenesses(self, indexes: Iterable[int]) -> Sequence[bytes | None]:
        asked = list(indexes)
        self.asked += asked
        return [self.rows[index][2] for index in asked]

    @staticmethod
    def measured(index: int) -> int:
        return 1000 + index

    def close(self) -> None:
        """Do nothing."""


A, B, C = (b"a", 100, b"A"), (b"b", 200, b"B"), (b"c", 300, b"C")


def counts(found: Comparison) -> dict[str, tuple[int, int]]:
    """What was found, without what is zero."""
    amounts = {name: getattr(found, name) for name in ("same", "again", "another", "missing", "new")}
    return {name: (each.messages, each.octets) for name, each in amounts.items() if each != NONE}


def test_the_same_ids_for_the_same_sizes_are_nothing_to_do_and_no_header_is_read():
    old, new = Server(A, B, C), Server(A, B, C)
    found = compare(old, new)
    assert counts(found) == {"same": (3, 600)}
    assert found.safe
    assert found.in_order
    assert old.asked == new.asked == []


def test_other_ids_are_downloads_and_octets_are_the_new_server_s():
    found = compare(Server(A, B, C), Server((b"x", 100, b"A"), B, (b"z", 300, b"C")))
    assert counts(found) == {"same": (1, 200), "again": (2, 400)}
    assert not found.safe
    assert found.examples == (Example("again", 1, b"a", 1, b"x"), Example("again", 3, b"c", 3, b"z"))


def test_what_came_meanwhile_is_new_and_not_again():
    old, new = Server(A, B), Server(A, B, C)
    found = compare(old, new)
    assert counts(found) == {"same": (2, 300), "new": (1, 300)}
    assert found.safe
    assert old.asked == new.asked == []


def test_what_is_not_there_is_missing_and_no_proof():
    found = compare(Server(A, B), Server(B))
    assert counts(found) == {"same": (1, 200), "missing": (1, 100)}
    assert not found.safe
    assert found.examples == (Example("missing", 1, b"a", None, b""),)


def test_a_new_message_and_a_missing_one_are_told_apart_by_their_headers():
    found = compare(Server(A, B), Server(A, C))
    assert counts(found) == {"same": (1, 100), "missing": (1, 200), "new": (1, 300)}


def test_a_message_that_another_server_counts_otherwise_is_found_by_its_header():
    found = compare(Server((b"a", 100, b"A"), B), Server((b"x", 103, b"A"), B))
    assert counts(found) == {"same": (1, 200), "again": (1, 103)}


def test_of_messages_without_names_in_common_those_of_a_size_need_no_header():
    old = Server(*((b"%d" % n, 100, b"h%d" % n) for n in range(50)))
    new = Server(*((b"x%d" % n, 100, b"h%d" % n) for n in range(50)))
    assert counts(compare(old, new)) == {"again": (50, 5000)}
    assert old.asked == new.asked == []


def test_a_message_that_is_there_twice_is_downloaded_once_more():
    found = compare(Server(A, B), Server(A, (b"x", 100, b"A"), B))
    assert counts(found) == {"same": (2, 300), "again": (1, 100)}
    assert found.examples == (Example("again", 1, b"a", 2, b"x"),)


def test_a_copy_is_found_however_the_servers_count_and_whatever_became_of_the_first():
    longer = (b"a", 103, b"A")
    assert counts(compare(Server(A, B), Server(longer, (b"x", 103, b"A"), B))) == {"same": (2, 303), "again": (1, 103)}
    assert counts(compare(Server(A), Server((b"x", 100, b"A"), (b"y", 100, b"A")))) == {"again": (2, 200)}
    for silent in ((b"a", 100, None), A):
        found = compare(Server(silent), Server(silent, (b"x", 100, None)))
        assert counts(found) == {"same": (1, 100), "new": (1, 100)}


def test_sizes_that_mean_another_message_each_mislead_nobody():
    old = Server(*((b"%d" % n, n, b"h%d" % n) for n in range(1, 20)))
    new = Server(*((b"x%d" % n, n + 1, b"h%d" % n) for n in range(1, 20)))
    assert counts(compare(old, new)) == {"again": (19, sum(range(2, 21)))}


def test_a_size_decides_where_no_header_can_be_read():
    silent = (b"a", 100, None)
    found = compare(Server(silent, B), Server((b"x", 100, b"A"), C))
    assert counts(found) == {"again": (1, 100), "missing": (1, 200), "new": (1, 300)}
    found = compare(Server(A, B), Server((b"x", 100, None), C))
    assert counts(found) == {"again": (1, 100), "missing": (1, 200), "new": (1, 300)}
    found = compare(Server(A, silent), Server((b"x", 100, b"other"), (b"y", 100, b"A"), C))
    assert counts(found) == {"again": (2, 200), "new": (1, 300)}


def test_headers_go_before_sizes_where_both_are_known():
    found = compare(Server(A, B), Server((b"x", 100, b"other"), C))
    assert counts(found) == {"missing": (2, 300), "new": (2, 400)}
    found = compare(Server((b"a", 100, None), (b"d", 999, b"A")), Server((b"x", 100, b"A"), C))
    assert counts(found) == {"again": (1, 100), "missing": (1, 100), "new": (1, 300)}


def test_an_old_message_is_downloaded_again_once():
    found = compare(Server(A, B), Server((b"x", 100, None), (b"y", 103, b"A")))
    assert counts(found) == {"again": (1, 103), "missing": (1, 200), "new": (1, 100)}


def test_an_id_that_names_another_message_is_worse_than_a_download():
    found = compare(Server(A, B), Server((b"a", 300, b"C"), B))
    assert counts(found) == {"same": (1, 200), "another": (1, 300)}
    assert not found.safe
    assert found.examples == (Example("another", 1, b"a", 1, b"a"),)


def test_ids_that_are_shifted_name_other_messages_and_nothing_is_missing():
    found = compare(Server(A, B, C), Server((b"a", 200, b"B"), (b"b", 300, b"C"), (b"c", 100, b"A")))
    assert counts(found) == {"another": (3, 600)}


def test_a_message_whose_id_another_one_has_and_which_has_a_new_one_is_downloaded_again():
    found = compare(Server(A, B), Server((b"a", 300, b"C"), (b"x", 100, b"A"), B))
    assert counts(found) == {"same": (1, 200), "another": (1, 300), "again": (1, 100)}


def test_a_second_message_with_one_id_is_never_downloaded_by_anybody():
    found = compare(Server(A, B), Server(A, (b"a", 300, b"C"), B))
    assert counts(found) == {"same": (2, 300), "another": (1, 300)}


def test_messages_that_had_one_id_at_the_old_server_are_compared_in_their_order():
    twice = (b"a", 200, b"B")
    assert counts(compare(Server(A, twice), Server(A, twice))) == {"same": (2, 300)}
    assert counts(compare(Server(A, twice), Server(A, (b"x", 200, b"B")))) == {"same": (1, 100), "again": (1, 200)}


def test_a_message_without_a_unique_id_is_named_by_nothing():
    nameless = (b"", 100, b"A")
    assert counts(compare(Server(nameless), Server(nameless))) == {"again": (1, 100)}


def test_other_sizes_of_the_same_message_are_told_and_no_harm():
    found = compare(Server(A, B), Server((b"a", 103, b"A"), B))
    assert counts(found) == {"same": (2, 303)}
    assert found.resized == 1
    assert found.safe
    assert found.examples == (Example("resized", 1, b"a", 1, b"a"),)


@pytest.mark.parametrize("unread", ["old", "new"])
def test_where_a_header_cannot_be_read_the_sizes_decide(unread):
    silent, heard = (b"a", 100, None), (b"a", 103, b"A")
    found = compare(*(Server(silent), Server(heard)) if unread == "old" else (Server(heard), Server(silent)))
    assert found.another.messages == found.unproved == 1
    assert not found.safe


def test_an_unknown_size_lets_the_headers_decide():
    assert counts(compare(Server((b"a", None, b"A")), Server(A))) == {"same": (1, 100)}
    assert counts(compare(Server(A), Server((b"a", None, b"A")))) == {"same": (1, 100)}
    assert counts(compare(Server(A), Server((b"a", None, b"B")))) == {"another": (1, 100)}
    assert counts(compare(Server((b"a", None, b"A")), Server((b"a", None, b"B")))) == {"another": (1, 1000)}
    assert counts(compare(Server((b"a", None, b"A")), Server((b"x", None, b"B")))) == {
        "missing": (1, 1000),
        "new": (1, 0),
    }


def test_nothing_is_proved_where_neither_sizes_nor_headers_are_known():
    found = compare(Server((b"a", None, None)), Server((b"a", 100, None)))
    assert counts(found) == {"same": (1, 100)}
    assert found.unproved == 1
    assert not found.safe


def test_thoroughly_each_header_is_compared():
    old, new = Server(A, B), Server(A, (b"b", 200, b"other"))
    assert counts(compare(old, new)) == {"same": (2, 300)}
    assert counts(compare(old, new, thorough=True)) == {"same": (1, 100), "another": (1, 200)}


def test_thoroughly_a_header_that_cannot_be_read_proves_nothing():
    found = compare(Server(A), Server((b"a", 100, None)), thorough=True)
    assert counts(found) == {"same": (1, 100)}
    assert found.unproved == 1
    assert not found.safe


def test_no_header_is_read_twice():
    old = Server(A, B, (b"d", 100, b"D"))
    new = Server((b"a", 101, b"A"), (b"x", 100, b"D"), (b"y", 101, b"other"))
    compare(old, new, thorough=True)
    assert 0 in new.asked
    assert len(old.asked) == len(set(old.asked))
    assert len(new.asked) == len(set(new.asked))


def test_another_order_is_told():
    found = compare(Server(A, B, C), Server(B, A, C))
    assert counts(found) == {"same": (3, 600)}
    assert not found.in_order
    assert found.safe


def test_empty_maildrops_are_the_same():
    assert compare(Server(), Server()) == Comparison()


def test_a_sum_has_all():
    one = compare(Server(A, B, C), Server((b"x", 100, b"A"), C, (b"b", 150, b"B")))
    whole = one + compare(Server(A), Server((b"a", 300, b"C"))) + Comparison()
    assert counts(whole) == {"same": (2, 450), "again": (1, 100), "another": (1, 300)}
    assert not whole.in_order
    assert (one.resized, whole.resized, (whole + one).resized) == (1, 1, 2)
    assert not whole.examples


def test_few_examples_are_kept_of_each_kind():
    many = [(b"%d" % n, n, b"h%d" % n) for n in range(1, 100)]
    found = compare(Server(*many), Server(*((b"x%b" % uidl, octets, header) for uidl, octets, header in many)))
    assert len(found.examples) == EXAMPLES


@st.composite
def maildrops(draw: st.DrawFn) -> tuple[list[tuple[bytes, int, bytes]], list[tuple[bytes, int, bytes]]]:
    """Any old maildrop, and the same mail with some unique-ids changed, in any order."""
    old = [(b"%d" % n, draw(st.integers(1, 3)), b"h%d" % n) for n in range(draw(st.integers(0, 8)))]
    kept = draw(st.lists(st.booleans(), min_size=len(old), max_size=len(old)))
    new = [each if keep else (b"x%b" % each[0], *each[1:]) for each, keep in zip(old, kept, strict=True)]
    return old, draw(st.permutations(new))


@given(maildrops())
def test_what_changed_its_id_is_again_and_the_rest_is_the_same(both):
    old, new = both
    found = compare(Server(*old), Server(*new), thorough=True)
    changed = [octets for uidl, octets, _ in new if uidl.startswith(b"x")]
    assert found.again == Amount(len(changed), sum(changed))
    assert found.same.messages == len(old) - len(changed)
    assert found.another == found.missing == found.new == NONE
    assert found.safe == (not changed)


def test_octets_that_no_listing_says_are_counted_where_clients_would_download_them():
    old = Server((b"a", None, b"A"), (b"b", 200, b"B"), (b"c", None, b"C"), (b"d", None, b"D"))
    new = Server((b"a", None, b"A"), (b"x", None, b"B"), (b"y", None, b"C"))
    assert counts(compare(old, new)) == {"same": (1, 0), "again": (2, 200 + 1002), "missing": (1, 1003)}
