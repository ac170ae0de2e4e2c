"""How far many moves are."""

import io

from rich.console import Console
from twisted.internet.task import Clock

from mailserver.migration.bars import Bars
from mailserver.migration.progress import EVERY_SECONDS, Lines, Sums, Tally, amount, duration


def test_amounts_and_times_are_for_people():
    assert [amount(each) for each in (0, 999, 1000, 1_234_567, 2e9, 5e12)] == [
        *("0 octets", "999 octets", "1.0 kB", "1.2 MB", "2.0 GB", "5,000.0 GB")
    ]
    assert [duration(each) for each in (0, 59.6, 3723)] == ["0:00:00", "0:01:00", "1:02:03"]


def test_what_is_left_of_a_move_is_what_has_no_fate_yet():
    assert Tally(listed=10, there=2, moved=3, unread=1).left == 4


def test_sums_go_over_users_who_are_done_and_those_who_are_not():
    clock = Clock()
    sums = Sums(4, clock.seconds)
    assert (sums.fraction, sums.left) == (0.0, None)
    first, second = Tally(), Tally()
    sums.begin("alice", first)
    sums.begin("bob", second)
    first.listed, first.moved, first.octets = 100, 100, 1_000_000
    second.listed, second.there = 10, 5
    sums.end("alice")
    clock.advance(30)
    assert sums.total == Tally(110, 5, 100, 1_000_000)
    assert sums.fraction == 0.375
    assert sums.left == 50
    assert sums.sentence == "1 of 4 users, 100 messages moved, 3 messages/s, 33.3 kB/s, 0:00:50 left"
    sums.end("bob")
    assert sums.total == Tally(110, 5, 100, 1_000_000)


def test_no_users_are_done_at_once():
    assert Sums(0, Clock().seconds).fraction == 1.0


def test_lines_come_now_and_then():
    clock, said, warned = Clock(), [], []
    sums = Sums(2, clock.seconds)
    lines = Lines(sums, clock.seconds, said.append, warned.append)
    tally = Tally(listed=4)
    lines.begin("alice", tally)
    for _ in range(3):
        tally.moved += 1
        lines.changed("alice")
        clock.advance(EVERY_SECONDS / 2)
    lines.end("alice")
    lines.say("alice: done")
    lines.close()
    assert said == ["alice: done"]
    assert [line.partition(",")[0] for line in warned] == ["0 of 2 users"]


def bars(said):
    clock, terminal = Clock(), io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=160)
    return clock, terminal, Bars(Sums(2, clock.seconds), clock.seconds, said, console)


def test_bars_show_all_users_and_those_whose_turn_it_is_and_lines_above_them():
    said = []
    clock, terminal, shown = bars(said.append)
    tally = Tally()
    shown.begin("alice [bold]", tally)
    tally.listed, tally.moved = 1000, 250
    clock.advance(10)
    shown.changed("alice [bold]")
    shown.warn("a [red]line")
    shown.say("alice is done")
    shown.close()
    shown.close()
    text = terminal.getvalue()
    assert "alice [bold]" in text
    assert "250 of 1,000" in text
    assert "0 of 2 users, 250 messages moved, 25 messages/s, 0 octets/s, 0:01:10 left" in text
    assert "a [red]line" in text
    assert said == ["alice is done"]


def test_what_is_too_quick_to_be_seen_costs_nothing():
    clock, terminal, shown = bars(None)
    tally = Tally(listed=1000)
    shown.begin("alice", tally)
    clock.advance(1)
    shown.changed("alice")
    tally.moved = 7
    shown.changed("alice")
    shown.say("in between")
    assert "7 of 1,000" not in terminal.getvalue()
    tally.moved = 1000
    shown.end("alice")
    shown.close()
    assert "1 of 2 users, 1,000 messages" in terminal.getvalue()
    assert "in between" in terminal.getvalue()


def test_a_user_s_bar_goes_with_the_user_s_turn():
    _, terminal, shown = bars(None)
    for user in ("alice", "bob"):
        shown.begin(user, Tally())
    shown.end("alice")
    before = len(terminal.getvalue())
    shown.close()
    assert "alice" not in terminal.getvalue()[before:]
    assert "bob" in terminal.getvalue()[before:]
