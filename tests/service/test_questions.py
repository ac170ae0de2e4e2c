"""What operators are told: which sessions are counted, and by which names they are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from twisted.internet.task import Clock

from mailserver.control.port import Asking
from mailserver.service.questions import questions
from mailserver.service.questions.facts import Facts


class Session:
    """Of bob's maildrop, which a master user has opened."""

    def __init__(self, number: int) -> None:
        self.kicked = False
        self._facts = {"session": f"abc-{number}", "who": "bob (boss)", "user": "bob", "principal": "boss"}

    def facts(self) -> dict[str, Any]:
        return self._facts

    standing = facts

    def kick(self) -> None:
        self.kicked = True


SESSIONS = [Session(1), Session(2), Session(3)]


def asked(question: str, **arguments: str) -> list[dict[str, Any]]:
    said: list[Any] = []
    ports = [
        SimpleNamespace(listener="pop3", connections=SESSIONS[:2]),
        SimpleNamespace(listener="pop3s", connections=[]),
    ]
    ports.append(SimpleNamespace(listener="pop3", connections=SESSIONS[2:]))
    facts = Facts(SimpleNamespace(made=ports), cast(Any, None), Clock(), 0)  # type: ignore[arg-type]  # of listeners, what is counted
    questions(facts)[question].answer(Asking(arguments, said.append))
    return [each["row"] for each in said]


def test_the_sessions_of_all_ports_of_a_kind_are_counted_together() -> None:
    (row,) = asked("status")
    assert row["sessions"] == {"pop3": 3, "pop3s": 0}


@pytest.mark.parametrize("question", ["who", "kick"])
def test_a_session_of_a_master_user_is_known_by_both_names_as_it_is_shown_and_by_its_own(question: str) -> None:
    for name in ("bob", "boss", "bob (boss)"):
        assert len(asked(question, name=name)) == 3
    assert [row["session"] for row in asked(question, name="abc-2")] == ["abc-2"]
    assert asked(question, name="alice") == []
    assert all(each.kicked for each in SESSIONS) is (question == "kick")
