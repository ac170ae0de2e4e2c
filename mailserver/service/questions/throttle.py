"""Questions about who is held back or turned away now, and why; each process tells what it knows by name."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from heapq import nlargest
from itertools import islice
from typing import Final, TypeVar

from twisted.internet.task import deferLater

from mailserver.control.lines import Row
from mailserver.control.port import Asking, Impossible
from mailserver.net.attempts import Held, Key
from mailserver.net.held import Whom, address_of, fields
from mailserver.net.places import Places
from mailserver.service.questions.facts import Facts

MOST_ROWS: Final = 1000
"""Those who are held back longest, of each process: under a flood there are 20,000, which nobody reads, and it takes a second to tell."""

_AT_ONCE: Final = 500
"""Names that are looked up before sessions have their turn: a millisecond."""

T = TypeVar("T")


async def listed(facts: Facts, asking: Asking) -> None:
    """Those of a name, or all: lanes of failed logins, login delays, and addresses with all the connections that they may have."""
    whom = Whom(asking.text("name"))
    rows = [row async for row in _rows(facts, whom)]
    for row in nlargest(MOST_ROWS, rows, key=lambda row: (row["held"], row.get("failures", 0))):
        asking.say(row)
    if not whom.name:
        asking.say({"worker": facts.number, "kind": "all", "lanes": facts.memories.throttle.lanes})


async def forget(facts: Facts, asking: Asking) -> None:
    """Forget the failed logins and login delays of a name, and tell which they were. Errors: Impossible."""
    whom = Whom(asking.text("name"))
    if not whom.name:
        raise Impossible("name a user, an address or a network", os.EX_USAGE)
    throttle, delays = facts.memories.throttle, facts.memories.delays
    async for key in _each(facts, _lanes(facts, whom), whom.means):
        if (held := throttle.held(key)).matters:
            asking.say({"worker": facts.number, **fields(key), **_told(held)})
        throttle.forgive(key)  # also of another process, where that has just told: those who wait here have their turn
    async for name in _each(facts, _delayed(facts, whom), whom.is_user):
        if left := delays.left(name):
            asking.say(_delay(facts, name, left))
            delays.forget(name)


async def _rows(facts: Facts, whom: Whom) -> AsyncIterator[Row]:
    throttle, delays = facts.memories.throttle, facts.memories.delays
    async for key in _each(facts, _lanes(facts, whom), whom.means):
        if (held := throttle.held(key)).matters:
            yield {"worker": facts.number, **fields(key), **_told(held)}
    async for name in _each(facts, _delayed(facts, whom), whom.is_user):
        if left := delays.left(name):
            yield _delay(facts, name, left)
    for places, listeners in _places(facts):
        named = {"worker": facts.number, "kind": "connections", "user": "", "held": 0.0, "listeners": listeners}
        async for where in _each(facts, list(places.by_address), whom.holds):
            if (count := places.connections_of(where)) >= places.per_address:
                yield {**named, "address": address_of(where), "connections": count}
        if not whom.name and places.all_taken >= places.most:
            yield {**named, "address": "", "connections": places.all_taken}


def _places(facts: Facts) -> list[tuple[Places, list[str]]]:
    """The places, each with the names of the listeners that share them."""
    found: dict[Places, list[str]] = {}
    for each in facts.listeners.made:
        names = found.setdefault(each.places, [])
        if each.listener not in names:
            names.append(each.listener)
    return list(found.items())


def _lanes(facts: Facts, whom: Whom) -> Collection[Key]:
    """Those whose names are known, and those of the very name: one that was killed may have known it."""
    return dict.fromkeys([*facts.memories.throttle.names, *whom.lanes])


def _delayed(facts: Facts, whom: Whom) -> Collection[str]:
    return dict.fromkeys([*facts.memories.delays.names, *([whom.name] if whom.name else [])])


def _told(held: Held) -> Row:
    return {
        "failures": held.failures,
        "ago": round(held.ago, 1),
        "held": round(held.left, 1),
        "waiting": held.waiting,
    }


def _delay(facts: Facts, name: str, left: float) -> Row:
    user = name.rpartition("\n")[2]
    return {"worker": facts.number, "kind": "login_delay", "address": "", "user": user, "held": round(left, 1)}


async def _each(facts: Facts, known: Iterable[T], fits: Callable[[T], bool]) -> AsyncIterator[T]:
    """Those that fit, with turns for sessions in between."""
    names = iter(known)
    while some := list(islice(names, _AT_ONCE)):
        for each in some:
            if fits(each):
                yield each
        await deferLater(facts.reactor, 0)
