"""Sizes with and without units."""

import pytest

from mailserver.sizes import octets


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("12", 12 * 1024),
        ("500B", 500),
        ("3k", 3 * 1024),
        (" 2 GiB ", 2 * 1024**3),
        ("1tb", 1024**4),
        ("0", 0),
        ("", None),
        ("-1", None),
        ("1 0G", None),
        ("1X", None),
        ("1iB", None),
        ("٣", None),
        ("1" * 16, None),
    ],
)
def test_a_number_has_its_unit_or_that_of_its_place(text, becomes):
    assert octets(text, 1024) == becomes
