"""The style sheet: what is written can be read by people with weak eyes, in both schemes."""

from __future__ import annotations

import re

import pytest

from mailserver.web.status.page import STYLE

TEXT = 4.5
"""WCAG 2.2, 1.4.3: the contrast of text to what is behind it."""
PICTURE = 3.0
"""1.4.11: that of lines that mean something."""

PAIRS = [
    *((word, sheet, TEXT) for word in ("text", "soft", "link") for sheet in ("page", "sheet")),
    *((word, f"{kind}-sheet", TEXT) for kind in ("good", "warn", "bad") for word in ("text", kind)),
    *((line, "sheet", PICTURE) for line in ("first", "second", "soft")),
]


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def schemes() -> dict[str, dict[str, str]]:
    light, dark = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+);", block))
        for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    )
    return {"light": light, "dark": {**light, **dark}}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_pair_of_colours_has_contrast_enough(scheme: str) -> None:
    colours = schemes()[scheme]
    poor = {
        (one, other): found for one, other, least in PAIRS if (found := contrast(colours[one], colours[other])) < least
    }
    assert not poor


def test_the_dark_scheme_has_a_value_of_its_own_for_each_colour() -> None:
    light, dark = schemes().values()
    assert {name for name in light if light[name] == dark[name]} == set()


def test_every_colour_comes_from_the_two_schemes() -> None:
    rest = re.sub(r":root \{.*?\}", "", STYLE, flags=re.DOTALL)
    assert re.findall("#[0-9a-fA-F]{3,8}|rgba?\\(", rest) == []
