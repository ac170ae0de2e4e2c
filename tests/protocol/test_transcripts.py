"""The golden dialogs of POP3 (`dialogs` says what they look like)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mailserver import errors
from mailserver.credentials import KerberosIdentity
from mailserver.exchange import VerifierOf
from mailserver.interfaces import Terms
from mailserver.protocol.effects import Commit, Effect, Login, Retrieve, Sasl
from mailserver.protocol.pop3 import Policy
from tests.protocol.dialogs import FOLDER, Dialogs, Transcript, octets, parse
from tests.protocol.world import MECHANISMS, OracleMechanism, Settings, World


def policy(settings: Settings, text: str) -> Settings:
    """Words of the policy: stls, cleartext, nouser, riddle, nosasl, sdps; hostname=, greeting=, failures=, bad_commands=, login_delay=, expire_days=."""
    words = dict(word.partition("=")[::2] for word in text.split())
    mechanisms = (*(() if "nosasl" in words else MECHANISMS), *((OracleMechanism(),) if "riddle" in words else ()))
    made = Policy(
        hostname=octets(words.get("hostname", "mail.example.org")),
        stls="stls" in words,
        cleartext="cleartext" in words,
        user="nouser" not in words,
        mechanisms=mechanisms,
        failures=int(words.get("failures", 3)),
        bad_commands=int(words.get("bad_commands", 10)),
        sdps="sdps" in words,
        greeting=octets(words.get("greeting", "")),
        login_delay=int(words.get("login_delay", 0)),
        longest_login_delay=int(words.get("longest_login_delay", 0)),
        expire_days=int(words.get("expire_days", 0)),
        shortest_expiry=int(words["shortest_expiry"]) if "shortest_expiry" in words else None,
    )
    return replace(settings, policy=made)


def user(settings: Settings, text: str) -> Settings:
    name, _, secret = text.partition(" ")
    return replace(settings, users={**settings.users, octets(name): octets(secret)})


def message(settings: Settings, text: str) -> Settings:
    uidl, _, content = text.partition(" ")
    messages = [*settings.messages, octets(content)]
    return replace(settings, messages=messages, uidls=[*settings.uidls, uidl.encode()])


def terms(settings: Settings, text: str) -> Settings:
    words = dict(word.partition("=")[::2] for word in text.split())
    days, delay = (int(words[each]) if each in words else None for each in ("expire_days", "login_delay"))
    return replace(settings, terms=Terms("read_only" in words, days, delay))


def many(settings: Settings, text: str) -> Settings:
    return replace(settings, messages=[b"x"] * int(text))


def refusal(name: str) -> Callable[[Settings, str], Settings]:
    return lambda settings, text: replace(settings, **{name: getattr(errors, text)()})


SETTINGS: dict[str, Callable[[Settings, str], Settings]] = {
    "policy": policy,
    "user": user,
    "message": message,
    "terms": terms,
    "many": many,
    "stamp": lambda settings, text: replace(settings, stamp=octets(text)),
    "principal": lambda settings, text: replace(settings, principal=text),
    "tls": lambda settings, _: replace(settings, tls=True),
    "gone": lambda settings, text: replace(settings, gone=frozenset(map(int, text.split()))),
    "left": lambda settings, text: replace(settings, left=int(text)),
    "login-refused": refusal("login_refusal"),
    "commit-refused": refusal("commit_refusal"),
    "oracle-refused": refusal("oracle_refusal"),
}


def describe(effect: Effect) -> str:
    match effect:
        case Login(KerberosIdentity(principal, username), mechanism):
            return f"Login {mechanism.decode()} {username!r} for {principal}"
        case Login(credentials, mechanism):
            secret = getattr(credentials, "password", b"") or getattr(credentials, "digest", b"")
            return f"Login {mechanism.decode()} {credentials.username!r} {secret!r}"
        case Commit(numbers):
            return f"Commit {list(numbers)}"
        case Retrieve(number, lines):
            return f"Retrieve {number}" if lines is None else f"Retrieve {number} {lines}"
        case Sasl(VerifierOf(username)):
            return f"Sasl {username!r}"
        case _:
            return type(effect).__name__


def begin(transcript: Transcript[Settings]) -> tuple[World, bytes]:
    """A world, and what the server said before the transcript's first line."""
    world = World(transcript.settings)
    output = world.run()
    if transcript.logged_in:
        assert world.send(b"USER alice\r\nPASS secret\r\n").startswith(b"+OK send PASS\r\n+OK maildrop has ")
        world.effects.clear()
        output = b""
    return world, output


POP3 = Dialogs(
    {path.stem: parse(path.read_text("utf-8"), Settings(), SETTINGS) for path in sorted(FOLDER.glob("*.pop3"))},
    begin,
    describe,
)


@pytest.mark.parametrize("name", POP3.names(1))
def test_as_written(name):
    POP3.as_written(name)


@pytest.mark.parametrize("name", POP3.names(2))
def test_byte_by_byte(name):
    POP3.byte_by_byte(name)


@pytest.mark.parametrize("name", POP3.names(3))
def test_all_at_once(name):
    POP3.at_once(name)
