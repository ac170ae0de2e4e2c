"""The configurations of docs/delivery.md, as they stand there but for the places that the page itself names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs/delivery.md"

BLOCKS: Final = dict(re.findall(r"(?m)^```\w*\n# (.*)\n((?:.*\n)*?)```$", PAGE.read_text("utf-8")))
"""By their first line, which is a comment that says where they belong."""

PLACES: Final = (
    "/run/mailserver",
    "/var/spool/postfix",
    "/etc/ssl",
    "/usr/bin",
    "24",
    "pop.example.com",
    "mail.example.org",
)
"""What a block may have of its machine's own."""


def block(name: str, **places: object) -> str:
    """The block of this name with other places in it, each by the last word of its own: ``mailserver="/tmp/x"``.

    All that are given must occur.
    """
    text = BLOCKS[name]
    for place in PLACES:
        word = re.split(r"/", place)[-1].partition(".")[0]
        if (new := places.pop("port" if word == "24" else word, None)) is not None:
            pattern = rf"(?<!\d){place}(?!\d)" if word == "24" else re.escape(place)
            text, count = re.subn(pattern, lambda _: str(new), text)
            assert count, f"{place} is not in the block {name}"
    assert not places, places
    return text
