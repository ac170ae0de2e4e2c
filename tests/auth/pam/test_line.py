"""A line keeps questions and answers together, whatever comes late."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mailserver.auth.pam.line import GRACE_SECONDS, LOST, SLOW, LineEnded, Lines, NoAnswer

QUESTION = {"ask": "login", "name": "alice"}


@pytest.fixture
def line() -> Iterator[tuple[Lines, socket.socket]]:
    lines, (other,) = Lines.pairs(1)
    with other:
        yield lines, other
    lines.end()


def say(other: socket.socket, **answer: Any) -> None:
    other.send(json.dumps(answer).encode())


def heard(other: socket.socket) -> dict[str, Any]:
    question: dict[str, Any] = json.loads(other.recv(8192))
    return question


def soon() -> float:
    """The end of a question's time, behind which nobody waits for long."""
    return time.monotonic() - GRACE_SECONDS + 0.01


def later() -> float:
    return time.monotonic() + 60


def test_an_answer_to_an_earlier_question_is_not_taken_for_one_to_this(line: tuple[Lines, socket.socket]) -> None:
    lines, other = line
    with pytest.raises(NoAnswer, match=SLOW[:20]):
        lines.ask(QUESTION, soon())
    first = heard(other)["number"]

    def answer() -> None:
        second = heard(other)["number"]
        say(other, number=first, verdict="taken")
        say(other, number=second, verdict="refused")

    thread = threading.Thread(target=answer)
    thread.start()
    assert lines.ask(QUESTION, later())["verdict"] == "refused"
    thread.join()


def test_nor_is_a_loss_before_it(line: tuple[Lines, socket.socket]) -> None:
    lines, other = line
    say(other, verdict="lost")
    thread = threading.Thread(target=lambda: say(other, number=heard(other)["number"], verdict="taken"))
    thread.start()
    assert lines.ask(QUESTION, later())["verdict"] == "taken"
    thread.join()


def test_a_loss_ends_the_question(line: tuple[Lines, socket.socket]) -> None:
    lines, other = line

    def lose() -> None:
        heard(other)
        say(other, verdict="lost")

    thread = threading.Thread(target=lose)
    thread.start()
    with pytest.raises(NoAnswer, match=LOST[:20]):
        lines.ask(QUESTION, later())
    thread.join()


def test_a_full_line_is_a_slow_one(line: tuple[Lines, socket.socket]) -> None:
    lines, other = line
    lines.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for _ in range(5):
        with pytest.raises(NoAnswer):
            lines.ask({"ask": "x" * 4000}, soon())


def test_the_end_of_the_other_side_and_of_ours(line: tuple[Lines, socket.socket]) -> None:
    lines, other = line
    other.close()
    with pytest.raises(LineEnded):
        lines.ask(QUESTION, later())
    for _ in range(2):
        lines.end()
        with pytest.raises(LineEnded):
            lines.ask(QUESTION, later())
    assert [each.fileno() for each in lines.sockets] == [-1]


def test_an_end_under_a_thread_that_waits() -> None:
    lines, (other,) = Lines.pairs(1)
    outcome: list[BaseException] = []

    def wait() -> None:
        try:
            lines.ask(QUESTION, later())
        except LineEnded as error:
            outcome.append(error)

    with other:
        thread = threading.Thread(target=wait)
        thread.start()
        heard(other)
        lines.end()
        thread.join()
    assert len(outcome) == 1
    assert [each.fileno() for each in lines.sockets] == [-1]
