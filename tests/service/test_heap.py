"""Unused memory goes back to the system."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

from mailserver.service.heap import heap_trimmer

KEPT, LEFT, COUNT = 1000, 20_000, 2000
"""Octets of what stays and of what goes, and how many of both."""


def resident_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="no glibc")
def test_holes_between_what_stays_are_given_back() -> None:
    trim = heap_trimmer()
    kept, left = [], []
    for _ in range(COUNT):
        left.append(b"x" * LEFT)
        kept.append(b"x" * KEPT)
    del left[:]
    full = resident_kb()
    trim()
    assert full - resident_kb() > COUNT * LEFT / 1000 / 2
    assert len(kept) == COUNT


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    trim: Any = heap_trimmer()
    assert trim() is None
