"""The unique-ids that UW's server, qpopper and Dovecot gave, out of mboxes as they leave them."""

import hashlib
import re

import pytest

from mailserver.migration.mbox_qpopper import base80
from tests.migration.spools import FROM, mbox, mmdf, opened

RECEIVED = b"Received: from a by b;\n\tWed, 2 Dec 1992 05:53:22 +0000\n"
HEADER = RECEIVED + b"Message-Id: <1@example.org>\nDate: Wed, 2 Dec 1992\nSubject: one\nFrom: bob\n"


def uidls(tmp_path, messages, options, write=mbox, kind="mbox"):
    spool = tmp_path / "alice"
    spool.write_bytes(write(messages))
    source = opened(f"{kind}:{spool}?uidl={options}")
    found = [each.uidl for each in source.messages()]
    assert [each.uidl for each in source.messages()] == found
    return found, source.notes


def numbered(*lines):
    return [line + b"Subject: x\n\ntext\n" for line in lines]


BASE = b"X-IMAPbase: 1700000000 0000000012 $Label\n"
PSEUDO = b"X-IMAP: 1700000000 0000000012\nStatus: RO\nX-Status:\nX-Keywords:\nX-UID: 99\n"


@pytest.mark.parametrize("write", [mbox, mmdf])
def test_uw_has_uidvalidity_and_uid_in_hexadecimal(tmp_path, write):
    kind = write.__name__
    messages = numbered(BASE + b"X-UID: 3\n", b"X-UID: 7\n", b"X-UID:         12        \n", b"")
    found, notes = uidls(tmp_path, messages, "uw", write, kind)
    assert (found, notes) == ([b"6553f1000000000%x" % uid for uid in (3, 7, 12, 13)], [])
    messages = numbered(BASE + b"X-UID: 3\n", b"X-UID: 20\n", b"")
    assert uidls(tmp_path, messages, "uw", write, kind)[0] == [b"6553f100%08x" % uid for uid in (3, 20, 21)]
    messages = numbered(PSEUDO, b"X-UID: 3\n", b"X-UID: 7\n", b"")
    assert uidls(tmp_path, messages, "uw", write, kind)[0] == [b"6553f1000000000%x" % uid for uid in (3, 7, 13)]


def test_uw_does_not_show_what_was_deleted_by_imap(tmp_path):
    messages = numbered(BASE + b"X-UID: 3\nStatus: ROD\n", b"X-UID: 7\nX-Status: D\n", b"X-UID: 9\nX-Status: AF\n")
    assert uidls(tmp_path, messages, "uw")[0] == [b"6553f10000000009"]


@pytest.mark.parametrize(
    "messages",
    [
        numbered(b"X-UID: 3\n", b"X-UID: 7\n"),
        numbered(BASE + b"X-UID: 7\n", b"X-UID: 3\n"),
        numbered(BASE + b"X-UID: 7\n", b"X-UID: 7\n"),
        numbered(BASE + b"X-UID: 3\nX-UID: 4\n", b"X-UID: 7\n"),
        numbered(b"X-UID: 3\n", BASE + b"X-UID: 7\n"),
        numbered(b"X-IMAPbase: 0 12\nX-UID: 3\n", b"X-UID: 7\n"),
        numbered(b"X-IMAPbase: 99999999999 12\nX-UID: 3\n", b"X-UID: 7\n"),
        numbered(b"X-IMAPbase: 4294967296 12\nX-UID: 3\n", b"X-UID: 7\n"),
        numbered(b"X-IMAPbase: " + b"9" * 10_000 + b" 1\nX-UID: 3\n", b"X-UID: 7\n"),
        numbered(b"X-IMAPbase: 17\nX-UID: 3\n", b"X-UID: 7\n"),
        numbered(b"x-imapbase: 17 12\nX-UID: 3\n", b"X-UID: 7\n"),
    ],
)
def test_uw_gives_no_lasting_numbers_where_its_fields_do_not_agree(tmp_path, messages):
    found, notes = uidls(tmp_path, messages, "uw")
    assert found == [b"", b""]
    assert "X-IMAPbase" in notes[0]
    assert str(tmp_path) in notes[0]


def test_dovecot_has_the_default_format_or_that_which_is_said(tmp_path):
    messages = numbered(BASE + b"X-UID: 3\n", b"X-UID: 7\n", b"")
    assert uidls(tmp_path, messages, "dovecot") == ([b"0000000%x6553f100" % uid for uid in (3, 7, 13)], [])
    assert uidls(tmp_path, messages, "dovecot:%v.%u")[0] == [b"1700000000.%d" % uid for uid in (3, 7, 13)]
    assert uidls(tmp_path, messages, "dovecot:%{uid | hex(8)}%{uidvalidity | hex(8)}")[0][1] == b"000000076553f100"
    assert uidls(tmp_path, numbered(PSEUDO, b"X-UID: 3\n", b""), "dovecot:%v.%u")[0] == [
        b"1700000000.3",
        b"1700000000.13",
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            [BASE + b"X-UID: 3\n", b"X-UID: 2\n", b"X-UID: 5\n"],
            [3, 13, 14],
        ),  # it does not rise: this and all that follow
        ([BASE + b"X-UID: 3\n", b"X-UID: 99\n", b"X-UID: 5\n"], [3, 13, 14]),  # a sender wrote it
        ([BASE + b"X-UID: 3\n", b"X-UID: 13\n", b"X-UID: 14\n"], [3, 13, 14]),
        ([BASE + b"X-UID: 3\n", b"X-UID: 4 5\n", b"X-UID: x\n"], [3, 13, 14]),
        ([b"X-UID: 5\n" + BASE, b"X-UID: 6\n"], [13, 14]),
        ([BASE + b"X-UID: 5\nX-UID: 6\n", b"X-UID: 7\n"], [5, 7]),
        ([BASE + b"X-IMAPbase: 5 50\nX-UID: 5\n", b"X-IMAPbase: 5 50\nX-UID: 7\n", b""], [5, 7, 13]),
        ([b"x-imapBASE: 1700000000 12\nx-uid: 5\n", b"X-uid : 7\n"], [5, 7]),
    ],
)
def test_dovecot_believes_no_number_that_it_would_not_give(tmp_path, lines, expected):
    found, _ = uidls(tmp_path, numbered(*lines), "dovecot:%v.%u")
    assert found == [b"1700000000.%d" % uid for uid in expected]


def test_dovecot_without_its_fields_has_only_the_sums_of_headers(tmp_path):
    messages = [HEADER + b"\ntext\n"]
    found, notes = uidls(tmp_path, messages, "dovecot:%v.%u")
    assert found == [b""]
    assert "doveadm" in notes[0]
    sum_ = hashlib.md5(b"from a by b;" + b"\tWed, 2 Dec 1992 05:53:22 +0000").hexdigest().encode()
    assert uidls(tmp_path, messages, "dovecot:%m")[0] == uidls(tmp_path, messages, "dovecot:%g")[0] == [sum_]


def test_dovecot_reuses_x_uidl_where_it_was_told_to(tmp_path):
    messages = numbered(BASE + b"X-UID: 3\nX-UIDL: abc\n", b"X-UID: 7\n", b"X-UIDL: not one\n")
    assert uidls(tmp_path, messages, "dovecot:%u&xuidl=yes")[0] == [b"abc", b"7", b""]
    assert uidls(tmp_path, messages, "dovecot:%u")[0] == [b"3", b"7", b"13"]


def test_qpopper_has_them_in_x_uidl_and_those_without_were_never_shown(tmp_path):
    messages = numbered(
        b'X-UIDL: $a"!!N(k!!0pE"!_7d"!\n',
        b"x-uidl:\t0123456789abcdef0123456789abcdef\n",
        b"",
        b"X-UIDL: tooshort12\nX-UIDL: 12345678901\n",
        b"X-UIDL: " + b"x" * 33 + b"\n",
        b"X-UIDL: not one of them\n",
    )
    found = [b'$a"!!N(k!!0pE"!_7d"!', b"0123456789abcdef0123456789abcdef", b"", b"12345678901", b"", b""]
    assert uidls(tmp_path, messages, "qpopper") == (found, [])
    assert uidls(tmp_path, messages, "qpopper", mmdf, "mmdf")[0] == found


def test_qpopper_that_writes_nothing_makes_them_of_the_header_each_time(tmp_path):
    used = b"".join(re.findall(rb"(?m)^(?:Received|Message-Id|Date|Subject):.*\n", HEADER))
    assert used.count(b"\n") == 4
    twice = hashlib.md5(FROM + used + FROM).digest()
    assert uidls(tmp_path, [HEADER + b"\n"], "qpopper-readonly")[0] == [base80(twice)]
    once = hashlib.md5(FROM + used).hexdigest().encode()
    assert uidls(tmp_path, [HEADER + b"\n"], "qpopper-2")[0] == [once]
    assert uidls(tmp_path, [HEADER + b"X-UIDL: 0123456789ab\n\n"], "qpopper-2")[0] == [b"0123456789ab"]


def test_the_digits_of_qpopper_are_twenty_of_eighty_without_a_dot():
    assert base80(b"\0" * 16) == b"!" * 20
    # The four octets 0, 0, 0, 13 are 13, and the digit 13 would be a dot.
    assert base80(b"\0\0\0\r" * 4) == b"~!!!!" * 4
    assert base80(bytes(range(16)))[:5] == bytes(0x21 + digit for digit in (0x123 % 80, 0x123 // 80, 0, 0, 0))
    assert len(base80(b"\xff" * 16)) == 20
