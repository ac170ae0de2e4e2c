"""What the dialogs of LMTP cannot show: answers that do not fit, input that is held, what a session tells the network."""

import pytest

from mailserver.errors import NoRoom, TemporaryFailure, WrongProtocol
from mailserver.protocol.effects import Close, StartTLS, Turn
from mailserver.protocol.lmtp import Session
from mailserver.protocol.lmtp_commands import COMMANDS
from mailserver.protocol.lmtp_effects import Deliver, Forget, Recipient, Write
from mailserver.protocol.lmtp_policy import Client, LmtpPolicy
from mailserver.protocol.lmtp_state import MOVES, State
from mailserver.smtp_errors import NotTrusted, UnknownRecipient
from tests.protocol.lmtp_world import Settings, World

POLICY = LmtpPolicy(b"host", stls=True)
ENVELOPE = b"LHLO client\r\nMAIL FROM:<a@b>\r\nRCPT TO:<alice>\r\n"

ANSWERS = {
    "tls_started": lambda session: session.tls_started(),
    "accepted": lambda session: session.accepted(),
    "written": lambda session: session.written(),
    "delivered": lambda session: session.delivered([None]),
    "turned": lambda session: session.turned(),
    "refused": lambda session: session.refused(TemporaryFailure()),
}


def asking(command=b"", *, envelope=False, written=False):
    """A session that has just asked the world for what this command needs."""
    session = Session(POLICY, COMMANDS)
    if envelope:
        session.feed(ENVELOPE)
        assert session.next() == Recipient(b"alice")
        session.accepted()
    session.feed(command)
    effect = session.next()
    if written:
        assert effect == Write(b"x\r\n")
        session.written()
        effect = session.next()
    session.take()
    return session, effect


OPEN = {
    "nothing": (asking, None, set()),
    "StartTLS": (lambda: asking(b"STARTTLS\r\n"), StartTLS, {"tls_started"}),
    "Recipient": (lambda: asking(ENVELOPE), Recipient, {"accepted", "refused"}),
    "Write": (lambda: asking(b"DATA\r\nx\r\n.\r\n", envelope=True), Write, {"written"}),
    "Deliver": (
        lambda: asking(b"DATA\r\nx\r\n.\r\n", envelope=True, written=True),
        Deliver,
        {"delivered", "refused"},
    ),
    "Turn": (lambda: asking(b"NOOP\r\n" * 500), Turn, {"turned"}),
    "Forget": (lambda: asking(b"RSET\r\n", envelope=True), Forget, set()),
    "Close": (lambda: asking(b"QUIT\r\n"), Close, set()),
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("effect", OPEN)
def test_each_effect_takes_its_own_answers_and_no_others(effect, answer):
    make, kind, fitting = OPEN[effect]
    session, asked = make()
    assert type(asked) is (kind or type(None))
    if answer in fitting:
        ANSWERS[answer](session)
        return
    before = session.state, session.busy
    with pytest.raises(RuntimeError):
        ANSWERS[answer](session)
    assert (session.state, session.busy) == before
    assert session.take() == []


@pytest.mark.parametrize("effect", [name for name in OPEN if name not in ("nothing", "Forget")])
def test_input_is_held_and_counted_while_an_effect_is_open(effect):
    session, _ = OPEN[effect][0]()
    assert session.busy
    before = session.unread
    session.feed(b"NOOP\r\nQUIT\r\n")
    assert session.next() is None
    assert session.take() == []
    assert session.unread == before + len(b"NOOP\r\nQUIT\r\n")


@pytest.mark.parametrize("outcomes", [[], [None, None]])
def test_outcomes_that_are_not_one_for_each_recipient_are_a_bug(outcomes):
    session, _ = OPEN["Deliver"][0]()
    with pytest.raises(RuntimeError):
        session.delivered(outcomes)
    session.delivered([NoRoom()])
    assert session.take() == [b"452 4.3.1 no room for the message, please try again later\r\n"]


def test_a_state_is_entered_from_the_states_that_lead_to_it_only():
    for state in State:
        for target in set(State) - MOVES[state]:
            session = Session(POLICY, COMMANDS)
            session.state = state
            with pytest.raises(RuntimeError):
                session._move(target)


def test_every_verb_is_known_in_every_state_but_that_of_a_session_that_is_over():
    *tables, over = COMMANDS.tables.values()
    browsers = {b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"CONNECT"}
    assert {frozenset(table.keys() - browsers) for table in tables} == {frozenset(tables[1])}
    assert over == {}


def test_a_message_under_way_is_no_effect_and_is_told():
    world = World()
    world.send(ENVELOPE + b"DATA\r\nx\r\n")
    assert (world.session.receiving, world.session.busy, world.session.unread) == (True, False, 0)
    world.send(b".\r\n")
    assert not world.session.receiving
    world.send(b"BDAT 3\r\n")
    assert world.session.receiving


def test_the_last_words_are_a_421_behind_the_replies_so_far():
    session = Session(LmtpPolicy(b"host"), COMMANDS)
    stop = TemporaryFailure(b"the server is stopping")
    assert session.last_words(stop) == [b"220 host LMTP server ready\r\n", b"421 4.3.0 the server is stopping\r\n"]
    assert session.last_words(NoRoom()) == [b"421 4.3.1 no room for the message, please try again later\r\n"]


@pytest.mark.parametrize(
    ("tls", "parameters", "keyword"),
    [
        (False, b"", b"LMTP"),
        (True, b"", b"LMTPS"),
        (False, b" SMTPUTF8", b"UTF8LMTP"),
        (True, b" SMTPUTF8", b"UTF8LMTPS"),
    ],
)
def test_the_keyword_of_the_trace_field_tells_what_was_spoken(tls, parameters, keyword):
    world = World(Settings(tls=tls))
    assert world.session.protocol == (b"LMTPS" if tls else b"LMTP")
    world.send(b"LHLO x\r\nMAIL FROM:<>%b\r\n" % parameters)
    assert world.session.protocol == keyword


def test_who_sends_is_what_xclient_said_and_else_unknown_here():
    world = World(Settings(LmtpPolicy(xclient=True)))
    world.send(b"LHLO proxy.example\r\n")
    assert world.session.client == Client(b"proxy.example")
    assert world.session.client.host == b"proxy.example"
    world.send(b"XCLIENT NAME=[unavailable] ADDR=IPv6:2001:db8::1 PORT=33333 HELO=spike+2Bx PROTO=ESMTP\r\n")
    world.send(b"XCLIENT LOGIN=[TEMPUNAVAIL] DESTADDR=192.0.2.1 DESTPORT=[UNAVAILABLE]\r\nLHLO proxy.example\r\n")
    assert world.session.client == Client(
        greeted=b"proxy.example",
        helo=b"spike+x",
        name="",
        address="2001:db8::1",
        port=33333,
        protocol=b"ESMTP",
        login=b"",
        destination="192.0.2.1",
        destination_port=0,
    )
    assert world.session.client.host == b"spike+x"


def test_a_value_of_xclient_is_as_long_as_a_name_can_be():
    world = World(Settings(LmtpPolicy(xclient=True)))
    world.send(b"XCLIENT NAME=%b\r\n" % (b"a" * 255))
    assert world.session.client.name == "a" * 255


def test_tls_forgets_who_the_client_was():
    world = World(Settings(LmtpPolicy(xclient=True, stls=True)))
    world.send(b"XCLIENT ADDR=192.0.2.1\r\nLHLO x\r\nSTARTTLS\r\n")
    assert world.session.client == Client()
    assert world.session.tls


def test_what_the_operator_is_told_and_what_ended_the_session():
    world = World()
    world.send(b"XCLIENT ADDR=192.0.2.1\r\n")
    assert isinstance(world.session.remark, NotTrusted)
    world.send(b"GET / HTTP/1.1\r\n")
    assert isinstance(world.session.closed_by, WrongProtocol)
    assert (world.session.remark, world.closed) == (world.session.closed_by, True)


def test_a_transaction_tells_what_mail_said():
    world = World()
    world.send(b"LHLO x\r\nMAIL FROM:<a@b> SIZE=7 BODY=8bitmime SMTPUTF8\r\nRCPT TO:<bob>\r\nDATA\r\n..x\r\n")
    mail = world.session.mail
    assert (mail.path, mail.size, mail.body, mail.utf8) == (b"a@b", 7, b"8BITMIME", True)
    assert (mail.recipients, mail.octets) == (1, 4)


def test_without_a_transaction_there_is_no_mail():
    with pytest.raises(RuntimeError):
        _ = Session(POLICY, COMMANDS).mail


def test_a_few_recipients_are_a_turn_since_each_is_looked_up_and_may_be_logged():
    session = Session(POLICY, COMMANDS)
    session.feed(b"LHLO x\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<nobody>\r\n" * 100)
    asked: list[int] = [0]
    while (effect := session.next()) is not None:
        if isinstance(effect, Turn):
            asked.append(0)
            session.turned()
        else:
            asked[-1] += 1
            session.refused(UnknownRecipient())
    assert sum(asked) == 100
    assert max(asked) <= 10
