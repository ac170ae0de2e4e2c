"""Lines in, byte-stuffed messages out: against the plainest reading of the RFCs, for every way to cut the octets."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailserver.errors import LineTooLong, NoSuchMessage, TemporaryFailure
from mailserver.protocol.wire import COMMAND_LIMIT, SASL_LIMIT, LineBuffer, Stuffer, TopCut, err, ok
from tests.corpus import SMALL, canonical, top
from tests.protocol.oracle import thorough, unstuff

TELLING = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"..", b"\n.", b"x", b"\0", b"\xff", b"word "])).map(
    b"".join
)
"""Messages made of what matters: line ends, halves of them, and dots."""
MESSAGES = TELLING | st.binary()
CHUNKED = st.lists(MESSAGES)
EDGES = st.lists(st.integers(0, 400))


def cut(data, edges):
    """The same octets in chunks, empty ones among them."""
    marks = [0, *sorted(edge % (len(data) + 1) for edge in edges), len(data)]
    return [data[start:end] for start, end in pairwise(marks)]


def stuff(chunks):
    stuffer = Stuffer()
    wire = [stuffer.feed(chunk) for chunk in chunks]
    return [*wire, stuffer.end()], stuffer.octets


def send_top(chunks, lines):
    """TOP as the network sends it: no chunk is read after the cut is done."""
    cutter = TopCut(lines)
    out = []
    for chunk in chunks:
        out.append(cutter.feed(chunk))
        if cutter.done:
            break
    return b"".join(out)


# Byte-stuffing.


@thorough
@given(CHUNKED)
@example([b"a\r", b"\n.b"])
@example([b"a\n", b".b"])
@example([b".", b"\r", b"\n"])
@example([b"\r", b"", b"\r", b"\n"])
def test_what_a_client_unstuffs_is_the_message_for_every_chunking(chunks):
    message = b"".join(chunks)
    wire, octets = stuff(chunks)
    assert unstuff(b"".join(wire) + b"+OK next") == (canonical(message), b"+OK next")
    assert octets == len(canonical(message))


@thorough
@given(CHUNKED)
def test_the_chunking_makes_no_difference_on_the_wire(chunks):
    assert b"".join(stuff(chunks)[0]) == b"".join(stuff([b"".join(chunks)])[0])


@thorough
@given(CHUNKED)
def test_no_chunk_of_the_wire_form_ends_between_cr_and_lf(chunks):
    wire = [piece for piece in stuff(chunks)[0] if piece]
    assert not any(one.endswith(b"\r") and next_one.startswith(b"\n") for one, next_one in pairwise(wire))


@thorough
@given(MESSAGES)
def test_only_whole_lines_of_a_dot_are_dots_alone(message):
    lines = b"".join(stuff([message])[0]).split(b"\r\n")
    assert lines.index(b".") == len(lines) - 2


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [1, 2, 3, 4096])
def test_nasty_messages_arrive_whole(name, size):
    message = SMALL[name][-20_000:] if size < 4096 else SMALL[name]
    wire, octets = stuff([message[at : at + size] for at in range(0, len(message), size)])
    assert unstuff(b"".join(wire)) == (canonical(message), b"")
    assert octets == len(canonical(message))


# TOP.


@thorough
@given(MESSAGES, EDGES, st.integers(0, 8) | st.integers(0))
@example(b"\r\nbody\r\n", [1], 1)
@example(b"a: b\r\n\r\n1\r\n2\r\n", [4, 5, 6, 7, 8], 1)
def test_top_of_stored_octets_for_every_chunking_and_number_of_lines(message, edges, lines):
    wire, _ = stuff(cut(message, edges))
    sent = send_top(wire[:-1], lines)
    cutter = TopCut(lines)
    cutter.feed(b"".join(wire[:-1]))
    sent += b".\r\n" if cutter.done else wire[-1]
    assert unstuff(sent) == (top(message, lines), b"")


@thorough
@given(MESSAGES.map(canonical), EDGES, st.integers(0, 8))
def test_top_of_wire_form_may_be_cut_anywhere_between_cr_and_lf_too(message, edges, lines):
    assert send_top(cut(message, edges), lines) == top(message, lines)


def test_top_is_done_as_soon_as_it_can_be():
    cutter = TopCut(1)
    assert cutter.feed(b"a: b\r\n\r\nbo") == b"a: b\r\n\r\nbo"
    assert not cutter.done
    assert cutter.feed(b"dy\r\nmore") == b"dy\r\n"
    assert cutter.done
    assert cutter.feed(b"and more\r\n") == b""


# Lines.


class NaiveLines:
    """Everything fed, as one piece."""

    def __init__(self):
        self.data = b""

    def line(self, limit):
        content, end, rest = self.data.partition(b"\n")
        if len(content + end) > limit or (not end and len(content) >= limit):
            raise LineTooLong
        if not end:
            return None
        self.data = rest
        return content[:-1] if content[-1:] == b"\r" else content


def outcome(buffer, limit):
    try:
        return buffer.line(limit)
    except LineTooLong:
        return LineTooLong


ACTIONS = st.lists(
    st.one_of(
        TELLING, st.binary(max_size=40), st.sampled_from([1, 2, 5, 12, 255]), st.just("clear"), st.just("begins")
    ),
    max_size=60,
)


@thorough
@given(ACTIONS)
@example([b"ab", 255, b"c\nd", 255, 255])
@example([b"abc", 2, b"\n", 5])
def test_a_line_buffer_is_a_plain_string_for_any_feeds_and_limits(actions):
    buffer, naive = LineBuffer(), NaiveLines()
    for action in actions:
        if isinstance(action, bytes):
            buffer.feed(action)
            naive.data += action
        elif action == "clear":
            buffer.clear()
            naive.data = b""
        elif action == "begins":
            for prefix in (b"WORD", b"", b"\r", b"X."):
                assert buffer.begins(prefix) is naive.data.upper().startswith(prefix)
        else:
            assert outcome(buffer, action) == outcome(naive, action)
        assert buffer.unread == len(naive.data)


@pytest.mark.parametrize("limit", [COMMAND_LIMIT, SASL_LIMIT])
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_line_may_have_its_limit_with_its_end_and_no_octet_more(limit, end):
    buffer = LineBuffer()
    longest = b"x" * (limit - len(end))
    buffer.feed(longest + end)
    assert buffer.line(limit) == longest
    buffer.feed(b"x" + longest + end)
    assert outcome(buffer, limit) is LineTooLong
    assert outcome(buffer, limit) is LineTooLong, "it takes nothing"


def test_only_one_carriage_return_belongs_to_the_line_end():
    buffer = LineBuffer()
    buffer.feed(b"a\r\r\nb\rc\r\n")
    assert [buffer.line(10), buffer.line(10), buffer.line(10)] == [b"a\r", b"b\rc", None]


# Replies.


def test_status_lines():
    assert ok() == b"+OK\r\n"
    assert ok(b"2 320") == b"+OK 2 320\r\n"
    assert err(NoSuchMessage()) == b"-ERR no such message\r\n"
    assert err(TemporaryFailure(b"later")) == b"-ERR [SYS/TEMP] later\r\n"
