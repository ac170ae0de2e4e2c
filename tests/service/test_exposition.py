"""The page of the metrics: what several processes say comes together, also where one of them has not said all."""

from __future__ import annotations

from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from mailserver.service.exposition import Metrics
from mailserver.service.gathering import Gathered


def test_a_worker_that_ends_amid_its_answer_is_not_up() -> None:
    rows = [{"worker": worker, "metric": "workers", "samples": [[[], 3]]} for worker in (1, 2)]
    text = generate_latest(Metrics(Gathered(rows, [2, 3]))).decode()  # type: ignore[no-untyped-call]
    families = {family.name: family for family in text_string_to_metric_families(text)}
    up = families["mailserver_worker_up"].samples
    assert [(each.labels["worker"], each.value) for each in up] == [("1", 1), ("2", 0), ("3", 0)]
