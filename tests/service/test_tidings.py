"""Failures in the parent's log: one worker that serves tells each, once."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.logger import Logger, globalLogPublisher

from mailserver.service.tidings import KEPT, Tidings

log = Logger()


class Worker(SimpleNamespace):
    """A worker process, as far as it is told something."""

    __hash__ = object.__hash__

    def __init__(self, number: int, *, serving: bool = True) -> None:
        super().__init__(number=number, serving=serving, heard=[], counted=[])

    def send(self, order: Any) -> None:
        assert order["order"] == "tell"
        self.heard += [(row["group"].what, row["group"].why, row["times"]) for row in order["troubles"]]
        self.counted += [row["counted"] for row in order["troubles"]]


@pytest.fixture
def workers() -> set[Any]:
    return {Worker(2), Worker(1, serving=False), Worker(3)}


@pytest.fixture
def tidings(workers: set[Any]) -> Iterator[Tidings]:
    made = Tidings(workers)
    globalLogPublisher.addObserver(made)
    yield made
    globalLogPublisher.removeObserver(made)


def heard(workers: set[Any]) -> dict[int, list[Any]]:
    return {each.number: each.heard for each in workers if each.heard}


def test_one_worker_that_serves_tells_it(workers: set[Any], tidings: Tidings) -> None:
    log.error("worker 1 ended", event="worker.ended", reason="signal 9")
    log.warn("no restart: {reason}", event="restart.refused", reason="busy", others=2)
    log.info("a worker serves", event="worker.serving")
    assert heard(workers) == {2: [("process died", "signal 9", 1), ("no restart", "busy", 3)]}


def test_what_a_worker_has_told_itself_is_not_told_again(workers: set[Any], tidings: Tidings) -> None:
    log.error("{log_text}", log_text="a worker's line", event="store", worker=2)
    assert heard(workers) == {}


def test_another_one_tells_what_one_has_told_that_died(workers: set[Any], tidings: Tidings) -> None:
    log.warn("first", event="restart.refused", reason="busy")
    gone = next(each for each in workers if each.number == 2)
    workers.remove(gone)
    log.error("worker 2 ended", event="worker.ended", reason="signal 9")
    workers.add(Worker(2))
    tidings.pass_on()
    told = [("no restart", "busy", 1), ("process died", "signal 9", 1)]
    assert heard(workers) == {3: told}
    (teller,) = (each for each in workers if each.heard)
    assert gone.counted == [("warn", "restart.refused")]
    assert teller.counted == [None, ("error", "worker.ended")], "each once"


def test_it_is_kept_while_nobody_serves_and_not_for_ever(workers: set[Any], tidings: Tidings) -> None:
    for each in workers:
        each.serving = False
    for number in range(KEPT + 1):
        log.error("worker 1 ended", event="worker.ended", reason=f"signal {number}")
    assert heard(workers) == {}
    first = min(workers, key=lambda each: each.number)
    first.serving = True
    tidings.pass_on()
    assert [why for _, why, _ in first.heard] == [f"signal {number}" for number in range(1, KEPT + 1)]
