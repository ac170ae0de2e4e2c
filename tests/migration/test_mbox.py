"""An mbox as a source: where its messages begin and end, what is shown of them, and files that are none."""

import os
from contextlib import contextmanager

import pytest

from mailserver.migration.files import CHUNK, OVERLAP
from mailserver.migration.mbox_layout import HEADER
from mailserver.migration.source import SourceError
from tests.corpus import CORPUS, canonical
from tests.migration.spools import ARRIVED, FROM, MBOXABLE, contents, ended, mbox, mmdf, opened

NUMBERINGS = ["none", "uw", "qpopper", "qpopper-readonly", "qpopper-2", "dovecot"]


@pytest.fixture
def spool(tmp_path):
    return tmp_path / "alice"


def read(spool, data, options="uidl=none", kind="mbox"):
    spool.write_bytes(data)
    source = opened(f"{kind}:{spool}?{options}")
    try:
        return [canonical(each) for each in contents(source)]
    finally:
        source.close()


@pytest.mark.parametrize("uidl", NUMBERINGS)
def test_each_nasty_message_comes_out_as_it_went_in(spool, uidl):
    assert read(spool, mbox(MBOXABLE.values()), f"uidl={uidl}") == [canonical(each) for each in MBOXABLE.values()]


@pytest.mark.parametrize("kind", ["mbox", "mmdf"])
def test_large_messages_come_out_as_they_went_in(spool, kind):
    large = [CORPUS["large"], CORPUS["large-wire-form"], b"Subject: x\n\n" + b"x" * (CHUNK * 3), b"Subject: end\n\n"]
    written = {"mbox": mbox, "mmdf": mmdf}[kind](large)
    assert read(spool, written, kind=kind) == [canonical(each) for each in large]


@pytest.mark.parametrize("line_ends", [b"\n", b"\r\n"])
@pytest.mark.parametrize("final", [b"", b"\n", b"\n\n"])
def test_the_last_message_ends_with_or_without_line_ends(spool, final, line_ends):
    whole = (FROM + b"Subject: 1\n\none\n\n" + FROM + b"Subject: 2\n\ntwo" + final).replace(b"\n", line_ends)
    assert read(spool, whole) == [b"Subject: 1\r\n\r\none\r\n", b"Subject: 2\r\n\r\ntwo\r\n"]


@pytest.mark.parametrize("position", range(CHUNK - len(FROM) - 4, CHUNK + 3))
@pytest.mark.parametrize("before", [0, OVERLAP])
@pytest.mark.parametrize("uidl", ["none", "qpopper"])
def test_a_message_may_begin_at_any_edge_of_what_is_read_at_once(spool, position, before, uidl):
    first = b"Subject: 1\n\n" + b"x" * (position - before - len(FROM) - 14) + b"\n"
    found = [canonical(first), b"Subject: 2\r\n\r\n"]
    assert read(spool, mbox([first, b"Subject: 2\n\n"]), f"uidl={uidl}") == found


def test_the_arrival_is_the_one_in_the_line_and_the_file_tells_what_was_seen(spool):
    spool.write_bytes(mbox([b"Status: RO\nX-Status: A\n\n", b"status: o\n\n", b"Subject: R\n\nStatus: R\n"]))
    found = opened(f"mbox:{spool}?uidl=none").messages()
    assert [(each.received, each.seen, each.uidl) for each in found] == [(ARRIVED, seen, b"") for seen in (1, 0, 0)]
    assert len({each.place for each in found}) == 3
    assert all(str(spool) in each.place for each in found)


def test_the_server_s_own_fields_are_not_shown_but_others_are(spool):
    header = (
        b"Received: by example.org\n\tid 1\nX-IMAPbase: 1 1 $Label\n Junk\nstatus: RO\nX-Status:\nX-UID: 1\n"
        b"Content-Length: 5\nX-Keywords:  $Label\n\nX-UIDL: abcdefghijkl\nSubject: 1\n\n"
    )
    shown = b"Received: by example.org\r\n\tid 1\r\n"
    assert read(spool, mbox([header.replace(b"\n\nX-UIDL", b"\nX-UIDL") + b"X-UID: 1\n"])) == [
        shown + b"X-UIDL: abcdefghijkl\r\nSubject: 1\r\n\r\nX-UID: 1\r\n"
    ]


def test_the_first_message_of_uw_s_server_that_is_none_is_left_out(spool):
    pseudo = b"From: Mail System Internal Data\nSubject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 99 7\nStatus: RO\n\nThis text is part of it.\n"
    for uidl in NUMBERINGS:
        assert read(spool, mbox([pseudo, b"Subject: 1\n\n"]), f"uidl={uidl}") == [b"Subject: 1\r\n\r\n"]
    assert len(read(spool, mbox([b"Subject: 1\n\n", pseudo]))) == 2
    assert len(read(spool, mbox([pseudo.replace(b"99 7", b"no numbers")]))) == 1


INSIDE = FROM + b"Subject: a forwarded mbox\n\nits text\n"


@pytest.mark.parametrize(
    ("uidl", "before", "count"),
    [
        ("uw", b"text\n", 2),
        ("uw", b"text\n\n", 2),
        ("qpopper", b"text\n", 1),
        ("qpopper", b"text\n\n", 2),
        ("dovecot", b"text\n", 2),
        ("uw&lines=blank", b"text\n", 1),
        ("qpopper&lines=any", b"text\n", 2),
    ],
)
def test_a_line_like_the_first_within_a_text_begins_a_message_as_it_does_in_that_server(spool, uidl, before, count):
    assert len(read(spool, mbox([b"Subject: 1\n\n" + before + INSIDE]), f"uidl={uidl}")) == count


def test_a_line_like_the_first_within_a_header_is_a_header_s_for_uw_and_begins_a_message_for_dovecot(spool):
    data = FROM + b"Subject: 1\n" + FROM + b"Subject: 2\n\ntext\n"
    assert len(read(spool, data, "uidl=uw")) == 1
    assert read(spool, data, "uidl=dovecot") == [b"Subject: 1\r\n", b"Subject: 2\r\n\r\ntext\r\n"]


def test_a_line_that_only_begins_with_from_is_text(spool):
    text = b"Subject: 1\n\n\nFrom here on it is text\n>From here, too\n"
    assert read(spool, mbox([text, b"Subject: 2\n\n"])) == [canonical(text), b"Subject: 2\r\n\r\n"]


@pytest.mark.parametrize("uidl", ["none", "dovecot"])
def test_a_length_that_is_right_is_believed_and_one_that_lies_is_not(spool, uidl):
    body = b"text\n\n" + INSIDE
    told = b"Content-Length: %d\n\n"
    right = mbox([told % len(body) + body, b"Subject: 2\n\n"])
    assert read(spool, right, f"uidl={uidl}") == [canonical(b"\n" + body), b"Subject: 2\r\n\r\n"]
    assert read(spool, right, "uidl=uw")[0] == b"\r\ntext\r\n"
    for wrong in (len(body) + 1, len(body) - 1, 10**9, 10**14, 10**30, -1, 0):
        assert len(read(spool, mbox([told % wrong + body, b"Subject: 2\n\n"]), f"uidl={uidl}")) == 3
    assert len(read(spool, mbox([b"Content-Length: " + b"9" * 5000 + b"\n\n" + body]), f"uidl={uidl}")) == 2
    assert read(spool, mbox([told % len(body) + body])) == [canonical(b"\n" + body)]


def test_blanks_and_nuls_before_the_first_message_are_skipped(spool):
    assert read(spool, b"\n\r\n \0\0" + mbox([b"Subject: 1\n\n"])) == [b"Subject: 1\r\n\r\n"]
    assert read(spool, b"") == read(spool, b"\n\n") == []


@pytest.mark.parametrize("uidl", NUMBERINGS)
def test_a_line_at_the_end_of_the_file_begins_a_message_without_anything(spool, uidl):
    for line in (FROM, FROM[:-1]):
        assert read(spool, mbox([b"Subject: 1\n\n"]) + line, f"uidl={uidl}") == [b"Subject: 1\r\n\r\n", b""]
        assert read(spool, line, f"uidl={uidl}") == [b""]


def test_of_lines_without_anything_between_them_each_begins_an_empty_message(spool):
    assert read(spool, FROM * 3 + b"Subject: 1\n\n") == [b"", b"", b"Subject: 1\r\n"]


def test_a_line_that_is_too_long_begins_no_message_whatever_its_beginning_looks_like(spool):
    date = b" Wed Dec  2 05:53:22 1992"
    for size in range(OVERLAP - 12, OVERLAP + 2):
        long = b"From " + b"x" * (size - 5 - len(date)) + date
        text = b"Subject: 1\n\n" + long + b" and more" * 200 + b"\n"
        assert read(spool, mbox([text])) == [canonical(text)]


def test_a_time_before_the_epoch_is_a_wrong_clock_s(spool):
    spool.write_bytes(mbox([b"1\n"]) + mbox([b"2\n"], FROM.replace(b"1992", b"1902")))
    assert [each.received for each in opened(f"mbox:{spool}?uidl=none").messages()] == [ARRIVED, ARRIVED]


def test_what_is_added_to_the_file_meanwhile_is_left_for_the_next_time(spool):
    spool.write_bytes(mbox([b"Subject: 1\n\none\n"]))
    source = opened(f"mbox:{spool}?uidl=none")
    with spool.open("ab") as file:
        file.write(mbox([b"Subject: 2\n\n"]))
    assert contents(source) == [b"Subject: 1\n\none\n"]


def test_without_its_file_a_user_has_no_mail(spool):
    source = opened(f"mbox:{spool}?uidl=uw")
    assert source.messages() == []
    assert str(spool) in source.notes[0]
    source.close()
    with pytest.raises(SourceError, match="No such file"):
        opened(f"mbox:{spool}/no/directory?uidl=uw")


@pytest.mark.parametrize(
    "data", [b"Subject: no From_ line\n\n", b"From nobody\n\n", b"x" * 100_000, b"From " + b"x" * 100_000]
)
@pytest.mark.parametrize("kind", ["mbox", "mmdf"])
def test_a_file_that_is_none_is_refused(spool, data, kind):
    with pytest.raises(SourceError, match="does not begin as an"):
        read(spool, data, kind=kind)


@pytest.mark.parametrize("kind", ["mbox", "mmdf"])
def test_what_is_no_regular_file_is_refused_and_nothing_waits_for_it(spool, kind):
    os.mkfifo(spool)
    with pytest.raises(SourceError, match="not a regular file"):
        opened(f"{kind}:{spool}?uidl=uw")
    spool.unlink()
    spool.symlink_to("/etc/passwd")
    with pytest.raises(SourceError, match="links"):
        opened(f"{kind}:{spool}?uidl=uw")
    spool.unlink()
    spool.mkdir()
    with pytest.raises(SourceError):
        opened(f"{kind}:{spool}?uidl=uw")


@contextmanager
def nobody():
    """Without root's rights."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(own)


@pytest.mark.parametrize("place", ["mbox:{}?uidl=uw", "mmdf:{}?uidl=uw", "cyrus:{}"])
def test_mail_that_may_not_be_seen_is_not_taken_for_none(spool, place):
    """A home that the user that serves may not enter: "no mail there" would let the operator switch without it."""
    spool.parent.chmod(0)
    try:
        with (
            nobody(),
            pytest.raises(SourceError, match="Permission denied for uid"),
        ):
            opened(place.format(spool))
    finally:
        spool.parent.chmod(0o700)


def test_a_file_that_was_written_anew_meanwhile_is_noticed(spool):
    spool.write_bytes(mbox([b"Subject: %d\n\n" % number + b"x" * CHUNK for number in range(3)]))
    source = opened(f"mbox:{spool}?uidl=none")
    found = source.messages()
    with spool.open("ab") as file:
        file.write(mbox([b"Subject: new\n\n"]))
    assert b"".join(source.read(found[2])).startswith(b"Subject: 2")
    with spool.open("r+b") as file:
        file.write(mbox([b"Subject: shorter\n\n"] * 3))
    with pytest.raises(SourceError, match="changed"):
        list(source.read(found[0]))
    os.truncate(spool, 100)
    with pytest.raises(SourceError, match="was cut"):
        list(source.read(found[1]))
    source.close()
    source.close()


def test_a_header_of_any_length_is_read_in_pieces(spool):
    long = b"X-Long: " + b"x" * (2 * HEADER) + b"\n"
    data = mbox(
        [b"Status: R\n" + long + b"X-UID: 1\n\ntext\n", b"Subject: 2\n" + b"X-%s\n" * (HEADER // 4), b"Subject: 3\n\n"]
    )
    found = read(spool, data)
    assert found[0] == canonical(long + b"X-UID: 1\n\ntext\n")  # as it is, since it comes late
    assert [each[:12] for each in found[1:]] == [b"Subject: 2\r\n", b"Subject: 3\r\n"]


@pytest.mark.parametrize(
    "evil",
    [
        FROM * 4000,
        b"\nFrom " * 50_000,
        FROM + b"\n \n" * 100_000,
        FROM + b"X: 1\n" + b" \n" * 300_000,
        FROM + b"\0" * 1_000_000,
        FROM + b"\r" * 1_000_000,
        FROM + b"\1\1\1\1\n" * 20_000,
        b"\1\1\1\1\n" * 20_000,
    ],
    ids=range(8),
)
@pytest.mark.parametrize("uidl", ["none", "uw", "qpopper-readonly"])
def test_hostile_files_end_soon(spool, evil, uidl):
    for kind in ("mbox", "mmdf"):
        try:
            read(spool, evil, f"uidl={uidl}", kind)
        except SourceError as error:
            assert str(spool) in str(error)  # noqa: PT017 - either is right, an answer or a refusal


@pytest.mark.parametrize("uidl", NUMBERINGS)
def test_mmdf_comes_out_as_it_went_in(spool, uidl):
    assert read(spool, mmdf(MBOXABLE.values()), f"uidl={uidl}", "mmdf") == [
        canonical(each) for each in MBOXABLE.values()
    ]


def test_mmdf_has_the_line_of_c_client_or_none(spool):
    received = b"Received: from x by y\n\tfor z; Wed, 2 Dec 1992 05:53:22 +0000\n"
    spool.write_bytes(mmdf([FROM + b"Subject: 1\n\n", received + b"Subject: 2\n\n", b"Subject: 3\n\nFrom here\n"]))
    source = opened(f"mmdf:{spool}?uidl=none")
    assert [each.received for each in source.messages()] == [ARRIVED] * 3
    assert contents(source)[0] == b"Subject: 1\n\n"
    spool.write_bytes(mmdf([b"Subject: 1\n\n"]))
    os.utime(spool, (12345, 12345))
    source = opened(f"mmdf:{spool}?uidl=none")
    assert [each.received for each in source.messages()] == [12345.0]


@pytest.mark.parametrize("year", ["10000", "99999999999", "2020 00:00:00 -99999999999999999999"])
def test_a_time_that_a_sender_has_made_up_ends_nothing(spool, year):
    """Python's reader of dates fails at these, or gives a time that no file can have."""
    spool.write_bytes(mmdf([f"Received: x; Mon, 1 Jan {year} 00:00:00 +0000\n\n".encode()]))
    os.utime(spool, (12345, 12345))
    assert [each.received for each in opened(f"mmdf:{spool}?uidl=none").messages()] == [12345.0]


def test_mmdf_without_its_last_line_and_with_something_between_its_messages(spool):
    whole = mmdf([b"Subject: 1\n\n"]) + b"between\n" + mmdf([b"Subject: 2\n\nFrom x\n"]) + b"\1\1\1\1\nSubject: 3\n"
    found = [b"Subject: 1\r\n\r\n", b"Subject: 2\r\n\r\nFrom x\r\n", b"Subject: 3\r\n"]
    assert read(spool, whole, kind="mmdf") == found


def test_nothing_is_written(spool):
    spool.write_bytes(mbox([ended(each) for each in MBOXABLE.values()]))
    spool.chmod(0o400)
    spool.parent.chmod(0o500)
    before = (spool.read_bytes(), spool.stat().st_mtime_ns, list(spool.parent.iterdir()))
    contents(opened(f"mbox:{spool}?uidl=uw"))
    assert (spool.read_bytes(), spool.stat().st_mtime_ns, list(spool.parent.iterdir())) == before
