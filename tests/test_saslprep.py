from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.saslprep import LONGEST, Forbidden, prepared, saslprep


@pytest.mark.parametrize(
    ("text", "result"),
    [  # the first five are the examples of RFC 4013 section 3
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b\u3000c", "a b c"),
        ("pa\u0308ss", "p\u00e4ss"),
        ("\u0627\u0031\u0628", "\u06271\u0628"),
        ("", ""),
        ("\u200b", ""),
        (" trailing ", " trailing "),
    ],
)
def test_what_is_allowed_is_prepared(text, result):
    assert saslprep(text) == result
    assert prepared(text.encode()) == result.encode()


@pytest.mark.parametrize(
    "text",
    [
        "\u0007",
        "\u0627\u0031",
        "\u0627a\u0627",
        "a\u0627",
        "\u0340\u200e",
        "\ue000",
        "\ufffe",
        "\ufffd",
        "\u2ff0",
        "\U000e0001",
        "\u0221",
        "\U0001f511",
        "a\u007f",
    ],
)
def test_what_is_forbidden_has_no_other_spelling(text):
    with pytest.raises(Forbidden) as caught:
        saslprep(text)
    assert text not in str(caught.value)
    assert prepared(text.encode()) == text.encode()


def test_a_surrogate_is_forbidden():
    with pytest.raises(Forbidden):
        saslprep("\ud800")


def test_what_is_longer_than_any_name_or_password_costs_no_work():
    fits = "\u00aa" * (LONGEST // 2)
    assert prepared(fits.encode()) == b"a" * (LONGEST // 2)
    assert prepared(f"{fits}a".encode()) == f"{fits}a".encode()


def test_octets_that_are_no_text_stay_as_they_are():
    assert prepared(b"\xff\xfe\x80") == b"\xff\xfe\x80"


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_preparing_twice_changes_nothing_more(octets):
    assert prepared(prepared(octets)) == prepared(octets)


@given(st.binary(max_size=30).filter(bytes.isascii))
def test_ascii_stays_as_it_is(octets):
    assert prepared(octets) == octets
