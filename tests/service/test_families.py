"""The table of the metrics: it is what is measured, and docs/metrics.md, the dashboard and the alerts are made of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailserver.counts import ENDS
from mailserver.service import measures
from mailserver.service.families import FAMILIES, OF_SERVER, WORKER

ROOT = Path(__file__).parents[2]
ALL = {**FAMILIES, **OF_SERVER}
NAMES = {family.name(short): family for short, family in ALL.items()}
PAGE = (ROOT / "docs/metrics.md").read_text()


def rows() -> Iterator[str]:
    """The tables of docs/metrics.md."""
    for short, family in ALL.items():
        labels = [*((WORKER,) if short != "build_info" else ()), *family.labels]
        yield f"| `{family.name(short)}` | {family.kind} | {', '.join(f'`{label}`' for label in labels)} | {family.help} |"


def test_the_page_has_every_metric_as_the_code_has_it() -> None:
    assert [line for line in PAGE.splitlines() if re.match(r"\| `(mailserver|process)_", line)] == list(rows())


def test_the_page_tells_every_end() -> None:
    told = re.findall(
        r"^\| `(\w+)` \|", PAGE.partition("## How connections end")[2].partition("\n## ")[0], re.MULTILINE
    )
    assert set(told) == {*ENDS.values(), "refusal", "other"}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_as_prometheus_wants_them(name: str) -> None:
    family = NAMES[name]
    assert re.fullmatch(r"(mailserver|process)_[a-z]+(_[a-z]+)*", name)
    assert name.endswith("_total") == (family.kind == "counter")
    assert not re.search(r"(milli|micro|kilo)|_octets|_ms\b", name)
    assert family.help.endswith(".")
    assert not {"user", "peer", "address", "session"} & set(family.labels)
    assert list(family.bounds) == sorted(set(family.bounds))


def test_all_that_is_measured_is_in_the_table_and_the_other_way_round() -> None:
    text = Path(measures.__file__).read_text()
    measured = set(re.findall(r'"([a-z_]+)"', text)) & {*FAMILIES}
    assert measured == {*FAMILIES}
