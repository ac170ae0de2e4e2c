"""The page of the metrics: what several processes say comes together, also where one of them has not said all."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from mailserver.service.exposition import OPEN_METRICS, Metrics, prefers
from mailserver.service.gathering import Gathered


def test_a_worker_that_ends_amid_its_answer_is_not_up() -> None:
    rows = [{"worker": worker, "metric": "workers", "samples": [[[], 3]]} for worker in (1, 2)]
    text = generate_latest(Metrics(Gathered(rows, [2, 3]))).decode()  # type: ignore[no-untyped-call]
    families = {family.name: family for family in text_string_to_metric_families(text)}
    up = families["mailserver_worker_up"].samples
    assert [(each.labels["worker"], each.value) for each in up] == [("1", 1), ("2", 0), ("3", 0)]


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        # Prometheus 2.42, and 3.
        (
            f"{OPEN_METRICS};version=1.0.0,{OPEN_METRICS};version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            True,
        ),
        (
            f"{OPEN_METRICS}; version=1.0.0; escaping=allow-utf-8; q=0.6, text/plain;version=1.0.0;q=0.4, */*;q=0.2",
            True,
        ),
        ("text/plain;version=0.0.4;q=0.3,*/*;q=0.2", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("*/*", False),
        ("", False),
        (f"{OPEN_METRICS};q=0, text/plain", False),
        (f"{OPEN_METRICS};q=0.1, Text/Plain;q=0.9", False),
        (f"{OPEN_METRICS};q=much, */*", False),
        (f"{OPEN_METRICS};Q=0.5,text/plain;q=0.5", True),
    ],
)
def test_openmetrics_is_for_those_who_like_it_as_much(accept: str, wanted: bool) -> None:
    assert prefers(accept, OPEN_METRICS, "text/plain") is wanted
