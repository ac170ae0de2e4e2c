"""A user's mail on another server, which may do what it likes."""

import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mailserver.migration import network, resumed
from mailserver.migration.network import check_network
from mailserver.migration.places import KINDS, Login, open_source, read_place
from mailserver.migration.server import Address
from mailserver.migration.source import Original, SourceError, Unreadable
from mailserver.migration.wire import Patience, TryAgain
from tests.migration.old_servers import Dropped, Imap, Pop3, broken, serving, stuffed

ALICE = Login("alice", "sesame")
SILENCE = 30.0
"""Seconds: more than any server here needs."""


def message(number, body=""):
    head = f"Received: by mx; Thu, 1 Jan 2026 00:00:{number:02} +0000\r\nSubject: {number}\r\n\r\n"
    return (head + body).encode() + b"\r\n" * (not body.endswith("\r\n"))


def mail(count):
    return [(b"id-%d" % number, message(number, "text\r\n.\r\n..end\r\n")) for number in range(1, count + 1)]


@contextmanager
def reached(pop3, imap=None, *, pauses=(0, 0, 0), options="", login=ALICE):
    with ExitStack() as stack:
        servers = [stack.enter_context(each) for each in serving(*(each for each in (pop3, imap) if each))]
        where = f"pop3://{servers[0].where}?{options}" + (f"&imap={servers[1].where}" if imap else "")
        source = open_source(read_place(where), login, None)
        reach = source._reach
        source._reach = replace(reach, pauses=pauses, patience=Patience(silence=SILENCE))
        stack.callback(source.close)
        yield source


def contents(source, each):
    return b"".join(source.read(each))


JANUARY = 1767225600.0
"""The first second of 2026."""


def test_messages_come_in_their_order_with_their_unique_ids_and_the_dates_of_their_last_hop():
    pop3 = Pop3(mail(3))
    with reached(pop3) as source:
        found = source.messages()
        assert [(each.uidl, each.received, each.seen, each.octets) for each in found] == [
            (uidl, JANUARY + number, False, len(each)) for number, (uidl, each) in enumerate(pop3.mail, 1)
        ]
        assert [contents(source, each) for each in found] == [each for _, each in pop3.mail]
        assert found[1].place.endswith("alice: message 2, unique-id id-2")
        assert source.notes == []


def test_the_list_is_asked_for_in_a_session_that_ends_and_messages_in_one_that_changes_nothing():
    pop3 = Pop3(mail(2))
    with reached(pop3) as source:
        for each in source.messages():
            contents(source, each)
    assert [said[-1] for said in pop3.said] == [b"QUIT", b"TOP 2 99999999"]
    assert not any(b"RETR" in command or b"DELE" in command for said in pop3.said for command in said)


def test_a_server_without_top_is_read_by_retr_and_dates_are_those_of_now():
    pop3 = Pop3(mail(1), capa=("UIDL",))
    with reached(pop3) as source:
        (found,) = source.messages()
        assert abs(found.received - time.time()) < 60
        assert contents(source, found) == pop3.mail[0][1]
    assert b"RETR 1" in pop3.said[1]


def test_a_server_without_capa_may_have_top():
    pop3 = Pop3(mail(2), capa=None)
    with reached(pop3) as source:
        found = source.messages()
        assert [each.received for each in found] == [JANUARY + 1, JANUARY + 2]
        assert [contents(source, each) for each in found] == [each for _, each in pop3.mail]
    assert pop3.said[1][-4:] == [b"UIDL", b"TOP 1 0", b"TOP 1 99999999", b"TOP 2 99999999"]


def test_a_server_without_capa_and_top_is_read_by_retr():
    pop3 = Pop3(mail(2), capa=None, top=False)
    with reached(pop3) as source:
        assert [contents(source, each) for each in source.messages()] == [each for _, each in pop3.mail]
    assert pop3.said[1][-4:] == [b"UIDL", b"TOP 1 0", b"RETR 1", b"RETR 2"]


def test_retr_is_used_where_the_place_says_so():
    pop3 = Pop3(mail(1))
    with reached(pop3, options="read=retr") as source:
        contents(source, source.messages()[0])
    assert pop3.said[1][-1] == b"RETR 1"


def test_an_empty_maildrop_has_nothing():
    with reached(Pop3([]), Imap([])) as source:
        assert source.messages() == []


def test_messages_are_found_by_their_unique_ids_when_the_server_has_numbered_them_anew():
    pop3 = Pop3(mail(4))
    with reached(pop3) as source:
        found = source.messages()
        pop3.mail = [pop3.mail[3], (b"new", message(9)), pop3.mail[1]]
        assert contents(source, found[1]) == pop3.mail[2][1]
        with pytest.raises(Unreadable, match="no longer there"):
            contents(source, found[2])
        assert contents(source, found[3]) == pop3.mail[0][1]
    assert len(pop3.said) == 2


def test_a_server_with_other_unique_ids_in_each_session_is_refused():
    pop3 = Pop3(mail(2))
    with reached(pop3) as source:
        found = source.messages()
        pop3.mail = [(b"x" + uidl, each) for uidl, each in pop3.mail]
        with pytest.raises(SourceError, match="other unique-ids in each session") as caught:
            contents(source, found[0])
        assert type(caught.value) is SourceError


def test_messages_with_one_unique_id_are_told_apart():
    pop3 = Pop3([(b"same", message(1)), (b"other", message(2)), (b"same", message(3))])
    with reached(pop3) as source:
        found = source.messages()
        assert [each.uidl for each in found] == [b"same", b"other", b"same"]
        pop3.mail = pop3.mail[::2] + pop3.mail[1:2]
        assert [contents(source, each) for each in found] == [message(1), message(2), message(3)]


def test_without_unique_ids_a_message_is_known_by_its_number_and_size():
    pop3 = Pop3(mail(2), capa=("TOP",))
    with reached(pop3) as source:
        found = source.messages()
        assert [each.uidl for each in found] == [b"", b""]
        assert "has no unique-ids" in source.notes[0]
        pop3.mail = [pop3.mail[0], (b"", message(2, "longer" * 9))]
        assert contents(source, found[0]) == pop3.mail[0][1]
        with pytest.raises(Unreadable, match="another message has its number"):
            contents(source, found[1])


def test_lists_that_contradict_one_another_are_refused():
    class Mixed(Pop3):
        def _answer(self, command, mail):
            return super()._answer(command, mail[1:] if command == b"LIST" else mail)

    with reached(Mixed(mail(2))) as source, pytest.raises(SourceError, match="other messages by UIDL than by LIST"):
        source.messages()


@pytest.mark.parametrize("octets", [0, 1, 100, 5000])
def test_a_message_goes_on_where_the_line_broke(octets):
    long = message(1, ".stuffed\r\n" * 1000)
    pop3 = Pop3([(b"a", long), (b"b", message(2))], faults=[broken(octets), broken(2 * octets + 1)])
    with reached(pop3) as source:
        found = source.messages()
        assert contents(source, found[0]) == long
        assert contents(source, found[1]) == message(2)
    assert len(pop3.said) == 4


def test_the_message_that_goes_on_must_be_the_same():
    pop3 = Pop3([(b"a", message(1, "x" * 1000 + "\r\n"))])

    def change(talk, data):
        pop3.mail = [(b"a", message(1, "y" * 1000 + "\r\n"))]
        broken(500)(talk, data)

    pop3.faults = [change]
    with reached(pop3) as source:
        with pytest.raises(Unreadable, match="another message"):
            contents(source, source.messages()[0])
        assert contents(source, source.messages()[0]) == pop3.mail[0][1]


def test_the_message_that_goes_on_must_not_be_shorter():
    pop3 = Pop3([(b"a", message(1, "x" * 1000))])

    def change(talk, data):
        pop3.mail = [(b"a", data[:100])]
        broken(500)(talk, data)

    pop3.faults = [change]
    with reached(pop3) as source, pytest.raises(Unreadable, match="another message"):
        contents(source, source.messages()[0])


def test_tries_without_a_further_octet_have_an_end():
    pop3 = Pop3(mail(1), faults=[broken(20)] * 10)
    with reached(pop3) as source, pytest.raises(Unreadable, match=r"ends the session: .* closed the connection"):
        contents(source, source.messages()[0])
    assert len(pop3.said) == 1 + 1 + 3  # the list; the try that got some octets; one after each pause


def test_a_message_that_breaks_each_session_keeps_no_other_message_back():
    pop3 = Pop3(mail(3), faults=[broken(0)] * 4)
    with reached(pop3) as source:
        found = source.messages()
        with pytest.raises(Unreadable):
            contents(source, found[0])
        assert [contents(source, each) for each in found[1:]] == [each for _, each in pop3.mail[1:]]


def test_a_server_that_breaks_off_at_each_message_is_given_up():
    pop3 = Pop3(mail(9), faults=[broken(0)] * 4 * network.SPOILT)
    with reached(pop3) as source:
        found = source.messages()
        for each in found[: network.SPOILT]:
            with pytest.raises(Unreadable):
                contents(source, each)
        assert contents(source, found[4]) == pop3.mail[4][1]  # after which it counts from the beginning
        pop3.faults += [broken(0)] * 4 * (network.SPOILT + 1)
        for each in found[: network.SPOILT]:
            with pytest.raises(Unreadable):
                contents(source, each)
        with pytest.raises(TryAgain, match="closed the connection"):
            contents(source, found[5])


def test_a_server_that_is_gone_is_no_message_s_fault():
    pop3 = Pop3(mail(2))
    with reached(pop3) as source:
        found = source.messages()
        pop3.logins = [b"-ERR [SYS/TEMP] later\r\n"] * 4
        with pytest.raises(TryAgain, match="later"):
            contents(source, found[0])


@pytest.mark.parametrize("options", ["", "read=retr"])
def test_a_message_whose_dots_the_server_does_not_stuff_is_not_taken_for_a_short_one(options):
    def unstuffed(talk, data):
        talk.send(b"+OK\r\n" + data + b".\r\n")

    pop3 = Pop3([(b"a", b".\r\n" + message(1)), (b"b", message(2))], faults=[unstuffed] * 8)
    with reached(pop3, options=options) as source:
        found = source.messages()
        with pytest.raises(Unreadable, match=r"ends the session: .* is neither"):
            contents(source, found[0])
        pop3.faults.clear()
        assert contents(source, found[1]) == message(2)


def test_tries_go_on_as_long_as_octets_come():
    long = message(1, "x" * 1000 + "\r\n")
    pop3 = Pop3([(b"a", long)], faults=[broken(octets) for octets in range(50, 1000, 50)])
    with reached(pop3) as source:
        assert contents(source, source.messages()[0]) == long


def test_a_server_that_hangs_is_tried_again_and_given_up(monkeypatch):
    monkeypatch.setattr("tests.migration.test_network.SILENCE", 0.1)
    pop3 = Pop3(mail(1), faults=[lambda talk, _: talk.hang()] * 10)
    with reached(pop3) as source, pytest.raises(Unreadable, match="silent"):
        contents(source, source.messages()[0])
    assert len(pop3.said) == 5


def test_a_maildrop_in_use_is_waited_for_and_a_wrong_password_is_not_tried_twice():
    pop3 = Pop3(mail(1), logins=[b"-ERR [IN-USE] busy\r\n"] * 2)
    with reached(pop3) as source:
        assert len(source.messages()) == 1
    assert len(pop3.said) == 3
    pop3 = Pop3(mail(1), logins=[b"-ERR [AUTH] sesame\r\n"])
    with reached(pop3) as source, pytest.raises(SourceError, match="refuses the login of alice") as caught:
        source.messages()
    assert len(pop3.said) == 1
    assert "sesame" not in str(caught.value) + repr(source._login) + repr(source._reach)


def test_a_maildrop_in_use_for_ever_is_told():
    pop3 = Pop3(mail(1), logins=[b"-ERR [IN-USE] busy\r\n"] * 4)
    with reached(pop3) as source, pytest.raises(TryAgain, match="IN-USE"):
        source.messages()


def test_a_server_that_is_not_there_is_told_at_once_and_one_that_has_gone_is_waited_for():
    pop3 = Pop3(mail(2))
    with reached(pop3) as source:
        found = source.messages()
        assert contents(source, found[0])
        source._reach = replace(source._reach, pauses=(0.25,))
        source._drop()
        source._reach, there = replace(source._reach, pop3=Address("pop3", "127.0.0.1", 1)), source._reach
        with pytest.raises(TryAgain, match="cannot be reached"):
            source.messages()
        tried = []
        source._ended.wait = lambda pause: tried.append(pause) or setattr(source, "_reach", there)
        assert contents(source, found[1]) == pop3.mail[1][1]
        assert tried == [0.25]


def test_a_pause_ends_with_the_source():
    pop3 = Pop3(mail(1), logins=[b"-ERR [IN-USE] busy\r\n"] * 4)
    with reached(pop3, pauses=(3600,)) as source:
        source.close()
        with pytest.raises(TryAgain):
            source.messages()
    assert len(pop3.said) == 1


def test_a_message_that_is_refused_is_unreadable_and_the_session_goes_on():
    pop3 = Pop3(mail(2), faults=[lambda talk, _: talk.send(b"-ERR no such file\r\n")])
    with reached(pop3) as source:
        found = source.messages()
        with pytest.raises(Unreadable, match="no such file"):
            contents(source, found[0])
        assert contents(source, found[1]) == pop3.mail[1][1]
    assert len(pop3.said) == 2


def test_a_message_that_is_left_in_the_middle_does_not_spoil_the_next():
    pop3 = Pop3([(b"a", message(1, "x\r\n" * 100_000)), (b"b", message(2))])
    with reached(pop3, pauses=()) as source:
        found = source.messages()
        begun = source.read(found[0])
        next(begun)
        begun.close()
        assert contents(source, found[1]) == message(2)


@pytest.mark.parametrize("said", [1, 10_000, 0, 10**17])
def test_messages_are_whole_whatever_sizes_the_server_says_and_it_is_told_once(said):
    pop3 = Pop3(mail(3), sizes=dict.fromkeys(range(1, 4), said))
    with reached(pop3) as source:
        found = source.messages()
        assert [contents(source, each) for each in found] == [each for _, each in pop3.mail]
        assert len(source.notes) == 1
        assert f"has {len(pop3.mail[0][1])} octets, and not {said}" in source.notes[0]


def test_two_octets_that_a_server_forgets_are_not_told():
    pop3 = Pop3(mail(1))
    pop3.sizes = {1: len(pop3.mail[0][1]) - 2}
    with reached(pop3) as source:
        contents(source, source.messages()[0])
        assert source.notes == []


def test_a_top_that_cuts_messages_is_seen_and_the_rest_read_by_retr():
    cut = lambda talk, data: talk.send(b"+OK\r\n" + stuffed(data[: data.index(b"\r\n.") + 2]))  # noqa: E731 - a fault
    pop3 = Pop3([(b"a", message(1, ".\r\n" * 300))], faults=[cut])
    with reached(pop3) as source:
        assert contents(source, source.messages()[0]) == pop3.mail[0][1]
        assert "does not send whole messages by TOP" in source.notes[0]
    assert pop3.said[1][-2:] == [b"TOP 1 99999999", b"RETR 1"]


def test_a_top_that_sends_something_else_leads_to_retr():
    pop3 = Pop3(mail(1), faults=[lambda talk, _: talk.send(b"+OK\r\nsomething\r\n.\r\n")])
    with reached(pop3) as source, pytest.raises(Unreadable, match="write read=retr"):
        contents(source, source.messages()[0])


def test_a_message_without_an_end_is_not_read_for_ever(monkeypatch):
    monkeypatch.setattr(resumed, "LARGEST", 1_000_000)

    def endless(talk, _):
        talk.send(b"+OK\r\n")
        while True:
            talk.send(b"x" * 998 + b"\r\n")

    with reached(Pop3(mail(2), faults=[endless])) as source:
        found = source.messages()
        with pytest.raises(Unreadable, match="no end"):
            contents(source, found[0])
        assert contents(source, found[1])


def test_a_message_of_more_than_100_mb_is_streamed_also_when_the_line_breaks():
    line = b"x" * 998 + b"\r\n"

    def sent(talk, count):
        talk.send(b"+OK\r\n")
        for _ in range(count):
            talk.send(line * 1000)

    def half(talk, _):
        sent(talk, 60)
        raise Dropped

    def whole(talk, _):
        sent(talk, 110)
        talk.send(b".\r\n")

    with reached(Pop3([(b"a", b"")], sizes={1: 110_000_000}, faults=[half, whole])) as source:
        pieces = [len(piece) for piece in source.read(source.messages()[0])]
        assert sum(pieces) == 110_000_000
        assert max(pieces) < 100_000
        assert source.notes == []


FIRST, SECOND = "01-Jan-2026 12:00:00 +0100", " 2-Feb-2026 00:00:00 +0000"


def test_imap_says_what_was_seen_and_when_messages_arrived():
    pop3 = Pop3([(b"a", message(1)), (b"b", message(2, "longer"))])
    imap = Imap([(message(1), FIRST, r"\Recent"), (message(2, "longer"), SECOND, r"\Answered \SEEN")])
    with reached(pop3, imap) as source:
        assert [(each.received, each.seen) for each in source.messages()] == [
            (JANUARY + 11 * 3600, False),
            (JANUARY + 32 * 86400, True),
        ]
        assert source.notes == []
    assert [line.split(b" ")[1] for line in imap.said[0]] == [
        b"CAPABILITY",
        b"AUTHENTICATE",
        b"EXAMINE",
        b"UID",
        b"LOGOUT",
    ]


def test_imap_in_another_order_and_with_other_messages_is_matched_by_size_and_header():
    bodies = {1: "x", 2: "xx", 3: "x", 4: "xxxx", 5: "x"}
    pop3 = Pop3([(b"%d" % number, message(number, body)) for number, body in bodies.items() if number != 5])
    imap = Imap([(message(number, bodies[number]), FIRST, r"\Seen" * (number in {1, 4})) for number in (5, 4, 3, 1)])
    with reached(pop3, imap) as source:
        found = source.messages()
        assert [each.seen for each in found] == [True, False, False, True]
        assert [each.received for each in found] == [JANUARY + (2 if n == 2 else 11 * 3600) for n in (1, 2, 3, 4)]
        assert len(source.notes) == 1
        assert "message 2, unique-id 2: IMAP does not have it" in source.notes[0]


def test_a_date_of_imap_that_is_none_leaves_the_message_with_a_date():
    with reached(Pop3(mail(1)), Imap([(mail(1)[0][1], "yesterday", "")])) as source:
        assert abs(source.messages()[0].received - time.time()) < 60


def test_a_master_user_logs_in_to_both():
    pop3, imap = Pop3(mail(1)), Imap([(mail(1)[0][1], FIRST, "")])
    with reached(pop3, imap, login=Login("alice", "sesame", "root")) as source:
        source.messages()
    assert b"USER alice*root" in pop3.said[0]
    assert imap.said[0][1].endswith(b"AUTHENTICATE PLAIN")


def test_imap_that_does_not_answer_is_an_error_where_the_place_names_it():
    with (
        reached(Pop3(mail(1)), Imap([], extra=b"* BYE shutting down\r\n")) as source,
        pytest.raises(TryAgain, match="shutting down"),
    ):
        source.messages()


@pytest.mark.parametrize(
    "place",
    [
        "pop3://a:b",
        "pop3://h?tls=x",
        "pop3s://h?auth=x",
        "pop3://h?read=x",
        "pop3://h?imap=pop3://h",
        "pop3:",
        "pop3://h?y=1",
    ],
)
def test_places_that_are_none_are_refused_at_once(place):
    with pytest.raises(ValueError, match=r"server|none of|option|where|begins"):
        read_place(place)


def test_a_place_says_how_its_server_is_reached():
    place = read_place("pop3s://old.example?imap=imaps://old.example:1993&tls=unverified&auth=token&read=retr&ca=/x")
    check_network(place)
    reach = open_source(place, ALICE, None)._reach
    assert (str(reach.pop3), str(reach.imap), reach.trust.tls, reach.trust.authorities) == (
        "old.example:995",
        "old.example:1993",
        "unverified",
        "/x",
    )
    assert reach.token
    assert not reach.top


def test_the_page_names_every_option_and_choice():
    page = Path(__file__).parents[2].joinpath("docs/commands.md").read_text()
    assert KINDS["pop3"].options
    assert all(f"`{option}=" in page for option in KINDS["pop3"].options)
    assert all(f"`{name}={value}" in page for name, values in network._CHOICES.items() for value in values)
    assert ", ".join(f"{pause:g}" for pause in network.PAUSES[:-1]) + f" and {network.PAUSES[-1]:g} seconds" in page


def test_a_message_of_no_list_is_the_caller_s_fault():
    with reached(Pop3(mail(0))) as source, pytest.raises(KeyError):
        contents(source, Original("x", b"", 0, False))
