"""What `mailserver uidl compare` says of a comparison: to people, and to programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mailserver.cli.line import Line, duration
from mailserver.migration.compare import Comparison, Example


class Sentences:
    """For people."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def user(self, name: str, found: Comparison) -> Iterator[str]:
        """What became known of one user, in a line and further ones that are indented."""
        yield f"{name}: {_verdict(found, self._line)}"
        yield from (f"  {text}" for text in _details(found))
        yield from (f"  {_named(each)}" for each in found.examples)

    def sum(self, users: int, failed: int, found: Comparison) -> Iterator[str]:
        """The same of all users together, but for those of whom nothing is known."""
        yield f"{_count(users - failed, 'user')} in sum: {_verdict(found, self._line)}"
        yield from (f"  {text}" for text in _details(found))
        if failed:
            yield f"  {_count(failed, 'user')} could not be compared"


class Objects:
    """For programs: an object of JSON a line, the last one for all users."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def user(self, name: str, found: Comparison) -> Iterator[str]:
        """One user's numbers, and the messages that are named."""
        examples = [
            {**each._asdict(), "old_uidl": _shown(each.old_uidl), "new_uidl": _shown(each.new_uidl)}
            for each in found.examples
        ]
        yield _json({"user": name, **self._numbers(found), "examples": examples})

    def sum(self, users: int, failed: int, found: Comparison) -> Iterator[str]:
        """All users' numbers."""
        yield _json({"users": users, "failed": failed, **self._numbers(found)})

    def _numbers(self, found: Comparison) -> dict[str, Any]:
        return {
            "safe": found.safe,
            "same": found.same.messages,
            "again": found.again.messages,
            "again_octets": found.again.octets,
            "again_seconds": round(self._line.seconds(found.again.octets), 1),
            "another": found.another.messages,
            "missing": found.missing.messages,
            "new": found.new.messages,
            "resized": found.resized,
            "unproved": found.unproved,
            "in_order": found.in_order,
        }


def _verdict(found: Comparison, line: Line) -> str:
    there = _messages(found)
    if not found.again.messages:
        return f"nothing would be downloaded again ({_count(there, 'message')})"
    octets = found.again.octets
    time = duration(line.seconds(octets))
    return (
        f"{found.again.messages:,} of {_count(there, 'message')} would be downloaded again: "
        f"{_count(octets, 'octet')}, {time} at {line}"
    )


def _messages(found: Comparison) -> int:
    """The messages at the new server."""
    return sum(each.messages for each in (found.same, found.again, found.another, found.new))


def _details(found: Comparison) -> Iterator[str]:
    if found.another.messages:
        have = "have" if found.another.messages > 1 else "has"
        yield f"{_count(found.another.messages, 'message')} {have} the unique-id of another one: clients would never download it"
    if found.missing.messages:
        yield f"{_count(found.missing.messages, 'message')} at the old server alone, {_count(found.missing.octets, 'octet')}"
    if found.new.messages:
        yield f"{_count(found.new.messages, 'message')} at the new server alone, which clients download once"
    if found.unproved:
        yield f"{_count(found.unproved, 'message')} with the same unique-id, but a header that cannot be read: not proved to be the same"
    if found.resized:
        yield f"{_count(found.resized, 'message')} with the same unique-id and header, but another size"
    if not found.in_order:
        yield "the order differs"


def _named(example: Example) -> str:
    """A message, such as ``again: 3 00000a2b -> 3 1700000000.M3P1.host``."""
    before, after = (
        "none" if number is None else f"{number} {_shown(uidl) or '(no unique-id)'}"
        for number, uidl in (example[1:3], example[3:5])
    )
    return f"{example.kind}: {before} -> {after}"


def _shown(uidl: bytes) -> str:
    """A unique-id as a terminal can show it, whatever a server has sent."""
    return "".join(chr(octet) if 0x20 <= octet < 0x7F else f"\\x{octet:02x}" for octet in uidl)  # noqa: PLR2004 - ASCII


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _json(facts: dict[str, Any]) -> str:
    return json.dumps(facts, ensure_ascii=False)
