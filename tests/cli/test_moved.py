"""What is told of messages that could not be moved as they are."""

from mailserver.cli.moved import TOLD, Troubles
from mailserver.migration.troubles import Trouble


def test_a_file_s_name_cannot_steer_the_terminal():
    told = []
    Troubles(None, told.append)(Trouble("alice", "unread", "it is gone", "/mail/\x1b[2J\udce4\nfile"))
    assert told == ["mailserver: alice: /mail/?[2J??file: it is gone"]


def test_the_first_ones_are_told_and_that_there_are_more():
    told = []
    hear = Troubles(None, told.append)
    for _ in range(TOLD + 5):
        hear(Trouble("alice", "note", "odd"))
    assert told[:TOLD] == ["mailserver: alice: odd"] * TOLD
    assert len(told) == TOLD + 1
    assert "--log" in told[-1]
