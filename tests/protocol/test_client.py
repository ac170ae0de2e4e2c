"""A client that sends anything whatever can read every answer, and it matters not how its octets arrive."""

import re
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from mailserver.protocol.effects import Commit, Login, State
from mailserver.protocol.pop3 import Policy
from tests.corpus import canonical
from tests.protocol.oracle import CHALLENGE, read_reply, take_status, thorough
from tests.protocol.world import MECHANISMS, OracleMechanism, Settings, World

MESSAGES = (b"Subject: a\n\n.body\n..\n", b"", b".\r\n.\n", b"\r", b"no end", b"Subject: x\r\n\r\n" + b"line\r\n" * 5)
SETTINGS = Settings(
    Policy(
        b"mail.example.org",
        cleartext=True,
        mechanisms=(*MECHANISMS, OracleMechanism()),
        failures=4,
        bad_commands=8,
        sdps=True,
    ),
    stamp=b"<1@mail.example.org>",
    messages=MESSAGES,
    gone=frozenset({5}),
    left=1,
)
SENSIBLE = [
    b"USER alice",
    b"PASS secret",
    b"PASS wrong",
    b"USER",
    b"CAPA",
    b"AUTH",
    b"AUTH PLAIN",
    b"AUTH PLAIN AGFsaWNlAHNlY3JldA==",
    b"AGFsaWNlAHNlY3JldA==",
    b"AUTH LOGIN",
    b"YWxpY2U=",
    b"c2VjcmV0",
    b"AUTH RIDDLE YWxpY2U=",
    b"*",
    b"=",
    b"",
    b"QUIT",
    b"STAT",
    b"RSET",
    b"NOOP",
    b"LIST",
    b"UIDL",
    b"DELE 99999999999999999999",
    b"TOP 1 99999999999999999999",
    b"STLS",
    b"GET / HTTP/1.1",
    b"\x16\x03\x01",
    *(
        b"%b %d" % (verb, number)
        for verb in (b"LIST", b"UIDL", b"RETR", b"DELE", b"*ENV")
        for number in range(len(MESSAGES) + 1)
    ),
    *(b"TOP %d %d" % (number, lines) for number in range(1, len(MESSAGES) + 1) for lines in (0, 1, 9)),
]
VERBS = sorted({line.split(b" ")[0] for line in SENSIBLE if line})
ODD = st.binary(max_size=40) | st.binary(min_size=200, max_size=300) | st.sampled_from(VERBS).map(bytes.lower)
LINES = st.one_of(
    st.sampled_from(SENSIBLE),
    st.sampled_from(SENSIBLE),
    st.builds(b"%b %b".__mod__, st.tuples(st.sampled_from(VERBS), st.binary(max_size=20))),
    ODD,
).map(lambda line: line.replace(b"\n", b""))
DIALOGS = st.builds(
    lambda login, lines: [*login, *lines],
    st.sampled_from([[], [b"USER alice", b"PASS secret"]]),
    st.lists(LINES, max_size=30),
)


def talk(lines):
    """One line after another, each with the answer that the client reads: exactly one, well framed."""
    world = World(SETTINGS)
    status, rest = take_status(world.run())
    assert rest == b""
    expects_response = False
    for line in lines:
        output = world.send(line + b"\r\n")
        if expects_response:
            status, rest = take_status(output)
            content = b""
        else:
            status, content, rest = read_reply(line.removesuffix(b"\r"), output)
        assert rest == b"", "one line has one answer"
        expects_response = bool(CHALLENGE.fullmatch(status))
        yield line, status, content, world
        if world.closed:
            assert world.session.state is State.CLOSED
            assert world.send(b"NOOP\r\n") == b""
            return


@thorough
@given(DIALOGS)
@example([b"USER alice", b"PASS secret", *SENSIBLE])
@example(SENSIBLE)
def test_every_line_has_one_well_framed_answer(lines):
    for _ in talk(lines):
        pass


@thorough
@given(DIALOGS)
def test_a_message_is_as_long_as_list_says_and_is_the_message(lines):
    for line, status, content, _ in talk([b"USER alice", b"PASS secret", *lines]):
        if line.upper().startswith(b"RETR ") and status.startswith(b"+OK"):
            number = int(line.split()[1])
            assert content == canonical(MESSAGES[number - 1])
            assert status == b"+OK %d octets" % len(content)


@thorough
@given(DIALOGS)
def test_nothing_is_removed_without_quit(lines):
    world = None
    for line, _, _, world in talk(lines):
        if line.split() != [b"QUIT"] and line.upper().strip() != b"QUIT":
            assert world.count(Commit) == 0
    assert world is None or world.count(Commit) <= 1


@thorough
@given(DIALOGS)
def test_nobody_gets_in_without_the_right_password(lines):
    for _, _, _, world in talk(lines):
        if world.session.state is State.TRANSACTION:
            last = [effect for effect in world.effects if isinstance(effect, Login)][-1]
            assert last.credentials.username == b"alice"
            assert last.credentials.checkPassword(b"secret")


def cut(data, edges):
    marks = [0, *sorted(edge % (len(data) + 1) for edge in edges), len(data)]
    return [data[start:end] for start, end in pairwise(marks)]


ENDED = st.tuples(LINES, st.sampled_from([b"\r\n", b"\r\n", b"\n", b""])).map(b"".join)


@thorough
@given(st.lists(ENDED).map(b"".join) | st.binary(), st.lists(st.integers(0, 2000)))
def test_any_octets_are_answered_the_same_however_they_arrive(data, edges):
    outcomes = []
    for pieces in ([data], cut(data, edges), [data[at : at + 1] for at in range(len(data))]):
        world = World(SETTINGS)
        output = world.run() + b"".join(map(world.send, pieces))
        outcomes.append((output, world.effects, world.session.state, world.session.deleted))
    assert outcomes[0] == outcomes[1] == outcomes[2]


@thorough
@given(st.binary(), st.booleans())
def test_any_octets_cause_no_fault_in_either_state(data, logged_in):
    world = World(SETTINGS)
    if logged_in:
        world.send(b"USER alice\r\nPASS secret\r\n")
    output = world.run() + world.send(data + b"\r\n")
    assert output.endswith(b"\r\n")
    assert re.fullmatch(rb"(?:[^\n]*\r\n)*", output)
