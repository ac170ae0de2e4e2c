"""The golden dialogs of LMTP (`dialogs` says what they look like)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mailserver import errors, smtp_errors
from mailserver.errors import Refusal
from mailserver.protocol.lmtp_effects import Effect, Recipient
from mailserver.protocol.lmtp_policy import LmtpPolicy
from tests.protocol.dialogs import FOLDER, Dialogs, Transcript, octets, parse
from tests.protocol.lmtp_world import Mail, Settings, World


def policy(settings: Settings, text: str) -> Settings:
    """Words of the policy: stls, xclient; hostname=, max_octets=, max_recipients=, bad_commands=."""
    words = dict(word.partition("=")[::2] for word in text.split())
    made = LmtpPolicy(
        hostname=octets(words.get("hostname", "mx.example.org")),
        max_octets=int(words.get("max_octets", 1000)),
        max_recipients=int(words.get("max_recipients", 100)),
        stls="stls" in words,
        xclient="xclient" in words,
        bad_commands=int(words.get("bad_commands", 10)),
    )
    return replace(settings, policy=made)


def refusal(name: str) -> Refusal:
    made: Refusal = (getattr(errors, name, None) or getattr(smtp_errors, name))()
    return made


def outcome(settings: Settings, text: str) -> Settings:
    user, _, name = text.partition(" ")
    return replace(settings, outcomes={**settings.outcomes, user.encode(): refusal(name)})


SETTINGS: dict[str, Callable[[Settings, str], Settings]] = {
    "policy": policy,
    "tls": lambda settings, _: replace(settings, tls=True),
    "users": lambda settings, text: replace(settings, users=frozenset(map(octets, text.split()))),
    "outcome": outcome,
    "refused": lambda settings, text: replace(settings, refusal=refusal(text)),
    "name": lambda settings, text: replace(settings, name=octets(text)),
}


def describe(effect: Effect | Mail) -> str:
    match effect:
        case Recipient(address, original):
            return f"Recipient {address!r} {original!r}" if original else f"Recipient {address!r}"
        case Mail(sender, recipients, text):
            return f"Mail {sender!r} {b' '.join(recipients)!r} {text!r}"
        case _:
            return type(effect).__name__


def begin(transcript: Transcript[Settings]) -> tuple[World, bytes]:
    world = World(transcript.settings)
    return world, world.run()


LMTP = Dialogs(
    {
        path.stem: parse(path.read_text("utf-8"), policy(Settings(), ""), SETTINGS)
        for path in sorted((FOLDER / "lmtp").glob("*.lmtp"))
    },
    begin,
    describe,
)


@pytest.mark.parametrize("name", LMTP.names(1))
def test_as_written(name):
    LMTP.as_written(name)


@pytest.mark.parametrize("name", LMTP.names(2))
def test_byte_by_byte(name):
    LMTP.byte_by_byte(name)


@pytest.mark.parametrize("name", LMTP.names(3))
def test_all_at_once(name):
    LMTP.at_once(name)
