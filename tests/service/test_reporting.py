"""Events as finished text and plain fields."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogLevel, formatEvent
from twisted.python.failure import Failure

from mailserver.service.reporting import (
    LONGEST_FIELD,
    LONGEST_LINE,
    LONGEST_TEXT,
    MOST_FIELDS,
    crossed,
    crossing,
    line_of,
    plain,
)


def emitted(*arguments, **fields):
    events = []
    Logger(namespace="test", observer=events.append).emit(*arguments, **fields)
    return events[0]


def test_an_event_crosses_with_its_text_its_level_and_its_fields():
    event = emitted(
        LogLevel.warn, "{user} has {count!r}", user="alice", count=3, event="x", good=True, none=None, part=0.5
    )
    arrived = crossed(crossing(event).encode(), 2)
    assert formatEvent(arrived) == "alice has 3"
    assert (arrived["log_level"], arrived["log_namespace"]) == (LogLevel.warn, "test")
    assert arrived["log_time"] == event["log_time"]
    fields = {name: value for name, value in arrived.items() if not name.startswith("log_")}
    assert fields == {"user": "alice", "count": 3, "event": "x", "good": True, "none": None, "part": 0.5, "worker": 2}


def test_a_fault_crosses_with_its_traceback_of_which_the_end_is_kept():
    try:
        raise ValueError("x" * 2 * LONGEST_TEXT + "the end")
    except ValueError:
        event = emitted(LogLevel.critical, "a fault", log_failure=Failure())
    text = formatEvent(crossed(crossing(event).encode(), 1))
    assert text.startswith("a fault\nTraceback")
    assert "the end" in text[-50:]
    assert len(text) <= LONGEST_TEXT


def test_values_that_are_not_plain_are_spelled_out():
    event = emitted(LogLevel.info, "files", files=["a", "b"], huge=2**64, nan=float("nan"), raw=b"\xff")
    assert plain(event).items() >= {"files": "['a', 'b']", "huge": str(2**64), "nan": "nan", "raw": r"b'\xff'"}.items()


@given(st.dictionaries(st.text(min_size=1), st.one_of(st.text(), st.integers(), st.floats(), st.binary()), max_size=50))
def test_whatever_is_logged_crosses_in_one_line_of_bounded_length(values):
    event = {
        "log_format": "{log_text}",
        "log_text": "\0\n\ud800" * LONGEST_TEXT,
        **{f"a{name}": value for name, value in values.items()},
    }
    line = crossing(event).encode()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert len(line) <= LONGEST_LINE
    assert crossed(line, 1)["worker"] == 1


def test_an_event_with_too_much_in_its_fields_keeps_its_text_and_its_name():
    fields = {f"{'n' * 240}{number}": "\0" * 1000 for number in range(MOST_FIELDS)}
    event = emitted(LogLevel.info, "\0" * LONGEST_TEXT, event="x", **fields)
    arrived = crossed(crossing(event).encode(), 1)
    assert len(formatEvent(arrived)) == LONGEST_TEXT
    assert arrived["event"] == "x"


@pytest.mark.parametrize("line", [b"x", b"\xff", b"1", b"[]", b"{}", b'{"text": 1}', b"[" * 100_000, b"1" * 10_000])
def test_what_is_no_event_is_none(line):
    assert crossed(line, 1) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("time", 1e300), ("time", "now"), ("time", -1.0), ("level", ["info"]), ("level", "x"), ("namespace", 1)],
)
def test_a_worker_s_time_level_and_namespace_are_taken_only_if_they_fit(name, value):
    event = crossed(json.dumps({"text": "x", name: value}).encode(), 1)
    assert (event["log_time"], event["log_level"], event["log_namespace"]) == (0.0, LogLevel.info, "")
    assert json.loads(line_of(event))["time"] == "1970-01-01T00:00:00.000Z"


def test_a_worker_s_fields_are_bounded_in_number_and_length():
    said = {"text": "x", **{f"a{number}": "y" * 10_000 for number in range(1000)}}
    event = crossed(json.dumps(said).encode(), 1)
    fields = {name: value for name, value in event.items() if name.startswith("a")}
    assert len(fields) == MOST_FIELDS
    assert {len(value) <= LONGEST_FIELD for value in fields.values()} == {True}


def test_a_line_of_json_has_each_thing_once_and_its_level_as_a_word():
    event = emitted(LogLevel.error, "{user} failed", user="alice", event="pop3.x")
    line = line_of({**event, "log_time": 1.5, "isError": 1})
    assert line == (
        '{"time": "1970-01-01T00:00:01.500Z", "level": "error", "text": "alice failed", "namespace": "test",'
        ' "user": "alice", "event": "pop3.x"}\n'
    )
