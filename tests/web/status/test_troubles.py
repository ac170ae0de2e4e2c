"""What failed: which events count, in which words, and how much is kept of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogLevel

from mailserver.reasons import of_event
from mailserver.web.status.troubles import HEADINGS, HOUR, Troubles, group_of
from tests.test_events import on_the_page

REFUSING = {name for name in on_the_page() if of_event({"event": name, "why": "unknown-user"})}
NOW = 1_700_000_000.0


def event(name: str, *, time: float = NOW, level: Any = LogLevel.info, **fields: Any) -> dict[str, Any]:
    return {"event": name, "log_time": time, "log_level": level, "log_format": "text of {event}", **fields}


def failed(who: str = "alice", peer: str = "192.0.2.7", **fields: Any) -> dict[str, Any]:
    told = {"reason": "wrong password", "hint": "try another", "why": "wrong-password", **fields}
    return event("pop3.login_failed", who=who, peer=peer, **told)


def test_a_refused_login_is_told_in_the_words_of_the_log() -> None:
    group = group_of(failed(reason="not from this address (192.0.2.0/24)", why="address", hint=""))
    assert group is not None
    assert (group.what, group.who, group.peer) == ("login refused", "alice", "192.0.2.7")
    assert group.why == "not from this address (192.0.2.0/24)"
    assert "allow_nets" in group.help, "where the event has no hint, the reason's own remedy"


@pytest.mark.parametrize("name", ["pop3.login_held", "pop3.needs_tls", "pop3.wrong_protocol", "fault"])
def test_an_event_without_words_has_those_of_its_reason(name: str) -> None:
    group = group_of(event(name, who="", peer="192.0.2.7", log_level=LogLevel.critical))
    assert group is not None
    assert group.why
    assert group.help


@pytest.mark.parametrize("name", sorted(REFUSING))
def test_whatever_refuses_a_login_is_told_with_what_helps(name: str) -> None:
    group = group_of(event(name, who="alice", peer="192.0.2.7", why="unknown-user"))
    assert group is not None
    assert group.why
    assert group.help


def test_a_warning_that_has_no_words_here_is_told_as_the_log_tells_it() -> None:
    group = group_of(event("auth.sql.down", level=LogLevel.error, place="p", reason="", remedy="start it"))
    assert group == ("error", "", "", "text of auth.sql.down", "start it")
    assert group_of(event("auth.sql.up")) is None
    assert group_of(event("x", level=LogLevel.critical) | {"event": ["odd"]}) is not None
    assert group_of({"log_time": NOW, "log_level": LogLevel.info, "log_format": "Twisted's own"}) is None


@pytest.mark.parametrize(("field", "word"), [("marked", "NOT deleted"), ("uidl_all", "had before")])
def test_a_session_after_which_mail_comes_again_is_told(field: str, word: str) -> None:
    session = {"who": "alice", "peer": "192.0.2.7", "ended": "connection lost", "marked": 0, "uidl_all": False}
    assert group_of(event("pop3.session", **session)) is None
    group = group_of(event("pop3.session", **{**session, field: 2}))
    assert group is not None
    assert word in group.why


def test_equal_failures_are_counted_together_and_the_latest_comes_first() -> None:
    troubles = Troubles()
    for number in range(5):
        troubles.note(failed(time=NOW + number))
    troubles.note(failed("bob", time=NOW + 9))
    troubles.note(event("pop3.turned_away", peer="192.0.2.9", reason="r", others=7, time=NOW + 8))
    rows = troubles.rows(NOW + 10, 10)
    assert [(row["who"], row["times"], row["last"]) for row in rows] == [
        ("", 8, NOW + 8),
        ("bob", 1, NOW + 9),
        ("alice", 5, NOW + 4),
    ]
    assert troubles.total(NOW + 10) == 14
    assert len(troubles.rows(NOW + 10, 2)) == 2


def test_what_is_older_than_an_hour_is_forgotten_and_what_goes_on_counts_its_last_hour_alone() -> None:
    troubles = Troubles()
    troubles.note(failed("bob"))
    for minute in range(HOUR + 30):
        troubles.note(failed(time=NOW + 60 * minute))
    assert [(row["who"], row["times"]) for row in troubles.rows(NOW + 60 * (HOUR + 29), 10)] == [("alice", HOUR)]


@given(st.lists(st.integers(0, 30), max_size=60))
def test_the_memory_is_bounded_and_what_had_no_room_is_counted(names: list[int]) -> None:
    troubles = Troubles(kept=5)
    for name in names:
        troubles.note(failed(str(name)))
    assert len(troubles.rows(NOW, 1000)) <= 5
    assert troubles.total(NOW) == len(names)


def test_what_another_process_tells_late_counts_when_it_was_and_not_after_an_hour() -> None:
    troubles = Troubles()
    group = group_of(failed())
    assert group is not None
    troubles.note(failed(time=NOW - 60))
    troubles.add(group, NOW - 1800, 2, NOW)
    troubles.add(group._replace(who="bob"), NOW - 3601, 5, NOW)
    troubles.add(group._replace(who="carl"), NOW - 3000, 1, NOW)
    told = [(row["who"], row["times"], row["last"]) for row in troubles.rows(NOW, 9)]
    assert told == [("carl", 1, NOW - 3000), ("alice", 3, NOW - 60)]
    assert [row["who"] for row in troubles.rows(NOW + 900, 9)] == ["alice"], "though the other came in after it"
    assert troubles.rows(NOW + 1910, 9)[0]["times"] == 1, "what was told late is as old as it is"
    troubles.note(failed(time=NOW + 1910))
    troubles.add(group, NOW + 1910 - 3601, 5, NOW + 1910)
    assert troubles.rows(NOW + 1910, 9)[0]["times"] == 2, "nor does it stand in the place of a later minute"


def test_a_long_text_is_cut() -> None:
    group = group_of(failed("a" * 10_000, reason="b" * 10_000))
    assert group is not None
    assert sum(map(len, group)) < 1000


def test_every_event_that_is_named_here_exists() -> None:
    assert HEADINGS.keys() <= on_the_page().keys()
