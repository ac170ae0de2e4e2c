"""The preamble, to the octet: whole, byte by byte and with POP3 behind it; every limit and every refusal."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailserver.errors import TemporaryFailure
from mailserver.protocol.effects import Close
from mailserver.protocol.kpop import AP_REQ_LIMIT, KPOP_VERSION, SENDAUTH_VERSION, Accept, Preamble, TurnAway
from tests.protocol import der
from tests.protocol.oracle import thorough

HELLO = b"\0\0\0\x13KRB5_SENDAUTH_V1.0\0\0\0\0\x09KPOPV1.0\0"
AP_REQ = b"\x6e\x82\x02\x50" + b"t" * 592
NO_KERBEROS = b"-ERR this port needs Kerberos 5 (KPOP)\r\n"


def piece(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


class Talk:
    """A preamble and what came of it; `verdict` answers an AP-REQ: an AP-REP or None, or the code of an error."""

    def __init__(self, verdict: bytes | int | None = None) -> None:
        self.preamble = Preamble()
        self.verdict = verdict
        self.effects: list[object] = []
        self.rest: bytes | None = None

    def send(self, data: bytes) -> bytes:
        """What the server answers to these octets; after the acceptance they are kept as POP3's."""
        if self.rest is not None:
            self.rest += data
            return b""
        self.preamble.feed(data)
        while (effect := self.preamble.next()) is not None:
            self.effects.append(effect)
            if isinstance(effect, Accept):
                assert self.preamble.busy
                assert self.preamble.next() is None
                self.answer()
            assert not self.preamble.busy
        return b"".join(self.preamble.take())

    def answer(self) -> None:
        if isinstance(self.verdict, int):
            self.preamble.refused(self.verdict, 0, b"KPOP.TEST", [b"pop", b"localhost"])
        else:
            self.rest = self.preamble.accepted(self.verdict)


def whole(talk: Talk, data: bytes) -> bytes:
    return talk.send(data)


def byte_by_byte(talk: Talk, data: bytes) -> bytes:
    return b"".join(talk.send(data[at : at + 1]) for at in range(len(data)))


ways = pytest.mark.parametrize("way", [whole, byte_by_byte])


@ways
def test_a_client_that_trusts_the_server_is_let_in_without_an_ap_rep(way):
    talk = Talk()
    assert way(talk, HELLO) == b"\0"
    assert way(talk, piece(AP_REQ)) == b"\0\0\0\0"
    assert talk.effects == [Accept(AP_REQ)]
    assert talk.rest == b""


@ways
def test_mutual_authentication_sends_the_ap_rep_behind_the_acceptance(way):
    talk = Talk(b"\x6fREP")
    assert way(talk, HELLO + piece(AP_REQ)) == b"\0" + b"\0\0\0\0" + b"\0\0\0\x04\x6fREP"


@ways
def test_what_is_pipelined_behind_the_ap_req_is_left_for_pop3(way):
    talk = Talk()
    assert way(talk, HELLO + piece(AP_REQ) + b"CAPA\r\nUSER alice\r\n") == b"\0\0\0\0\0"
    assert talk.rest == b"CAPA\r\nUSER alice\r\n"


def test_what_is_pipelined_waits_while_the_ap_req_is_verified():
    preamble = Preamble()
    preamble.feed(HELLO + piece(AP_REQ) + piece(AP_REQ))
    assert preamble.next() == Accept(AP_REQ)
    preamble.feed(b"more")
    assert preamble.next() is None
    assert preamble.unread == len(piece(AP_REQ)) + 4
    assert preamble.accepted(None) == piece(AP_REQ) + b"more"


def test_the_answer_to_the_versions_waits_for_both_of_them():
    talk = Talk()
    assert talk.send(HELLO[:-1]) == b""
    assert talk.send(HELLO[-1:]) == b"\0"


@ways
@pytest.mark.parametrize(
    ("sendauth", "kpop", "answer"),
    [
        (b"KRB5_SENDAUTH_V2.0\0", KPOP_VERSION, b"\1"),
        (b"KRB5_SENDAUTH_V1.0", KPOP_VERSION, b"\1"),
        (b"x", b"KPOPV2.0\0", b"\1"),
        (b"x" * 64, KPOP_VERSION, b"\1"),
        (SENDAUTH_VERSION, b"KPOPV1.1\0", b"\2"),
        (SENDAUTH_VERSION, b"KPOPV1.0", b"\2"),
        (SENDAUTH_VERSION, b"kpopv1.0\0", b"\2"),
        (SENDAUTH_VERSION, b"x" * 64, b"\2"),
        (SENDAUTH_VERSION, b"", b"\2"),
    ],
)
def test_other_versions_are_told_by_the_octet_that_mit_s_server_sends(way, sendauth, kpop, answer):
    talk = Talk()
    assert way(talk, piece(sendauth) + piece(kpop)) == answer
    (effect,) = talk.effects
    assert isinstance(effect, TurnAway)


@ways
@pytest.mark.parametrize("length", [65, 0xFFFF, 2**31, 2**32 - 1])
@pytest.mark.parametrize(("sendauth", "answer"), [(SENDAUTH_VERSION, b"\2"), (b"other", b"\1")])
def test_an_application_version_of_more_than_64_octets_is_not_waited_for(way, length, sendauth, answer):
    talk = Talk()
    assert way(talk, piece(sendauth) + length.to_bytes(4, "big")) == answer
    assert len(talk.effects) == 1


@ways
@pytest.mark.parametrize(
    "hello",
    [
        b"AUTHV0.1KPOPV0.1\0\0\0\x04KTXT",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"CAPA\r\n",
        b"\r\n\r\n",
        b"\0\0\0\0",
        b"\0\0\0\x41",
        b"\x80\0\0\0",
        b"\xff\xff\xff\xff",
    ],
    ids=["kpop-4", "tls", "pop3", "line-ends", "nothing", "long", "2-gb", "4-gb"],
)
def test_who_does_not_speak_sendauth_gets_a_line_to_print_as_soon_as_four_octets_tell(way, hello):
    talk = Talk()
    assert way(talk, hello[:3]) == b""
    assert way(talk, hello[3:]) == NO_KERBEROS
    assert talk.effects == [TurnAway(f"no sendauth, it began with {hello[:4]!r}")]
    assert talk.send(HELLO) == b""


def test_the_line_for_strangers_has_no_word_that_fetchmail_takes_for_a_busy_maildrop():
    assert not any(word in NO_KERBEROS.lower() for word in (b"lock", b"wait", b"in-use", b"unavailable"))


@ways
@pytest.mark.parametrize("length", [0, AP_REQ_LIMIT + 1, 2**31 - 1, 2**31, 2**32 - 1])
def test_an_ap_req_of_no_possible_size_is_not_waited_for(way, length):
    talk = Talk()
    assert way(talk, HELLO + length.to_bytes(4, "big")) == b"\0"
    assert talk.effects == [TurnAway(f"no AP-REQ has {length} octets")]


def test_an_ap_req_may_have_128_kib():
    talk = Talk()
    data = HELLO + piece(b"t" * AP_REQ_LIMIT)
    assert talk.send(data[:-1]) == b"\0"
    assert talk.preamble.unread == 0, "reading would stop, and the rest never come"
    assert talk.send(data[-1:]) == b"\0\0\0\0"


@ways
def test_a_refused_ticket_is_answered_by_a_krb_error_and_the_end(way):
    talk = Talk(34)
    assert way(talk, HELLO) == b"\0"
    answer = way(talk, piece(AP_REQ))
    assert int.from_bytes(answer[:4], "big") == len(answer) - 4
    read = der.error(answer[4:])
    assert (read["code"], read["realm"], read["server"]) == (34, b"KPOP.TEST", [b"pop", b"localhost"])
    assert talk.effects == [Accept(AP_REQ), Close()]
    assert talk.send(HELLO + piece(AP_REQ)) == b""
    assert talk.effects == [Accept(AP_REQ), Close()]


def test_a_client_that_said_nothing_until_its_time_was_up_is_told_what_it_may_be_missing():
    preamble = Preamble()
    preamble.expire()
    assert preamble.take() == [NO_KERBEROS]


@pytest.mark.parametrize("begun", [b"\0", piece(SENDAUTH_VERSION), HELLO, HELLO + b"\0\0\1\0"])
def test_one_that_began_as_a_client_of_kpop_is_not(begun):
    talk = Talk()
    talk.send(begun)
    talk.preamble.expire()
    assert talk.preamble.take() == []


def test_there_are_no_last_words_but_those_that_were_due():
    preamble = Preamble()
    preamble.feed(HELLO)
    assert preamble.next() is None
    assert preamble.last_words(TemporaryFailure()) == [b"\0"]


def test_an_answer_that_nothing_asked_for_is_a_bug():
    preamble = Preamble()
    with pytest.raises(RuntimeError):
        preamble.accepted(None)
    with pytest.raises(RuntimeError):
        preamble.refused(60, 0, b"", [])


def test_what_is_left_unread_shows_that_a_stranger_may_still_be_talking():
    talk = Talk()
    talk.send(b"AUTHV0.1KPOPV0.1")
    assert talk.preamble.unread == 16


def test_a_ticket_does_not_show_in_a_log():
    assert "ttt" not in repr(Accept(AP_REQ))


pieces = st.one_of(st.sampled_from([SENDAUTH_VERSION, KPOP_VERSION, AP_REQ]), st.binary(max_size=80)).map(piece)
streams = st.one_of(
    st.binary(max_size=200), st.lists(st.one_of(pieces, st.binary(max_size=9)), max_size=6).map(b"".join)
)


@thorough
@given(data=streams, verdict=st.one_of(st.none(), st.binary(max_size=9), st.integers(0, 127)))
@example(data=HELLO + piece(AP_REQ) + b"CAPA\r\n", verdict=b"rep")
@example(data=HELLO + piece(AP_REQ), verdict=40)
def test_any_octets_get_an_answer_that_a_client_can_read_however_they_are_split(data, verdict):
    first, second = Talk(verdict), Talk(verdict)
    answer = whole(first, data)
    assert answer == byte_by_byte(second, data)
    assert (first.effects, first.rest) == (second.effects, second.rest)
    assert well_formed(answer, verdict)
    assert len(first.effects) <= 2


def well_formed(answer: bytes, verdict: bytes | int | None) -> bool:
    if answer in (b"", b"\0", b"\1", b"\2", NO_KERBEROS):
        return True
    if isinstance(verdict, int):
        assert answer[0] == 0
        assert answer[1:] == piece(answer[5:])
        return bool(der.error(answer[5:]))
    return answer == b"\0\0\0\0\0" + (b"" if verdict is None else piece(verdict))
