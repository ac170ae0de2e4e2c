"""What is made of measured figures: medians, ratios, spread."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """Several runs of one figure."""

    median: float
    least: float
    most: float


def spread(figures: Sequence[float]) -> Spread:
    """The middle one of the runs, and the ends."""
    return Spread(statistics.median(figures), min(figures), max(figures))


def medians(rounds: Sequence[Mapping[str, float]], keys: Sequence[str]) -> dict[str, float]:
    """The median of each figure over the rounds of one run."""
    return {key: statistics.median(each[key] for each in rounds) for key in keys}


def ratio(other: float, ours: float) -> float:
    """How many times as much the other costs; 0 where nothing was measured."""
    return other / ours if ours else 0.0
