"""How a message that moves is read."""

from mailserver.migration.contents import CHUNK, Digest, Reading, id_beside, id_of_contents, is_unique_id
from tests.migration.fakes import FakeSource, Mail

LARGE = b"sixteen octets.\n" * 100_000


def reading(text, piece):
    source = FakeSource([Mail(text)], piece=piece)
    return Reading(source, source.messages()[0])


def test_pieces_are_gathered_and_never_more_than_a_chunk_and_a_piece():
    for piece in (100, 60_000):
        read = reading(LARGE, piece)
        pieces = [read.first]
        assert not read.is_whole
        while not read.digest:
            pieces.append(read.more())
        assert b"".join(pieces) == LARGE
        assert all(len(each) < CHUNK + max(piece, len(LARGE) // 50) for each in pieces)
        assert len(pieces) <= len(LARGE) // CHUNK + 1
        assert read.more() == b""


def test_a_small_message_is_whole_at_once():
    read = reading(b"a\nb", 1)
    assert (read.first, read.is_whole, read.octets) == (b"a\nb", True, 6)


def test_an_empty_message_is_whole():
    assert reading(b"", 1).is_whole


def test_a_digest_is_that_of_the_wire_whatever_the_pieces_and_the_line_ends():
    digests = set()
    for text in (b"a\nb\n", b"a\r\nb\r\n", b"a\r\nb"):
        for piece in (1, 2, 9):
            read = reading(text, piece)
            digests.add((read.digest, read.octets))
    assert len(digests) == 1
    other = Digest()
    other.feed(b"a\rb\n")
    assert other.end() not in {digest for digest, _ in digests}


def test_ids_that_are_made_can_be_kept_and_differ():
    one, two = b"1" * 40, b"2" * 40
    made = [
        id_of_contents(one, 0),
        id_of_contents(one, 1),
        id_of_contents(two, 0),
        id_beside(b"1", one),
        id_beside(b"2", one),
    ]
    assert len(set(made)) == len(made)
    assert all(map(is_unique_id, made))
