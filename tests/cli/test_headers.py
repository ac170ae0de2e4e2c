"""What of a message's header operators see, and what its octets may do to a terminal."""

import json
import os
import pty
import subprocess
from types import SimpleNamespace

import pytest

from mailserver.cli.asking import as_json
from mailserver.cli.headers import field, redacted_sender, redacted_subject
from mailserver.cli.locks import _remedy
from mailserver.cli.maildrop_show import _number
from mailserver.snapshot import Snapshot
from mailserver.upkeep import Held
from tests.cli.running import COMMAND, environment
from tests.cli.test_quota import settings
from tests.servers import Site

HEAD = b"from: Jane\r\n\t<jane@example.org>\r\nSubject: =?nonsense?q?x?=\nX-From: no\nTo: =?utf-8?b?SsO8cmdlbg==?=\nComments: =?utf-7?q?half_+2AA-?="


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("From", "Jane <jane@example.org>"),
        ("Subject", "=?nonsense?q?x?="),
        ("To", "Jürgen"),
        ("Cc", ""),
        ("Comments", "half ?"),
    ],
)
def test_a_field_is_read_whole_and_decoded_if_it_can_be(name, value):
    assert field(HEAD, name) == value


@pytest.mark.parametrize(
    ("whole", "shown"),
    [
        ("Jane <jane@example.org>", "j…@example.org"),
        ("undisclosed", "…"),
        ("(" * 20_000 + "a@example.org", "…"),
        ("", ""),
    ],
)
def test_of_a_sender_the_domain_is_shown(whole, shown):
    assert redacted_sender(whole) == shown


@pytest.mark.parametrize(
    ("whole", "shown"),
    [("Your code 123 456 is A1b2", "Y… c… ### ### i… A#b#"), ("Re: Überweisung", "R…: Ü…"), ("", "")],
)
def test_of_a_subject_first_letters_are_shown_and_no_digit(whole, shown):
    assert redacted_subject(whole) == shown


def test_a_line_for_programs_steers_no_terminal_either():
    row = {"subject": "\x9b2J \N{RIGHT-TO-LEFT OVERRIDE}Ü \ud800 \U000e0001"}
    assert as_json(row).isprintable()
    assert "Ü" in as_json(row)
    assert json.loads(as_json(row)) == row


@pytest.mark.parametrize(
    ("wanted", "number"),
    [("2", 2), ("007", 1), ("0", 0), ("3", 3), ("4", 0), ("9" * 5000, 3), ("-1", 0), ("²", 0), ("007x", 0)],
)
def test_a_message_is_wanted_by_its_number_or_else_by_its_unique_id(wanted, number):
    messages = Snapshot([b"007", b"a", b"9" * 5000], [1, 1, 1], [1, 1, 1])
    assert _number(SimpleNamespace(messages=messages), wanted) == number


def test_a_message_steers_no_terminal():
    with Site() as site:
        site.account("alice", messages=[b"Subject: \x1b]0;title\x07\n\n\x1b[2J\tend\rover\n"])
        ours, theirs = pty.openpty()
        command = [*COMMAND, "maildrop", "show", "--whole", *settings(site), "alice", "1"]
        subprocess.run(command, env=environment(), stdout=theirs, check=True, timeout=120)
        os.close(theirs)
        shown = os.read(ours, 999).decode()
        os.close(ours)
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "\N{REPLACEMENT CHARACTER}[2J\tend\N{REPLACEMENT CHARACTER}over" in shown


@pytest.mark.parametrize(
    ("purpose", "state", "holder", "lost", "words"),
    [
        ("session", "S", "pop3 127.0.0.1 x-1", False, ""),
        ("quota", "S", "", False, ""),
        ("session", "S", "pop3 127.0.0.1 x-1", True, "the server has no such session"),
        ("session", "", "pop3 127.0.0.1 x-1", False, "has ended, but one that it started has it"),
        ("session", "T", "pop3 127.0.0.1 x-1", False, "kill -CONT 7"),
        ("session", "D", "pop3 127.0.0.1 x-1", False, "waits for a disk"),
        ("move", "S", "", False, "is no process of this server's"),
    ],
)
def test_for_a_lock_that_may_not_end_there_is_something_to_do(purpose, state, holder, lost, words):
    remedy = _remedy(Held(purpose, "/x/mailserver-lock", 7, "python", state, 0.0, holder), lost=lost)
    assert bool(remedy) == bool(words)
    assert words in remedy


def test_a_command_that_is_to_be_pasted_has_its_path_as_one_word():
    assert "`fuser '/x;y/mailserver-lock'`" in _remedy(
        Held("session", "/x;y/mailserver-lock", 7, "", "", 0.0, ""), lost=False
    )
