"""Octets on the wire, against their plain definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailserver.store.measure import Measure, measure
from tests.store.contract import on_the_wire

NASTY = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\0", b"\xff"])).map(b"".join)


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
