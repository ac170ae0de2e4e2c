"""How long octets take on a line, as people write it."""

import pytest

from mailserver.cli.line import Line, duration


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("100Mbit", 10**8),
        ("1 Gbit/s", 10**9),
        ("56kbit", 56_000),
        ("2.5gbit", 2.5e9),
        ("16Mbps", 16e6),
        ("9600bit", 9600),
    ],
)
def test_a_line_is_written_as_people_write_it(text, bits):
    assert Line.read(text).bits == bits
    assert str(Line.read(text)) == text


@pytest.mark.parametrize(
    "text", ["", "fast", "100", "0Mbit", "-1Mbit", "100MB", "1e9bit", "Mbit", "nanMbit", "1..5kbit"]
)
def test_what_is_no_line_is_an_error_with_an_example(text):
    with pytest.raises(ValueError, match="such as 100Mbit"):
        Line.read(text)


def test_octets_take_eight_bits():
    assert Line.read("100Mbit").seconds(12_500_000) == 1.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.04, "0.1 s"),
        (0.96, "1 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3_599, "60 min"),
        (3_600, "1 h"),
        (5_430, "1 h 30 min"),
        (86_400 * 2, "48 h"),
    ],
)
def test_times_are_as_exact_as_people_need_them(seconds, text):
    assert duration(seconds) == text
