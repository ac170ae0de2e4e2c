"""The rule of line ends, measured and made, against its plain definition and for every way to cut the octets."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from mailserver.protocol.wire import Stuffer
from mailserver.testing.contracts.store import on_the_wire
from mailserver.wireform import Canonical, Measure, measure
from tests import corpus
from tests.protocol.oracle import thorough, unstuff

NASTY = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\0", b"\xff"])).map(b"".join)
CHUNKED = st.lists(NASTY | st.binary(max_size=20))


def canonical(chunks: Sequence[bytes]) -> list[bytes]:
    """The chunks of the canonical message."""
    made = Canonical()
    return [*map(made.feed, chunks), made.end()]


def stuffed(chunks: Sequence[bytes]) -> bytes:
    """The multi-line response that these chunks make."""
    made = Stuffer()
    return b"".join([*map(made.feed, chunks), made.end()])


@thorough
@given(CHUNKED)
@example([b"a\r", b"\n"])
@example([b"\r", b"", b"\r", b"\n"])
@example([b"a\r"])
def test_a_message_is_made_canonical_the_same_way_however_it_is_cut(chunks: list[bytes]) -> None:
    message = b"".join(chunks)
    assert b"".join(canonical(chunks)) == b"".join(canonical([message])) == corpus.canonical(message)


@thorough
@given(CHUNKED)
def test_no_canonical_chunk_ends_between_cr_and_lf(chunks: list[bytes]) -> None:
    pieces = [piece for piece in canonical(chunks) if piece]
    assert not any(one.endswith(b"\r") and other.startswith(b"\n") for one, other in pairwise(pieces))


@given(CHUNKED)
def test_it_knows_what_it_was_fed_and_has_returned(chunks: list[bytes]) -> None:
    made, fed, pieces = Canonical(), b"", b""
    for chunk in chunks:
        fed += chunk
        pieces += made.feed(chunk)
        assert (made.octets, made.line_ended) == (len(pieces), not fed or fed.endswith(b"\n"))
    pieces += made.end()
    assert (made.octets, made.line_ended) == (len(pieces), True)
    assert made.end() == b"", "the end comes once"


@given(CHUNKED)
def test_what_is_canonical_stays_as_it_is(chunks: list[bytes]) -> None:
    once = canonical(chunks)
    assert b"".join(canonical(once)) == b"".join(once)


@thorough
@given(CHUNKED)
def test_a_client_that_unstuffs_has_the_canonical_message(chunks: list[bytes]) -> None:
    assert unstuff(stuffed(chunks)) == (b"".join(canonical(chunks)), b"")


@thorough
@given(CHUNKED)
def test_octets_measured_are_those_made(chunks: list[bytes]) -> None:
    measured = Measure()
    for chunk in chunks:
        measured.feed(chunk)
    assert measured.octets == len(b"".join(canonical(chunks)))
    assert measured.wire == (b"".join(chunks) + b".\r\n" == stuffed(chunks)), "sent as it is, or stuffed: the same"


@given(NASTY, st.lists(st.integers(0, 40)))
def test_the_measure_is_the_same_for_every_fragmentation(message: bytes, cuts: list[int]) -> None:
    pieces = Measure()
    last = 0
    for cut in [*sorted(cuts), len(message)]:
        pieces.feed(message[last:cut])
        last = max(last, cut)
    whole = measure(message)
    assert (pieces.size, pieces.octets, pieces.wire) == (whole.size, whole.octets, whole.wire)


@given(NASTY)
def test_octets_are_those_of_the_canonical_message(message: bytes) -> None:
    assert measure(message).octets == on_the_wire(message)


@given(NASTY)
def test_wire_form_is_what_needs_neither_line_ends_nor_stuffing(message: bytes) -> None:
    bare = message.replace(b"\r\n", b"").count(b"\n")
    dotted = any(line.startswith(b".") for line in message.split(b"\n"))
    assert measure(message).wire == (not bare and not dotted and (not message or message.endswith(b"\r\n")))
