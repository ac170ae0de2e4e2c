r"""Golden dialogs, each run three ways: as written, byte by byte, and all that the client sends at once.

The lines of a transcript:

``#``     a remark
``@``     a setting of the world: see `SETTINGS`; ``@ logged-in`` begins after the login of alice
``C: ``   the client sends this and CRLF; ``C< `` it sends this and nothing more
``S: ``   the server answers exactly this line; ``S~ `` a line that begins with this; ``S* `` lines, up to this one
``E: ``   the session's effects: for each kind that is named, these and no others, in this order; Close is always compared

``\xNN``, ``\n`` and other escapes stand for octets, and ``<x*9>`` for nine times x. STLS drops what was buffered before it:
``@ lock-step`` says that a transcript cannot be run all at once, ``@ as-written`` that not byte by byte either.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from mailserver import errors
from mailserver.credentials import KerberosIdentity
from mailserver.exchange import VerifierOf
from mailserver.interfaces import Terms
from mailserver.protocol.effects import Close, Commit, Effect, Login, Retrieve, Sasl
from mailserver.protocol.pop3 import Policy
from tests.protocol.world import MECHANISMS, OracleMechanism, Settings, World

WAYS = {"lock-step": 2, "as-written": 1}
FOLDER = Path(__file__).parent / "transcripts"


@dataclass
class Transcript:
    settings: Settings
    ways: int = 3
    logged_in: bool = False
    steps: list[tuple[str, bytes]] = field(default_factory=list)
    effects: list[str] = field(default_factory=list)

    @property
    def sent(self) -> list[bytes]:
        return [data for kind, data in self.steps if kind == "C"]

    @property
    def expected(self) -> list[tuple[str, bytes]]:
        return [step for step in self.steps if step[0] != "C"]


def octets(text: str) -> bytes:
    def repeat(match: re.Match[str]) -> str:
        return match[1] * int(match[2])

    return codecs.escape_decode(re.sub(r"<([^<>]+)\*(\d+)>", repeat, text).encode())[0]  # type: ignore[attr-defined, no-any-return]


def policy(settings: Settings, text: str) -> Settings:
    """Words of the policy: stls, cleartext, nouser, riddle, nosasl, sdps; hostname=, greeting=, failures=, bad_commands=, login_delay=."""
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
        shortest_expiry=int(words.get("shortest_expiry", 0)),
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


def parse(text: str) -> Transcript:
    transcript = Transcript(Settings())
    for line in text.splitlines():
        kind, content = line[:3].rstrip(" "), line[3:]
        if line.startswith("@ "):
            name, _, value = line[2:].partition(" ")
            if name in WAYS:
                transcript.ways = WAYS[name]
            elif name == "logged-in":
                transcript.logged_in = True
            else:
                transcript.settings = SETTINGS[name](transcript.settings, value)
        elif kind in ("C:", "C<"):
            transcript.steps.append(("C", octets(content) + (b"\r\n" if kind == "C:" else b"")))
        elif kind in ("S:", "S~", "S*"):
            transcript.steps.append((kind, octets(content)))
        elif kind == "E:":
            transcript.effects.append(content)
        else:
            assert not line or line.startswith("#"), f"not a transcript's line: {line}"
    return transcript


def match(kind: str, wanted: bytes, output: bytes) -> bytes:
    """Take from the output what one line of the transcript expects; what is left."""
    while True:
        line, end, rest = output.partition(b"\r\n")
        assert end, f"expected {wanted!r}, got {line!r}"
        if kind == "S:":
            if b"\r" in wanted or b"\n" in wanted:  # an escape within the line: compare it as a whole
                assert output.startswith(wanted + b"\r\n")
                return output[len(wanted) + 2 :]
            assert line == wanted
            return rest
        if kind == "S~":
            assert line.startswith(wanted)
            return rest
        if line == wanted:
            return rest
        output = rest


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


def begin(transcript: Transcript) -> tuple[World, bytes]:
    """A world, and what the server said before the transcript's first line."""
    world = World(transcript.settings)
    output = world.run()
    if transcript.logged_in:
        assert world.send(b"USER alice\r\nPASS secret\r\n").startswith(b"+OK send PASS\r\n+OK maildrop has ")
        world.effects.clear()
        output = b""
    return world, output


def check_effects(transcript: Transcript, world: World) -> None:
    kinds = {line.partition(" ")[0] for line in transcript.effects} | {Close.__name__}
    seen = [describe(effect) for effect in world.effects if type(effect).__name__ in kinds]
    assert seen == transcript.effects
    assert world.closed is (Close.__name__ in transcript.effects)


def check_whole(transcript: Transcript, world: World, output: bytes) -> None:
    for kind, wanted in transcript.expected:
        output = match(kind, wanted, output)
    assert output == b""
    check_effects(transcript, world)


TRANSCRIPTS = {path.stem: parse(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.pop3"))}
BYTE_BY_BYTE = [name for name, transcript in TRANSCRIPTS.items() if transcript.ways >= 2]
AT_ONCE = [name for name, transcript in TRANSCRIPTS.items() if transcript.ways >= 3]


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_as_written(name):
    transcript = TRANSCRIPTS[name]
    world, output = begin(transcript)
    for kind, data in transcript.steps:
        if kind == "C":
            assert output == b"", "the server said more than the transcript does"
            output = world.send(data)
        else:
            output = match(kind, data, output)
    assert output == b""
    check_effects(transcript, world)


@pytest.mark.parametrize("name", BYTE_BY_BYTE)
def test_byte_by_byte(name):
    transcript = TRANSCRIPTS[name]
    world, output = begin(transcript)
    for octet in b"".join(transcript.sent):
        output += world.send(bytes([octet]))
    check_whole(transcript, world, output)


@pytest.mark.parametrize("name", AT_ONCE)
def test_all_at_once(name):
    transcript = TRANSCRIPTS[name]
    world, output = begin(transcript)
    check_whole(transcript, world, output + world.send(b"".join(transcript.sent)))
