"""What the dialogs cannot show: answers that do not fit, input that is held, and what the slots hold."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailserver.credentials import Apop, Password
from mailserver.envelope import Envelope as Details
from mailserver.errors import AuthenticationFailed, BadCommand, InUse, Refusal, TemporaryFailure
from mailserver.interfaces import Terms
from mailserver.protocol.effects import MOVES, Close, Commit, Envelope, Login, Retrieve, Sasl, StartTLS, State, Turn
from mailserver.protocol.pop3 import Policy, Session
from mailserver.protocol.pop3_commands import COMMANDS
from mailserver.protocol.weights import TURN_OCTETS
from mailserver.snapshot import BLOCK, Message, Snapshot
from tests.protocol.oracle import thorough
from tests.protocol.world import MECHANISMS, OracleMechanism, Settings, World

POLICY = Policy(b"host", stls=True, cleartext=True, sdps=True, mechanisms=(*MECHANISMS, OracleMechanism()))
LONG = Snapshot.of([Message(b"%d" % number, 3, wire=True) for number in range(3 * BLOCK)])

ANSWERS = {
    "tls_started": lambda session: session.tls_started(),
    "answered": lambda session: session.answered(b"x"),
    "login_ok": lambda session: session.login_ok(LONG),
    "opened": lambda session: session.opened(),
    "sent": lambda session: session.sent(),
    "committed": lambda session: session.committed(0),
    "enveloped": lambda session: session.enveloped(Details(b"", (b"a@b",), b"c", b"-")),
    "turned": lambda session: session.turned(),
    "refused": lambda session: session.refused(TemporaryFailure()),
}


def asking(command=b"", *, logged_in=True):
    """A session that has just asked the world for what this command needs."""
    session = Session(POLICY, COMMANDS)
    if logged_in:
        session.feed(b"USER a\r\nPASS b\r\n")
        assert session.next() == Login(Password(b"a", b"b"), b"USER")
        session.login_ok(LONG)
    session.feed(command)
    effect = session.next()
    session.take()
    return session, effect


def sending():
    session, effect = asking(b"RETR 1\r\n")
    session.opened()
    return session, effect


OPEN = {
    "nothing": (asking, None, set()),
    "StartTLS": (lambda: asking(b"STLS\r\n", logged_in=False), StartTLS, {"tls_started"}),
    "Sasl": (lambda: asking(b"AUTH RIDDLE Ym9i\r\n", logged_in=False), Sasl, {"answered", "refused"}),
    "Login": (lambda: asking(b"AUTH PLAIN AGEAYg==\r\n", logged_in=False), Login, {"login_ok", "refused"}),
    "Retrieve": (lambda: asking(b"RETR 1\r\n"), Retrieve, {"opened", "refused"}),
    "Retrieve, opened": (sending, Retrieve, {"sent"}),
    "Envelope": (lambda: asking(b"*ENV 1\r\n"), Envelope, {"enveloped", "refused"}),
    "Commit": (lambda: asking(b"QUIT\r\n"), Commit, {"committed", "refused"}),
    "Turn": (lambda: asking(b"LIST\r\n"), Turn, {"turned"}),
    "Close": (lambda: asking(b"QUIT\r\n", logged_in=False), Close, set()),
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("effect", OPEN)
def test_each_effect_takes_its_own_answers_and_no_others(effect, answer):
    make, kind, fitting = OPEN[effect]
    session, asked = make()
    assert type(asked) is (kind or type(None))
    if answer in fitting:
        ANSWERS[answer](session)
    else:
        before = session.state, session.busy
        with pytest.raises(RuntimeError):
            ANSWERS[answer](session)
        assert (session.state, session.busy) == before
        assert session.take() in ([], [b"+OK 3 octets\r\n"]), "nothing was said"


@pytest.mark.parametrize("effect", [name for name in OPEN if name != "nothing"])
def test_input_is_held_and_counted_while_an_effect_is_open(effect):
    session, _ = OPEN[effect][0]()
    session.take()
    assert session.busy
    assert session.unread == 0
    session.feed(b"NOOP\r\nQUIT\r\n")
    assert session.next() is None
    assert session.take() == []
    assert session.unread == len(b"NOOP\r\nQUIT\r\n")


def test_what_was_held_is_read_after_the_answer():
    session, _ = asking(b"RETR 1\r\nSTAT\r\n")
    session.opened()
    session.sent()
    assert not session.busy
    assert session.next() is None
    assert session.take() == [b"+OK 3 octets\r\n", b"+OK %d %d\r\n" % (len(LONG), LONG.total)]
    assert session.unread == 0


def test_a_state_is_entered_from_the_states_that_lead_to_it_only():
    for state in State:
        for target in set(State) - MOVES[state]:
            session = Session(POLICY, COMMANDS)
            session.state = state
            with pytest.raises(RuntimeError):
                session._move(target)


def test_an_over_session_has_no_commands():
    assert COMMANDS.tables[State.CLOSED] == COMMANDS.tables[State.UPDATE] == {}


def test_a_message_that_is_refused_can_be_asked_for_again():
    session, _ = asking(b"RETR 1\r\nRETR 1\r\n")
    session.refused(TemporaryFailure())
    assert session.take() == [b"-ERR [SYS/TEMP] temporary failure, please try again later\r\n"]
    assert session.next() == Retrieve(1)


def test_a_refusal_during_commit_ends_the_session():
    session, _ = asking(b"QUIT\r\n")
    assert session.state is State.UPDATE
    session.refused(InUse())
    assert session.next() == Close()
    assert session.state is State.CLOSED


def test_an_exchange_ends_with_its_login():
    """The line behind a refused AUTH is a command again, not a response."""
    session, _ = asking(b"AUTH PLAIN AGEAYg==\r\nCAPA\r\n", logged_in=False)
    session.refused(AuthenticationFailed())
    session.next()
    assert session.take()[1].startswith(b"+OK capabilities")


@pytest.mark.parametrize("messages", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 1, 5 * BLOCK])
@pytest.mark.parametrize("command", [b"LIST", b"UIDL"])
def test_a_listing_is_whole_whatever_its_blocks(messages, command):
    world = World(Settings(messages=[b"x"] * messages))
    world.send(b"USER alice\r\nPASS secret\r\n")
    listing = world.send(command + b"\r\n")
    assert listing.count(b"\r\n") == messages + 2


@pytest.mark.parametrize("commands", [b"LIST\r\n", b"UIDL\r\n", b"UIDL\r\nLIST\r\n" * 40, b"CAPA\r\n" * 5000])
def test_listings_give_way_before_they_fill_the_memory(commands):
    session, _ = asking()
    session.feed(commands)
    effect = session.next()
    longest = max(map(len, (LONG.scan_block(0), LONG.unique_block(0))))
    written = []
    while effect == Turn():
        written.append(b"".join(session.take()))
        session.turned()
        effect = session.next()
    written.append(b"".join(session.take()))
    assert max(map(len, written)) < TURN_OCTETS + longest + 512
    assert b"".join(written).endswith(b"\r\n.\r\n")


def test_an_unmarked_block_of_a_listing_is_the_text_of_the_snapshot_itself():
    session, _ = asking()
    session.feed(b"DELE 1\r\nLIST\r\n")
    effect = session.next()
    blocks = session.take()
    while effect == Turn():
        session.turned()
        effect = session.next()
        blocks += session.take()
    assert any(block is LONG.scan_block(2) for block in blocks)


def slots(session):
    """Everything a session knows, but for what it has said and read, and for its own place in the world."""
    known = {name: getattr(session, name) for name in Session.__slots__ if name not in {"_out", "_buffer", "_work"}}
    assert known.pop("_exchanges") is None
    return known


@thorough
@given(st.lists(st.sampled_from([b"DELE %d" % n for n in range(7)] + [b"STAT", b"LIST", b"UIDL 2", b"RETR 3", b"XYZ"])))
@example([b"DELE 1", b"DELE 2", b"DELE 3", b"DELE 4", b"DELE 5"])
def test_after_rset_a_session_equals_a_fresh_one(commands):
    settings = Settings(messages=[b"x" * n for n in range(5)])
    login = b"USER alice\r\nPASS secret\r\n"
    fresh, used = World(settings), World(settings)
    fresh.send(login + b"RSET\r\n")
    used.maildrop = fresh.maildrop
    used.send(login + b"".join(command + b"\r\n" for command in commands) + b"RSET\r\n")
    if used.closed:  # ten bad commands in a row
        assert commands.count(b"XYZ") >= used.settings.policy.bad_commands
    else:
        assert slots(used.session) == slots(fresh.session)
    assert used.count(Commit) == 0


def test_bad_commands_are_counted_in_a_row_and_failures_in_all():
    policy = Policy(b"host", cleartext=True, mechanisms=MECHANISMS, failures=2, bad_commands=2)
    world = World(Settings(policy))
    for line in (b"XYZ", b"USER alice", b"PASS wrong", b"XYZ", b"CAPA", b"XYZ"):
        world.send(line + b"\r\n")
        assert not world.closed
    world.send(b"AUTH PLAIN AGEAYg==\r\n")
    assert world.closed


def test_a_message_number_that_is_not_there_is_no_bad_command():
    world = World(Settings(Policy(b"host", cleartext=True, bad_commands=2)))
    world.send(b"USER alice\r\nPASS secret\r\n" + b"RETR 1\r\n" * 50)
    assert not world.closed


def test_effects_show_no_secret():
    assert "tan" not in repr(Login(Password(b"alice", b"tanstaaf"), b"USER"))
    assert "tan" not in repr(Login(Apop(b"<1@h>", b"alice", b"tanstaaf"), b"APOP"))


def test_a_fatal_or_hopeless_refusal_closes_after_it_was_said():
    session = Session(Policy(b"host", bad_commands=1), COMMANDS)
    session.feed(b"XYZ\r\nCAPA\r\n")
    assert session.next() == Close()
    assert session.take()[1:] == [b"-ERR %b\r\n" % BadCommand().line]
    assert session.next() is None


def test_the_last_words_follow_the_replies_that_were_still_to_be_written():
    session, _ = asking()
    session.take()
    session.feed(b"NOOP\r\n")
    session.next()
    assert b"".join(session.last_words(Refusal(b"farewell"))) == b"+OK\r\n-ERR farewell\r\n"


@thorough
@given(
    st.lists(
        st.sampled_from([b"RETR %d" % n for n in range(1, 5)] + [b"TOP 2 1", b"DELE 1", b"DELE 3", b"RSET", b"XYZ"])
    ),
    st.sampled_from([Terms(), Terms(expire_days=0), Terms(expire_days=9), Terms(read_only=True, expire_days=0)]),
)
def test_nothing_is_removed_before_quit_and_at_quit_only_what_was_marked_or_downloaded(commands, terms):
    world = World(Settings(messages=[b"x", b"y", b"z"], gone=frozenset({2}), terms=terms))
    world.send(b"USER alice\r\nPASS secret\r\n")
    marked, downloaded = set(), set()
    for command in commands:
        good = world.send(command + b"\r\n").startswith(b"+OK")
        verb, _, number = command.partition(b" ")
        if command == b"RSET":
            marked, downloaded = set(), set()
        elif good and verb == b"DELE":
            marked.add(int(number))
        elif good and verb == b"RETR":
            downloaded.add(int(number))
    assert world.count(Commit) == 0
    if world.closed:  # ten bad commands in a row
        return
    world.send(b"QUIT\r\n")
    (commit,) = (effect for effect in world.effects if isinstance(effect, Commit))
    assert list(commit.numbers) == sorted(marked | (downloaded if terms == Terms(expire_days=0) else set()))
