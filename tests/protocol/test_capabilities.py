"""CAPA tells no lie: for every policy, state and line, what is announced works and what is not is refused."""

from hashlib import md5
from itertools import product

import pytest

from mailserver.errors import BadCommand, InUse, NeedsTLS
from mailserver.protocol.effects import StartTLS, State
from mailserver.protocol.pop3 import Policy
from mailserver.protocol.pop3_commands import COMMANDS, STANDING
from tests.protocol.oracle import read_reply, unstuff
from tests.protocol.world import MECHANISMS, OracleMechanism, Settings, World

STAMP = b"<1@mail.example.org>"
APOP = b"APOP alice " + md5(STAMP + b"secret").hexdigest().encode()
KNOWN = (*MECHANISMS, OracleMechanism())
SETTINGS = [
    Settings(
        Policy(b"mail.example.org", stls=stls, cleartext=cleartext, user=user, mechanisms=mechanisms),
        STAMP,
        tls=tls,
        messages=[b"Subject: x\n\nbody\n"],
    )
    for stls, cleartext, user, mechanisms, tls in product(
        (False, True), (False, True), (False, True), ((), KNOWN[:1], KNOWN[2:], KNOWN), (False, True)
    )
]


def describe(settings):
    policy = settings.policy
    flags = {"stls": policy.stls, "cleartext": policy.cleartext, "user": policy.user, "tls": settings.tls}
    names = [mechanism.name.decode() for mechanism in policy.mechanisms]
    return " ".join([name for name, on in flags.items() if on] + names) or "nothing"


every_policy = pytest.mark.parametrize("settings", SETTINGS, ids=describe)


def capabilities(world):
    """CAPA's lines: the capability, and its words."""
    status, content, rest = read_reply(b"CAPA", world.send(b"CAPA\r\n"))
    assert (status, rest) == (b"+OK capabilities follow", b"")
    rows = [line.split(b" ") for line in content.splitlines()]
    assert len({row[0] for row in rows}) == len(rows)
    assert all(len(b" ".join(row)) + 2 <= 512 for row in rows)
    return {row[0]: row[1:] for row in rows}


def stranger(settings):
    world = World(settings)
    world.run()
    return world


def visitor(settings):
    world = stranger(settings)
    assert world.send(APOP + b"\r\n").startswith(b"+OK maildrop")
    return world


@every_policy
def test_user_is_announced_where_it_works(settings):
    announced = b"USER" in capabilities(stranger(settings))
    assert announced is stranger(settings).send(b"USER alice\r\n").startswith(b"+OK")
    answer = stranger(settings).send(b"USER alice\r\nPASS secret\r\n")
    assert announced is (b"+OK maildrop" in answer)


@every_policy
def test_the_mechanisms_of_sasl_are_those_that_can_be_begun(settings):
    listed = capabilities(stranger(settings)).get(b"SASL", [])
    begun = [m.name for m in KNOWN if stranger(settings).send(b"AUTH %b\r\n" % m.name).startswith(b"+ ")]
    assert listed == begun
    bare = stranger(settings).send(b"AUTH\r\n").partition(b"\r\n")[2]
    assert unstuff(bare) == (b"".join(name + b"\r\n" for name in begun), b"")


@every_policy
def test_sasl_is_not_announced_without_a_mechanism(settings):
    assert capabilities(stranger(settings)).get(b"SASL") != []


@every_policy
def test_stls_is_announced_where_it_works(settings):
    world = stranger(settings)
    announced = b"STLS" in capabilities(world)
    assert announced is world.send(b"STLS\r\n").startswith(b"+OK")
    assert announced is bool(world.count(StartTLS))
    assert b"STLS" not in capabilities(world) or not announced


@every_policy
def test_after_the_login_only_stls_is_no_more_and_implementation_is_new(settings):
    before, after = capabilities(stranger(settings)), capabilities(visitor(settings))
    before.pop(b"STLS", None)
    assert after.pop(b"IMPLEMENTATION") == [b"twisted-mailserver"]
    assert after == before


@every_policy
def test_what_every_session_announces_is_so(settings):
    announced = capabilities(visitor(settings))
    assert {b"UIDL", b"TOP", b"PIPELINING", b"RESP-CODES", b"AUTH-RESP-CODE"} <= announced.keys()
    assert visitor(settings).send(b"UIDL\r\n").startswith(b"+OK")
    assert visitor(settings).send(b"UIDL 1\r\n") == b"+OK 1 uid1\r\n"
    assert visitor(settings).send(b"TOP 1 0\r\n").startswith(b"+OK")
    assert visitor(settings).send(b"NOOP\r\nSTAT\r\nNOOP\r\n").count(b"\r\n") == 3
    assert stranger(settings).send(APOP[:-1] + b"\r\n").startswith(b"-ERR [AUTH] ")
    settings = Settings(settings.policy, STAMP, tls=settings.tls, login_refusal=InUse())
    assert stranger(settings).send(APOP + b"\r\n").startswith(b"-ERR [IN-USE] ")


def test_tls_changes_what_is_announced():
    world = stranger(Settings(Policy(b"h", stls=True, mechanisms=KNOWN)))
    before = capabilities(world)
    world.send(b"STLS\r\n")
    after = capabilities(world)
    assert (before[b"SASL"], after[b"SASL"]) == ([b"RIDDLE"], [b"PLAIN", b"LOGIN", b"RIDDLE"])
    assert before.keys() - after.keys() == {b"STLS"}
    assert after.keys() - before.keys() == {b"USER"}


def test_a_name_for_the_implementation_can_be_chosen():
    world = visitor(Settings(Policy(b"h", implementation=b"Example-1.0"), STAMP))
    assert capabilities(world)[b"IMPLEMENTATION"] == [b"Example-1.0"]


TRIES = {
    b"USER": (State.AUTHORIZATION, b"USER", b"alice"),
    b"SASL": (State.AUTHORIZATION, b"AUTH", b""),
    b"STLS": (State.AUTHORIZATION, b"STLS", b""),
    b"UIDL": (State.TRANSACTION, b"UIDL", b""),
    b"TOP": (State.TRANSACTION, b"TOP", b"1 0"),
    b"X-SDPS": (State.TRANSACTION, b"*ENV", b"1"),
}
"""The command behind each capability, and the state in which it is had."""

CONDITIONS = [
    Settings(
        Policy(b"h", stls=stls, cleartext=cleartext, user=user, mechanisms=mechanisms, sdps=sdps),
        stamp,
        principal,
        tls=tls,
        messages=[b"Subject: x\n\nbody\n"],
    )
    for stls, cleartext, user, sdps, tls, stamp, principal, mechanisms in product(
        *[(False, True)] * 5, (b"", STAMP), ("", "alice@EXAMPLE.ORG"), ((), KNOWN)
    )
]


def in_state(state, settings):
    """A session in this state, whatever its policy lets in."""
    world = stranger(settings)
    if state is State.TRANSACTION:
        world.session._move(state)
        world.session.messages = world.maildrop
    return world


@pytest.mark.parametrize("capability", TRIES)
def test_a_capability_is_announced_exactly_where_its_command_is_accepted(capability):
    state, verb, argument = TRIES[capability]
    seen = set()
    for settings in CONDITIONS:
        announced = capability in capabilities(in_state(state, settings))
        answer = in_state(state, settings).send(b"%b %b\r\n" % (verb, argument) if argument else verb + b"\r\n")
        accepted = answer.startswith(b"+OK") and answer != b"+OK\r\n.\r\n"  # AUTH that lists nothing
        assert announced is accepted, settings
        seen.add(announced)
    assert seen == ({True} if COMMANDS.tables[state][verb].when is None else {True, False})


@pytest.mark.parametrize("settings", CONDITIONS[:: len(CONDITIONS) // 64])
def test_a_command_whose_condition_does_not_hold_is_refused_by_it_whatever_follows_the_verb(settings):
    for state, table in COMMANDS.tables.items():
        for verb, row in table.items():
            arguments = (b"x",) * row.most
            refusal = None if row.when is None else row.when(in_state(state, settings).session, arguments)
            if refusal is not None:
                line = b" ".join((verb, *arguments))
                assert isinstance(refusal, BadCommand | NeedsTLS)
                assert in_state(state, settings).send(line + b"\r\n") == b"-ERR " + refusal.line + b"\r\n"


def test_a_condition_sees_as_many_arguments_as_its_command_takes():
    world = stranger(Settings(Policy(b"h"), tls=True))
    assert world.send(b"STLS now\r\n") == b"-ERR wrong number of arguments\r\n"
    assert world.send(b"STLS\r\n") == b"-ERR TLS is active already\r\n"


def test_every_capability_is_tried():
    every = Settings(Policy(b"h", stls=True, cleartext=True, sdps=True, mechanisms=KNOWN), STAMP)
    announced = capabilities(stranger(every)).keys()
    assert announced == TRIES.keys() | set(STANDING)
