"""The page /metrics: the rows of all processes, in Prometheus' text format or OpenMetrics'."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final, cast

from prometheus_client import exposition as plain
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics

import twisted
from mailserver import __version__
from mailserver.service.families import FAMILIES, OF_SERVER, WORKER, Family
from mailserver.service.gathering import Gathered, Gathering
from mailserver.web.pages import Answer, Asked

OPEN_METRICS: Final = "application/openmetrics-text"
_KINDS: Final = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}


class Exposition:
    """The page, over all processes that `gathering` reaches."""

    def __init__(self, gathering: Gathering) -> None:
        self._gathering = gathering

    async def page(self, asked: Asked) -> Answer:
        """All metrics."""
        metrics = Metrics(await self._gathering.ask("metrics"))
        if prefers(asked.accept, OPEN_METRICS, "text/plain"):
            return Answer(
                body=openmetrics.generate_latest(metrics),  # type: ignore[no-untyped-call]
                type=openmetrics.CONTENT_TYPE_LATEST,
            )
        return Answer(body=plain.generate_latest(cast(Any, metrics)), type=plain.CONTENT_TYPE_LATEST)


def prefers(accept: str, one: str, other: str) -> bool:
    """Whether a header Accept names one type, and does not want the other more (RFC 9110 section 12.4.2)."""
    wanted: dict[str, float] = {}
    for part in accept.split(","):
        kind, *more = part.replace(" ", "").lower().split(";")
        weights = [each[2:] for each in more if each.startswith("q=")]
        try:
            weight = float(weights[0]) if weights else 1.0
        except ValueError:
            continue
        wanted[kind] = max(weight, wanted.get(kind, 0.0))
    return wanted.get(one, 0.0) > 0 and wanted[one] >= wanted.get(other, 0.0)


class Metrics:
    """What was gathered, as prometheus-client collects it."""

    def __init__(self, gathered: Gathered) -> None:
        self._gathered = gathered

    def collect(self) -> Iterator[Metric]:
        """Each metric once, with the samples of all workers."""
        found = {short: _made(short, family, (WORKER, *family.labels)) for short, family in FAMILIES.items()}
        for row in self._gathered.rows:
            family = FAMILIES.get(row["metric"])
            if family is not None:  # else that worker is of a newer version
                _add(found[row["metric"]], family, str(row["worker"]), row["samples"])
        yield from (metric for metric in found.values() if metric.samples)
        yield from self._of_server()

    def _of_server(self) -> Iterator[Metric]:
        up = _made("worker_up", OF_SERVER["worker_up"], (WORKER,))
        answered = {str(row["worker"]): 1 for row in self._gathered.rows}
        answered.update((str(worker), 0) for worker in self._gathered.silent)  # also of one that ended amid its answer
        for worker, whole in answered.items():
            up.add_metric([worker], whole)
        yield up
        info = _made("build_info", OF_SERVER["build_info"], OF_SERVER["build_info"].labels)
        info.add_metric([__version__, platform.python_version(), twisted.__version__], 1)
        yield info


def _made(short: str, family: Family, labels: Sequence[str]) -> Any:
    return _KINDS[family.kind](family.name(short), family.help, labels=labels)


def _add(metric: Any, family: Family, worker: str, samples: Iterable[tuple[Sequence[str], Any]]) -> None:
    for labels, value in samples:
        values = [worker, *labels]
        if family.kind != "histogram":
            metric.add_metric(values, value)
            continue
        *numbers, total = value
        bounds = [*map(str, family.bounds), "+Inf"]
        metric.add_metric(values, list(zip(bounds, accumulate(numbers), strict=True)), total)
