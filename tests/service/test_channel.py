"""The lines by which a worker says how it stands."""

import os

import pytest

from mailserver.service import channel
from mailserver.service.channel import Lines, heard, say


def fed(limit, *parts):
    lines = Lines(limit)
    found = [line for part in parts for line in lines.feed(part)]
    return found, lines.lost


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_stream_is_cut_at_its_line_ends_however_it_arrives(size):
    stream = b"one\n\ntoo long a line\nthree\nno end"
    parts = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert fed(8, *parts) == ([b"one", b"", b"three"], 1)


def test_a_line_of_the_limit_is_one_and_a_longer_one_is_counted_once():
    assert fed(3, b"abc\n", b"abcd", b"e" * 100, b"f\n", b"ab\n") == ([b"abc", b"ab"], 1)


def test_a_line_without_an_end_is_not_kept():
    lines = Lines(10)
    for _ in range(100):
        lines.feed(b"x" * 9)
        assert len(lines._rest) <= 10
    assert lines.lost == 1


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b'{"event": "serving"}', "serving"),
        (b'{"event": {"a": 1}}', ""),
        (b'"serving"', ""),
        (b"serving", ""),
        (b"\xff", ""),
        (b"[" * 1000, ""),
    ],
)
def test_what_is_no_line_of_ours_says_nothing(line, event):
    assert heard(line)[0] == event


def test_a_parent_that_reads_nothing_or_has_gone_stops_no_worker(monkeypatch):
    reading, writing = os.pipe()
    monkeypatch.setattr(channel, "CHANNEL", writing)
    try:
        say("serving")
        assert heard(os.read(reading, 100).rstrip())[0] == "serving"
        for _ in range(5000):
            say("reloaded")
        os.close(reading)
        say("reloaded")
    finally:
        os.close(writing)
