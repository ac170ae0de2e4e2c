"""What is shown of a line, and what is not."""

from __future__ import annotations

import pytest

from mailserver.protocol.lmtp_commands import COMMANDS as LMTP
from mailserver.protocol.pop3_commands import COMMANDS
from mailserver.protocol.redacted import NO_COMMAND, lmtp_line, pop3_line, printable

VERBS = set().union(*COMMANDS.tables.values())
LMTP_VERBS = set().union(*LMTP.tables.values())
DIGEST = b"0123456789abcdefABCDEF0123456789"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"USER alice", "USER alice"),
        (b"user  Alice ", "user Alice"),
        (b"USER bob", "USER ***"),
        (b"USER alicePASS secret", "USER ***"),
        (b"USER alice@secret", "USER ***"),
        (b"USER j\xf6rg", "USER ***"),
        (b"USER alice\rPASS secret", "USER ***"),
        (b"USER", "USER"),
        (b"PASS secret", "PASS ***"),
        (b"pAsS s e c", "pAsS ***"),
        (b"PASS 123456", "PASS ***"),
        (b"PASS", "PASS"),
        (b"PASSsecret", NO_COMMAND),
        (b" PASS secret", NO_COMMAND),
        (b"PASS\tsecret", NO_COMMAND),
        (b"secret", NO_COMMAND),
        (b"123456", NO_COMMAND),
        (b"", NO_COMMAND),
        (b"APOP alice " + DIGEST, "APOP alice ***"),
        (b"APOP alice secret " + DIGEST, "APOP *** ***"),
        (b"APOP alice " + DIGEST + b" secret", "APOP ***"),
        (b"APOP " + DIGEST, "APOP ***"),
        (b"APOP alice secret", "APOP ***"),
        (b"AUTH", "AUTH"),
        (b"AUTH plain", "AUTH plain"),
        (b"AUTH PLAIN AGFsaWNlAHNlY3JldA==", "AUTH PLAIN ***"),
        (b"AUTH AGFsaWNlAHNlY3JldA==", "AUTH ***"),
        (b"AUTH  PLAIN x", "AUTH ***"),
        (b"CAPA", "CAPA"),
        (b"CAPA secret", "CAPA ***"),
        (b"LIST 1", "LIST ***"),
        (b"GET /secret HTTP/1.1", "GET ***"),
    ],
)
def test_before_the_login_the_operator_s_own_name_is_shown_alone(line: bytes, shown: str) -> None:
    assert pop3_line(line, VERBS, {"alice"}, stranger=True) == shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"RETR 17", "RETR 17"),
        (b"top 17 0", "top 17 0"),
        (b"RETR secret", "RETR ***"),
        (b"RETR 1 2 3", "RETR ***"),
        (b"RETR 12345678901", "RETR ***"),
        (b"RETR \xd9\xa1", "RETR ***"),
        (b"UIDL", "UIDL"),
        (b"USER alice", "USER ***"),
        (b"PASS secret", "PASS ***"),
        (b"PASS 1234", "PASS ***"),
        (b"secret", NO_COMMAND),
    ],
)
def test_after_the_login_numbers_are_shown_alone(line: bytes, shown: str) -> None:
    assert pop3_line(line, VERBS, {"alice"}, stranger=False) == shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"MAIL FROM:<bob@example.net> SIZE=5", "MAIL FROM:<bob@example.net> SIZE=5"),
        (b"rcpt to:<a\x1b[2Jb>", "rcpt to:<a\\x1b[2Jb>"),
        (b"BDAT 17 LAST", "BDAT 17 LAST"),
        (b"DATA", "DATA"),
        (b"AUTH PLAIN AGFsaWNlAHNlY3JldA==", "AUTH ***"),
        (b"XCLIENT LOGIN=alice", "XCLIENT ***"),
        (b"Subject: secret", NO_COMMAND),
    ],
)
def test_of_lmtp_envelopes_are_shown(line: bytes, shown: str) -> None:
    assert lmtp_line(line, LMTP_VERBS) == shown


def test_nothing_steers_a_terminal() -> None:
    assert printable(b"\x1b]0;x\x07\xc2\x9b\xe2\x80\xae\xff") == "\\x1b]0;x\\x07\\x9b\\u202e\\xff"
