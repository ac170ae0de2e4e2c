"""What a process remembers for the status page: what it counts of its own log, and for how long it listens."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger

from mailserver.control.lines import LONGEST, line
from mailserver.control.port import Asking
from mailserver.counts import Counts
from mailserver.service.process import age, memory
from mailserver.service.questions import questions
from mailserver.service.questions.facts import Facts
from mailserver.service.questions.overview import parent
from mailserver.service.record import SAMPLE_SECONDS, Record, Watch
from mailserver.web.status.overview import SHOWN
from tests.service.test_questions import Session
from tests.web.status.pages import NOW

log = Logger()

FAILED = {
    "who": "bob",
    "peer": "192.0.2.9",
    "reason": "wrong password",
    "hint": "",
    "why": "wrong-password",
    "waited": 2.5,
}


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def record() -> Record:
    return Record(lambda: NOW)


def last(record: Record) -> dict[str, float | None]:
    return {name: values[-1] for name, values in record.steps()["series"].items()}


def test_it_takes_over_what_was_counted_since_the_last_look(record: Record, counts: Counts) -> None:
    counts.of("pop3").logins.update({("PLAIN", "granted"): 1000})
    record.sample(counts)
    assert last(record)["logins"] == 0, "before anybody looked"
    for mechanism, result, number in ((b"PLAIN", "granted", 2), (b"USER", "refused", 3), (b"USER", "in_use", 1)):
        for _ in range(number):
            counts.of("pop3").answered(mechanism, result, 0.1)
    counts.of("pop3s").logins.update({("USER", "granted"): 5})
    counts.of("pop3s").session("QUIT", 1.0, retrieved=9)
    for seconds in (1.0, 2.5, 2.0):
        counts.waits.add(seconds)
    record.sample(counts)
    seen = last(record)
    assert (seen.pop("memory") or 0) > 1_000_000
    assert seen == {"logins": 7, "refused": 4, "fetched": 9, "waited": 2.5}
    record.now = lambda: NOW + 300
    record.sample(counts)
    assert (last(record)["logins"], last(record)["waited"]) == (0, 0)


def test_it_hears_what_fails_and_no_more_when_nobody_wants_it(record: Record) -> None:
    record.watched(1)
    log.info("x", event="pop3.login_failed", **FAILED)
    record.watched(-1)
    log.info("x", event="pop3.login_failed", **FAILED)
    log_time = time.time()
    assert [(row["what"], row["times"]) for row in record.troubles.rows(log_time, 10)] == [("login refused", 1)]


def test_it_looks_once_a_minute_and_leaves_no_timer(record: Record, counts: Counts) -> None:
    clock, watch = Clock(), Watch(record, counts)
    watch.start(clock)
    assert last(record)["logins"] == 0
    record.now = lambda: NOW + 300
    clock.advance(SAMPLE_SECONDS)
    assert last(record)["logins"] == 0
    watch.stop()
    watch.stop()
    assert clock.getDelayedCalls() == []


def test_it_listens_until_the_last_who_wants_it_has_gone(record: Record, counts: Counts) -> None:
    """A reload makes a new watch beside the old one, which goes later."""
    old, new = Watch(record, counts), Watch(record, counts)
    old.start(Clock())
    new.start(Clock())
    old.stop()
    log.info("x", event="pop3.login_failed", **FAILED)
    new.stop()
    log.info("x", event="pop3.login_failed", **FAILED)
    assert record.troubles.total(time.time()) == 1


def said(record: Record | None, sessions: Any = (), **more: Any) -> list[dict[str, Any]]:
    answered: list[Any] = []
    ports = [SimpleNamespace(listener="pop3", connections=sessions)]
    facts = Facts(SimpleNamespace(made=ports), SimpleNamespace(counts=Counts()), None, 0, record=record, **more)  # type: ignore[arg-type]  # what is looked at
    questions(facts)["overview"].answer(Asking({}, answered.append))
    return [each["row"] for each in answered]


def test_without_a_page_nothing_is_told() -> None:
    assert said(None) == []


def test_a_process_tells_its_part_in_bounded_lines(record: Record) -> None:
    for number in range(3 * SHOWN):
        record({**FAILED, "event": "pop3.login_failed", "who": str(number), "log_time": NOW})
        record.history.count(int(NOW // 60) - number, "memory", 123_456_789_012)
    sessions = [Session(number) for number in range(3 * SHOWN)]
    for number, each in enumerate(sessions):
        each.facts().update(seconds=300.0 - number, peer="192.0.2.7")
    pair = SimpleNamespace(files=SimpleNamespace(certificate="/c.pem"), kind="RSA", names={b"b", b"a"}, expires=NOW)
    store = SimpleNamespace(loaded=SimpleNamespace(pairs=[pair]))
    rows = said(record, sessions, certificates=SimpleNamespace(store=store), ports=[("pop3", "tcp:110")])
    parts = [row["part"] for row in rows]
    assert {part: parts.count(part) for part in parts} == {
        "process": 1,
        "port": 1,
        "session": SHOWN,
        "trouble": SHOWN,
        "certificate": 1,
        "history": 1,
    }
    assert (rows[0]["failures"], rows[0]["sessions"]) == (3 * SHOWN, {"pop3": 3 * SHOWN})
    assert all(row["seconds"] <= SHOWN for row in rows if row["part"] == "session"), "the latest"
    assert next(row["names"] for row in rows if row["part"] == "certificate") == ["a", "b"]
    assert all(len(line({"row": row})) < LONGEST for row in rows)


def test_the_parent_is_told_by_its_children_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parent(0) is None
    found = parent(2)
    assert found is not None
    assert (found["parent"], found["memory"] > 0, found["seconds"] > 0) == (True, True, True)
    monkeypatch.setattr("os.getppid", lambda: 1 << 30)
    assert parent(2) is None, "it has ended, or is hidden"


def test_the_kernel_knows_the_memory_and_the_age_of_a_process() -> None:
    assert 1_000_000 < memory() < 10_000_000_000
    assert 0 < age() < age(1)
