"""A worker's finished lines, which the parent writes as they are and does not believe."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from mailserver.service.passing import BREAK, FORMS, PASSED, passed_json, passed_text, text_to_pass
from mailserver.service.reporting import LONGEST_LINE, LONGEST_TEXT, line_of, text_of

STAMP = b"2026-11-26T02:19:44+0000 "
REPORT = {"time": "2026-11-26T02:19:44.677Z", "level": "info", "text": "x", "namespace": "n"}

HIDDEN = "\x7f\x85\x9b\xa0\u2028\u2029\u202e\u2066\u200b\ufeff\U000e0001"
"""DEL, C1, line ends, marks of direction, and others that nobody sees."""


def emitted(*arguments, **fields):
    events = []
    Logger(namespace="test", observer=events.append).emit(*arguments, **fields)
    return events[0]


def fault():
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        return emitted(LogLevel.critical, "a fault", log_failure=Failure())


ORDINARY = [
    emitted(LogLevel.info, "session of {user!r}", user="al{ice}", count=3, event="x", good=True, none=None, part=0.5),
    emitted(LogLevel.warn, "Grüße, {name}", name="😀"),
    fault(),
    emitted(LogLevel.info, "two\nlines"),
]


@pytest.mark.parametrize("event", ORDINARY)
def test_a_line_that_was_passed_is_the_line_of_the_form(event):
    text = passed_text(text_to_pass(event).encode()[:-1], 2)
    assert text == text_of(event)
    made = passed_json(line_of(event).encode()[:-1], 2)
    assert json.loads(made) == {**json.loads(line_of(event)), "worker": 2}
    assert made.endswith(', "worker": 2}\n')


def test_a_traceback_is_one_line_between_the_processes_and_many_in_the_log():
    line = text_to_pass(fault())
    assert line.count("\n") == 1
    assert passed_text(line.encode()[:-1], 1).count("\n\t") == text_of(fault()).count("\n\t") > 2


def test_what_controls_a_terminal_is_spelled_out_by_the_worker():
    event = emitted(LogLevel.info, "bell \a, escape \x1b[2J, tab \t, {user}\r", user=f"\x85{BREAK}\u2028")
    line = passed_text(text_to_pass(event).encode()[:-1], 1)
    assert line.endswith("bell \\x07, escape \\x1b[2J, tab \\t, \\x85\\x1e\\u2028\\r\n")


def test_a_long_text_keeps_both_ends():
    line = text_to_pass(emitted(LogLevel.info, "x" * 2 * LONGEST_TEXT + "the end"))
    assert len(line) <= LONGEST_TEXT + 1
    assert passed_text(line.encode()[:-1], 1).endswith("the end\n")


def test_an_event_that_says_nothing_is_no_line():
    assert text_to_pass(emitted(LogLevel.info, None, event="x")) == ""


def test_what_controls_a_terminal_or_hides_in_it_is_escaped_in_json():
    for text in (HIDDEN, "\x7f", "x\x7f\u202eé", '\\\x7f\\\\\u202e"'):
        line = line_of(emitted(LogLevel.info, "{text}", text=text, event="x"))
        assert line[:-1].isprintable()
        assert json.loads(line)["text"] == text.replace("\U000e0001", "\ufffd")
        assert passed_json(line.encode()[:-1], 1)
    longest = line_of(emitted(LogLevel.info, "\U000e0001" * LONGEST_TEXT, event="x"))
    assert passed_json(longest.encode()[:-1], 1)
    assert len(longest) <= LONGEST_LINE


@given(st.text(max_size=300), st.sampled_from(["text", "json"]))
def test_whatever_is_logged_passes_in_one_line(text, form):
    event = emitted(LogLevel.info, "{text}!", text=text, event="x")
    line = FORMS[form](event).encode("utf-8", "backslashreplace")
    assert line.count(b"\n") == 1
    assert len(line) <= LONGEST_LINE
    assert line[:-1].decode().replace(BREAK, "").isprintable()
    assert PASSED[form](line[:-1], 1)


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"x", b"\xff", b"[7] 1.5: trace", STAMP, STAMP + b"no system", STAMP + b"[" + b"x" * 300 + b"] x"),
        *(STAMP + b"[x] \x1b[2J", STAMP + b"[x] \r", STAMP + b"[x] \0", STAMP + b"[x] \xc2\x9b2J", STAMP + b"[x] \xff"),
        *(BREAK.encode() + STAMP + b"[x] forged", STAMP + b"[x\x1e" + STAMP + b"[y] \x07"),
    ],
)
def test_what_is_no_line_of_text_is_refused(line):
    assert passed_text(line, 1) == ""


def test_a_worker_forges_no_second_line():
    forged = STAMP + b"[x] one\x1e" + STAMP + b"[mailserver.service.mail#info] two"
    assert passed_text(forged, 1).split("\n")[1].startswith("\t")


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {"worker": 2},
            {"time": 1.5},
            {"time": REPORT["time"] + "x"},
            {"level": "x"},
            {"level": ["info"]},
            {"text": None},
        ),
        *({"namespace": 1}, {"a": []}, {"a": {}}, {"a": float("nan")}, {"a": 2**64}, {"a": "\ud800"}, {"\udfff": 1}),
    ],
)
def test_what_line_of_does_not_make_is_refused(changes):
    assert passed_json(json.dumps(REPORT).encode(), 1)
    assert passed_json(json.dumps({**REPORT, **changes}).encode(), 1) == ""


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"x", b"\xff", b"1", b"[]", b"{}", b'"}"', b"[" * 100_000, b"1" * 10_000),
        *(json.dumps(REPORT).encode() + b" ", b"{" + json.dumps(REPORT).encode() + b"}"),
        json.dumps(REPORT).replace('"n"', '"\r"').encode(),
        *(json.dumps(REPORT)[:-1].encode() + rest for rest in (b', "work\\u0065r": 2}', b', "a": NaN, "a": 1}')),
        *(json.dumps(REPORT).replace(", ", f",{blank}").encode() for blank in "\r\t"),
        *(json.dumps({**REPORT, "a": f"é{hidden}"}, ensure_ascii=False).encode() for hidden in HIDDEN),
        json.dumps({**REPORT, "a": "\x7f"}, ensure_ascii=False).encode(),
    ],
)
def test_what_is_no_object_of_a_line_is_refused(line):
    assert passed_json(line, 1) == ""


@given(st.binary(max_size=200), st.integers(0, 60))
def test_no_octets_make_more_than_one_line_or_control_a_terminal(octets, kept):
    octets = octets.replace(b"\n", b"")
    text = passed_text(STAMP + b"[x] " + octets, 1)
    first, *more = text.split("\n\t")
    assert all(part.removesuffix("\n").isprintable() for part in (first, *more))
    line = line_of(ORDINARY[0]).encode()
    told = passed_json(line[:kept] + octets + line[kept:-1], 1)
    pairs = [] if not told else json.loads(told, object_pairs_hook=list)
    assert not told or ([value for name, value in pairs if name == "worker"] == [1] and told.count("\n") == 1)
    assert told.removesuffix("\n").isprintable()


def test_a_line_that_is_passed_makes_no_event():
    """What an event costs: a dict, a publisher, a filter, a format. Here the parent makes one call."""
    calls = []
    line = text_to_pass(ORDINARY[0]).encode()[:-1]
    sys.setprofile(lambda frame, what, _: calls.append(frame.f_code.co_name) if what == "call" else None)
    try:
        passed_text(line, 1)
    finally:
        sys.setprofile(None)
    assert calls == ["passed_text"]
