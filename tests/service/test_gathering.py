"""Asking all processes from within one: what each says comes together, and who says nothing is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

from mailserver.control.port import Asking, ControlFactory, Question
from mailserver.service.gathering import Gathered, Gathering


def answer(asking: Asking) -> None:
    asking.say({"who": "me"})


def gathered(gathering: Gathering, advanced: MemoryReactorClock) -> Gathered:
    said: list[Any] = []
    Deferred.fromCoroutine(gathering.ask("all")).addCallback(said.append)
    advanced.advance(10)
    return said[0]  # type: ignore[no-any-return]


def test_one_process_asks_itself_and_one_that_does_not_serve_yet_nobody(tmp_path: Path) -> None:
    reactor, gathering = MemoryReactorClock(), Gathering()
    assert gathered(gathering, reactor) == ([], [])
    gathering.begin(ControlFactory({"all": Question(answer, everywhere=True)}, str(tmp_path / "c"), reactor), 0, 0)
    assert gathered(gathering, reactor) == ([{"who": "me"}], [])
    assert not gathering.alone


def test_a_worker_that_does_not_answer_is_named(tmp_path: Path) -> None:
    reactor, gathering = MemoryReactorClock(), Gathering()
    others = {2: str(tmp_path / "c.2")}
    port = ControlFactory({"all": Question(answer, everywhere=True)}, str(tmp_path / "c"), reactor, others)
    gathering.begin(port, 1, 2)
    assert gathered(gathering, reactor) == ([{"who": "me"}], [2])
    assert (gathering.number, gathering.alone) == (1, False)


def test_a_worker_without_a_way_to_the_others_knows_that_it_is_alone(tmp_path: Path) -> None:
    gathering = Gathering()
    gathering.begin(ControlFactory({}, str(tmp_path / "c"), MemoryReactorClock()), 3, 0)
    assert gathering.alone
