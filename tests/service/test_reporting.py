"""Events as finished text and plain fields."""

import enum
import json
import math
import re
from time import tzset

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.logger import Logger, LogLevel, formatEvent, formatEventAsClassicLogText
from twisted.python.failure import Failure

from mailserver.service import reporting
from mailserver.service.reporting import (
    LONGEST_FIELD,
    LONGEST_LINE,
    LONGEST_TEXT,
    MOST_FIELDS,
    crossed,
    crossing,
    line_of,
    text_of,
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


class Coloured(enum.IntEnum):
    RED = 1


class Shown:
    """Its text is another one for a format, for str and for repr."""

    secret = "an attribute"

    def __format__(self, spec):
        return f"formatted {spec}"

    def __str__(self):
        return "str"

    def __repr__(self):
        return "repr"


class Unshown:
    """Nobody can see it."""

    def __str__(self):
        raise ZeroDivisionError

    __repr__ = __format__ = lambda self, *_: str(self)


def test_values_that_are_not_plain_are_spelled_out():
    event = emitted(
        LogLevel.info, "files", files=["a", "b"], huge=2**64, nan=float("nan"), raw=b"\xff", red=Coloured.RED
    )
    said = {"files": "['a', 'b']", "huge": str(2**64), "nan": "nan", "raw": r"b'\xff'", "red": 1}
    assert json.loads(line_of(event)).items() >= said.items()


WIDEST = 10_000
"""A number can be the width in "{a:{b}}", and then Twisted's own formatter fills gigabytes."""

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(max_value=WIDEST),
    st.floats(max_value=WIDEST),
    st.sampled_from((math.nan, math.inf)),
    st.text(max_size=300),
    st.binary(max_size=9),
    st.just(Shown()),
)
FORMATS = (
    *("{a} {b!r} {c!s:>9} {a!a}", "{a.secret} {b[0]}", "{a()} {b}", "{a.secret()}", "{a:{b}}", "{missing}", "{0} {}"),
    *("{", "}{", "no field", "", "two\nlines", "{{a}}", b"{a}", None, 1),
)


def seen(text):
    """Without the addresses of objects, and without what only Twisted's formatter adds to the words of an error."""
    return re.sub(r" at 0x\w+", "", text or "")


@example("{a}", {"a": 1, "b": 2, "c": 3}, 1.9999995231628418)
@example("{a}", {"a": 1, "b": 2, "c": 3}, -1.5)
@given(st.sampled_from(FORMATS), st.fixed_dictionaries({"a": VALUES, "b": VALUES, "c": VALUES}), st.floats(0, 4e9))
def test_a_line_of_text_is_the_line_that_twisted_writes(form, values, time):
    event = {**emitted(LogLevel.warn, form, **values), "log_time": time}
    assert seen(text_of(event)) == seen(formatEventAsClassicLogText(event))


@pytest.mark.parametrize(
    "changes",
    [
        {"log_system": "HTTPChannel,0,192.0.2.1"},
        {"log_time": None},
        {"log_level": None},
        {"log_namespace": "-"},
        {"log_failure": Failure(ValueError("two\nlines"))},
        {"log_failure": Failure(ValueError("x")), "log_format": None},
        {"log_flattened": {"a!s:": "earlier"}},
        {"a": Unshown()},
        {"a": "braces {b} {a.secret()}"},
        {"a": lambda: "called", "log_format": "{a()}"},
    ],
)
def test_a_line_of_an_unusual_event_is_the_line_that_twisted_writes(changes):
    event = {**emitted(LogLevel.info, "{a} and\n{b}", a=1, b=2), **changes}
    assert seen(text_of(event)) == seen(formatEventAsClassicLogText(event))


def test_a_system_that_cannot_be_shown_loses_no_line():
    assert text_of({**emitted(LogLevel.info, "text"), "log_system": Unshown()}).endswith("] text\n")


def test_an_event_that_says_nothing_is_no_line():
    assert text_of({}) == ""
    assert text_of(emitted(LogLevel.info, None, event="x")) == ""


def test_the_time_of_a_line_changes_with_the_second_and_its_milliseconds_are_cut(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    tzset()
    told = [
        (text_of(event)[:24], json.loads(line_of(event))["time"])
        for time in (0.0, 0.9999, 1.0, 1764123584.677, 1764123584.9999995)
        for event in [{"log_format": "x", "log_time": time}]
    ]
    assert told == [
        ("1970-01-01T00:00:00+0000", "1970-01-01T00:00:00.000Z"),
        ("1970-01-01T00:00:00+0000", "1970-01-01T00:00:00.999Z"),
        ("1970-01-01T00:00:01+0000", "1970-01-01T00:00:01.000Z"),
        ("2025-11-26T02:19:44+0000", "2025-11-26T02:19:44.677Z"),
        ("2025-11-26T02:19:45+0000", "2025-11-26T02:19:45.000Z"),
    ]


def test_the_ordinary_event_is_formatted_without_twisted_s_formatter(monkeypatch):
    """It takes 47 us, a fifth of a session."""
    event = emitted(LogLevel.info, "{user!r} from {peer}: {count}", user="{0}", peer="192.0.2.1", count=2)
    monkeypatch.setattr(reporting, "eventAsText", None)
    assert text_of(event).endswith("[test#info] '{0}' from 192.0.2.1: 2\n")
    assert json.loads(line_of(event))["text"] == "'{0}' from 192.0.2.1: 2"


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
