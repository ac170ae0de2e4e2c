"""What becomes of a message, in a mail server's words: exit statuses, and the enhanced status codes that Postfix reads."""

import os
from itertools import chain, repeat

import pytest

from mailserver.cli.handing import hand_over
from mailserver.cli.message import Message
from mailserver.cli.places import Place
from tests.cli.lmtp_server import LMTPServer

TEXT = b"Subject: x\n\nhi\n"
WIRE = b"Subject: x\r\n\r\nhi\r\n.\r\n"


def message(*chunks):
    pieces = chain(chunks or (TEXT,), repeat(b""))
    return Message(lambda _limit: next(pieces))


def handed(server, *users, sender=None, original="", text=(), seconds=30):
    place = Place(server.path) if isinstance(server, LMTPServer) else server
    given = text if isinstance(text, Message) else message(*text)
    return hand_over(given, users or ("alice",), sender=sender, original=original, place=place, seconds=seconds)


def test_a_message_is_delivered_to_each_user():
    with LMTPServer() as server:
        assert handed(server, "alice", "bob@example.org", sender="carol@example.org") == (0, "")
    assert server.heard[1:] == [
        "MAIL FROM:<carol@example.org> BODY=8BITMIME",
        "RCPT TO:<alice>",
        "RCPT TO:<bob@example.org>",
        "DATA",
        "QUIT",
    ]
    assert server.heard[0].startswith("LHLO ")
    assert server.data == WIRE


@pytest.mark.parametrize(
    ("sender", "first", "path"),
    [
        (None, b"", "<>"),
        ("", b"From carol@example.org Mon Jan  1 00:00:00 2024\n", "<>"),
        ("<>", b"", "<>"),
        ("MAILER-DAEMON", b"", "<>"),
        (None, b"From MAILER-DAEMON Mon Jan  1 00:00:00 2024\n", "<>"),
        (None, b"From carol@example.org Mon Jan  1 00:00:00 2024\n", "<carol@example.org>"),
        ("dave@example.org", b"From carol@example.org Mon Jan  1 00:00:00 2024\n", "<dave@example.org>"),
    ],
)
def test_the_sender_is_the_given_one_or_an_mbox_s_or_nobody(sender, first, path):
    with LMTPServer(keywords=()) as server:
        assert handed(server, sender=sender, text=[first + TEXT]).status == 0
    assert server.heard[1] == f"MAIL FROM:{path}"
    assert server.data == WIRE


def test_a_sender_without_a_domain_gets_this_machine_s():
    with LMTPServer(keywords=()) as server:
        assert handed(server, sender="root").status == 0
    host = server.heard[0].removeprefix("LHLO ")
    assert server.heard[1] == f"MAIL FROM:<root@{host}>"


def test_addresses_beyond_ascii_are_announced_where_the_server_knows_them():
    with LMTPServer() as server:
        assert handed(server, "günther@example.org").status == 0
    assert server.heard[1] == "MAIL FROM:<> BODY=8BITMIME SMTPUTF8"


def test_the_original_recipient_goes_along():
    with LMTPServer() as server:
        assert handed(server, original="info+x@example.org").status == 0
    assert server.heard[2] == "RCPT TO:<alice> ORCPT=rfc822;info+2Bx@example.org"


@pytest.mark.parametrize("refusal", [b"555 5.5.4 unknown parameter", b"501 5.5.4 syntax error"])
def test_a_server_that_does_not_know_original_recipients_gets_none(refusal):
    with LMTPServer({"RCPT TO:<alice> ORCPT": refusal}, keywords=()) as server:
        assert handed(server, original="info@example.org").status == 0
    assert server.heard[2:4] == ["RCPT TO:<alice> ORCPT=rfc822;info@example.org", "RCPT TO:<alice>"]


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (b"550 5.1.1 no such user here", os.EX_NOUSER, "5.1.1"),
        (b"501 5.1.3 this is no address", os.EX_NOUSER, "5.1.3"),
        (b"501 5.1.7 this is no address", os.EX_UNAVAILABLE, "5.1.7"),
        (b"550 5.1.8 no such domain", os.EX_UNAVAILABLE, "5.1.8"),
        (b"552 5.2.2 the maildrop is full", os.EX_NOPERM, "5.2.2"),
        (b"550 5.7.1 not for you", os.EX_NOPERM, "5.7.1"),
        (b"552 5.3.4 the message is too big", os.EX_DATAERR, "5.3.4"),
        (b"554 5.6.0 no message", os.EX_DATAERR, "5.6.0"),
        (b"550 5.4.6 the address leads back to itself", os.EX_UNAVAILABLE, "5.4.6"),
        (b"554 no", os.EX_UNAVAILABLE, "5.0.0"),
        (b"452 4.2.2 the maildrop is full", os.EX_TEMPFAIL, "4.2.2"),
        (b"452 4.3.1 no room", os.EX_TEMPFAIL, "4.3.1"),
        (b"451 4.3.0 temporary failure", os.EX_TEMPFAIL, "4.3.0"),
        (b"421 shutting down", os.EX_TEMPFAIL, "4.0.0"),
    ],
)
@pytest.mark.parametrize("at", ["MAIL", "RCPT", "DATA", "the end"])
def test_each_refusal_has_its_status_and_its_code_at_whatever_time_it_comes(reply, status, code, at):
    answers = LMTPServer(finals={"<alice>": reply}) if at == "the end" else LMTPServer({at: reply})
    with answers as server:
        verdict = handed(server)
    assert verdict.status == status
    assert verdict.line.startswith(f"{code} ")
    assert ("<alice>: " in verdict.line) == (at != "MAIL")


def test_words_of_many_lines_and_control_characters_become_one_line():
    with LMTPServer({"RCPT": b"550-5.1.1 no\x1b[31m such\r\n550 5.1.1 user"}) as server:
        assert handed(server).line == "5.1.1 <alice>: no?[31m such user"
    with LMTPServer({"RCPT": b"\r\n".join([*[b"550-5.1.1 " + b"x" * 500] * 5, b"550 5.1.1 y"])}) as server:
        assert len(handed(server).line) < 1000


def test_what_is_refused_for_good_does_not_keep_others_from_getting_theirs():
    with LMTPServer({"RCPT TO:<bob>": b"550 5.1.1 no such user here"}) as server:
        verdict = handed(server, "alice", "bob")
    assert verdict == (os.EX_NOUSER, "5.1.1 <bob>: no such user here (delivered to <alice>)")
    assert server.data == WIRE


def test_while_one_is_refused_for_now_nobody_gets_it_so_that_another_try_doubles_nothing():
    answers = {"RCPT TO:<bob>": b"452 4.2.2 full", "RCPT TO:<carol>": b"550 5.1.1 no such user"}
    with LMTPServer(answers) as server:
        verdict = handed(server, "alice", "carol", "bob")
    assert verdict.status == os.EX_TEMPFAIL
    assert verdict.line == "4.2.2 <bob>: full; <carol>: no such user (delivered to nobody)"
    assert "DATA" not in server.heard


def test_what_is_refused_for_now_after_the_data_counts_more_than_what_is_for_good():
    finals = {"<alice>": b"550 5.7.1 no", "<bob>": b"452 4.2.2 full"}
    with LMTPServer(finals=finals) as server:
        verdict = handed(server, "alice", "bob", "carol")
    assert verdict.status == os.EX_TEMPFAIL
    assert verdict.line == "4.2.2 <bob>: full; <alice>: no (delivered to <carol>)"


def test_the_same_user_twice_gets_one_message():
    with LMTPServer() as server:
        assert handed(server, "alice", "alice").status == 0
    assert [each for each in server.heard if each.startswith("RCPT")] == ["RCPT TO:<alice>"]


@pytest.mark.parametrize("command", ["greeting", "LHLO", "MAIL", "RCPT", "DATA"])
def test_a_server_that_goes_away_is_tried_again(command):
    with LMTPServer({command: None}) as server:
        verdict = handed(server)
    assert verdict.status == os.EX_TEMPFAIL
    assert verdict.line.startswith("4.4.2 the server at ")


def test_a_server_that_goes_away_before_it_has_answered_for_all_is_tried_again():
    with LMTPServer(finals={"<bob>": None}) as server:
        assert handed(server, "alice", "bob").status == os.EX_TEMPFAIL


@pytest.mark.parametrize("command", ["greeting", "MAIL", "DATA"])
def test_a_server_that_says_nothing_is_not_waited_for_without_end(command):
    with LMTPServer({command: b""}) as server:
        verdict = handed(server, seconds=0.2)
    assert verdict.status == os.EX_TEMPFAIL
    assert "did not answer within 0.2 s" in verdict.line


def test_the_time_is_for_all_waits_together(monkeypatch):
    times = iter(range(0, 10_000, 40))  # each wait takes 40 s
    monkeypatch.setattr("mailserver.cli.lmtp.time.monotonic", lambda: next(times))
    with LMTPServer() as server:
        assert "did not answer within 300 s" in handed(server, seconds=300).line


@pytest.mark.parametrize("code", [b"421 4.3.2 closing", b"554 5.7.1 not for you"])
@pytest.mark.parametrize("command", ["greeting", "LHLO"])
def test_a_server_that_serves_nobody_is_tried_again_whatever_it_says(command, code):
    with LMTPServer({command: code}) as server:
        assert handed(server).status == os.EX_TEMPFAIL


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.2", b"+OK ready", b"x" * 200_000, b"220-" + b"x" * 70_000])
def test_what_is_no_lmtp_server_is_tried_again(greeting):
    with LMTPServer({"greeting": greeting}) as server:
        verdict = handed(server)
    assert verdict.status == os.EX_TEMPFAIL
    assert "does not speak LMTP" in verdict.line


def test_where_nobody_listens_it_is_tried_again(tmp_path):
    verdict = handed(Place(str(tmp_path / "lmtp")))
    assert verdict == (os.EX_TEMPFAIL, f"4.4.2 nobody answers at {tmp_path}/lmtp: No such file or directory")


def test_standard_input_that_fails_delivers_nothing():
    pieces = iter([b"Subject: x\n\n" + b"y" * 100_000])

    def read(_limit):
        for piece in pieces:
            return piece
        raise OSError(5, "Input/output error")

    with LMTPServer() as server:
        verdict = handed(server, text=Message(read))
    assert verdict == (os.EX_TEMPFAIL, "4.3.0 standard input: Input/output error; nothing was delivered")
    assert server.octets > 100_000
    assert not server.data.endswith(b"\n.\r\n")
    assert "QUIT" not in server.heard


def test_an_empty_message_is_no_message():
    with LMTPServer() as server:
        assert handed(server, text=[b""]).status == os.EX_DATAERR
    assert server.heard == []


@pytest.mark.parametrize(
    ("user", "sender", "status"),
    [("a\r\nDATA", None, os.EX_NOUSER), ("alice", "x@y>\r\nRCPT TO:<root", os.EX_UNAVAILABLE)],
)
def test_no_address_begins_another_command(user, sender, status):
    with LMTPServer() as server:
        verdict = handed(server, user, sender=sender)
    assert verdict.status == status
    assert server.heard == []


def test_a_good_word_of_a_server_that_has_not_read_to_the_end_counts_for_nothing():
    with LMTPServer({"DATA": b"354 go on\r\n250 2.0.0 done"}, close_after=1) as server:
        verdict = handed(server, text=[b"x" * 65536 + b"\n"] * 100)
    assert (verdict.status, verdict.line[:5]) == (os.EX_TEMPFAIL, "4.4.2")


def test_a_server_that_ends_the_data_early_and_says_why_is_heard():
    class Early(LMTPServer):
        def take(self, rfile):
            rfile.read(1000)
            self.wfile.write(b"552 5.3.4 the message is too big\r\n")
            return False

        def serve(self, rfile, wfile):
            self.wfile = wfile
            super().serve(rfile, wfile)

    with Early() as server:
        verdict = handed(server, text=[TEXT, *[b"x" * 65536] * 100])
    assert verdict == (os.EX_DATAERR, "5.3.4 <alice>: the message is too big")  # of a Unix socket no reset overtakes it


@pytest.mark.parametrize("piece", [b"220-more\r\n", b"220 no end "])
def test_a_reply_without_an_end_is_not_read_for_ever(piece):
    class Endless(LMTPServer):
        def serve(self, rfile, wfile):
            try:
                while not self.silent.is_set():
                    wfile.write(piece * 1000)
            except ConnectionError:
                return

    with Endless() as server:
        assert "does not speak LMTP" in handed(server, seconds=5).line
