r"""Golden dialogs, each run three ways: as written, byte by byte, and all that the client sends at once.

The lines of a transcript:

``#``     a remark
``@``     a setting of the world, by its protocol's own table; ``@ logged-in`` begins after the login of alice (POP3)
``C: ``   the client sends this and CRLF; ``C< `` it sends this and nothing more
``S: ``   the server answers exactly this line; ``S~ `` a line that begins with this; ``S* `` lines, up to this one
``E: ``   the session's effects: for each kind that is named, these and no others, in this order; Close is always compared

``\xNN``, ``\n`` and other escapes stand for octets, and ``<x*9>`` for nine times x. STLS drops what was buffered before it:
``@ lock-step`` says that a transcript cannot be run all at once, ``@ as-written`` that not byte by byte either.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

FOLDER = Path(__file__).parent / "transcripts"
WAYS = {"lock-step": 2, "as-written": 1}

T = TypeVar("T")
"""A protocol's settings."""


class World(Protocol):
    """What a protocol's world has."""

    effects: list[Any]
    closed: bool

    def send(self, data: bytes) -> bytes:
        """What the server answers to these octets."""


@dataclass
class Transcript(Generic[T]):
    settings: T
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


def parse(text: str, settings: T, known: Mapping[str, Callable[[T, str], T]]) -> Transcript[T]:
    transcript = Transcript(settings)
    for line in text.splitlines():
        kind, content = line[:3].rstrip(" "), line[3:]
        if line.startswith("@ "):
            name, _, value = line[2:].partition(" ")
            if name in WAYS:
                transcript.ways = WAYS[name]
            elif name == "logged-in":
                transcript.logged_in = True
            else:
                transcript.settings = known[name](transcript.settings, value)
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


@dataclass
class Dialogs(Generic[T]):
    """The transcripts of one protocol."""

    transcripts: Mapping[str, Transcript[T]]
    begin: Callable[[Transcript[T]], tuple[World, bytes]]
    """Makes a world, and tells what the server said before the transcript's first line."""
    describe: Callable[[Any], str]
    """An effect as a line tells it."""

    def names(self, ways: int) -> list[str]:
        """Those that can be run in so many ways."""
        return [name for name, transcript in self.transcripts.items() if transcript.ways >= ways]

    def as_written(self, name: str) -> None:
        transcript = self.transcripts[name]
        world, output = self.begin(transcript)
        for kind, data in transcript.steps:
            if kind == "C":
                assert output == b"", "the server said more than the transcript does"
                output = world.send(data)
            else:
                output = match(kind, data, output)
        assert output == b""
        self._check_effects(transcript, world)

    def in_pieces(self, name: str, pieces: Iterable[bytes]) -> None:
        transcript = self.transcripts[name]
        world, output = self.begin(transcript)
        for piece in pieces:
            output += world.send(piece)
        for kind, wanted in transcript.expected:
            output = match(kind, wanted, output)
        assert output == b""
        self._check_effects(transcript, world)

    def byte_by_byte(self, name: str) -> None:
        self.in_pieces(name, (bytes([octet]) for octet in b"".join(self.transcripts[name].sent)))

    def at_once(self, name: str) -> None:
        self.in_pieces(name, [b"".join(self.transcripts[name].sent)])

    def _check_effects(self, transcript: Transcript[T], world: World) -> None:
        kinds = {line.partition(" ")[0] for line in transcript.effects} | {"Close"}
        seen = [self.describe(effect) for effect in world.effects if type(effect).__name__ in kinds]
        assert seen == transcript.effects
        assert world.closed is ("Close" in transcript.effects)
