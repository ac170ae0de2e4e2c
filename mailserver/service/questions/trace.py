"""The question that goes on: what is said in the sessions of a user, an address or a network, or in one session."""

from __future__ import annotations

import os
from typing import Final

from twisted.internet.task import deferLater

from mailserver.control.port import Asking, Impossible
from mailserver.service.questions.facts import Facts

LOOK_SECONDS: Final = 1.0
"""How soon listeners are watched that a reload has made, and how often this process says that it is alive."""


async def trace(facts: Facts, asking: Asking) -> None:
    """Tell what is said, until it is cancelled. Errors: Impossible."""
    name = asking.text("name")
    if not name:
        raise Impossible("name a user, a session, an address or a network", os.EX_USAGE)
    tracing = facts.memories.tracing
    followed = tracing.begin(name, lambda row: asking.say({"worker": facts.number, **row}))
    try:
        told = False
        while True:
            asking.alive(facts.number)
            for _slice in tracing.watch(followed, facts.listeners.made):
                await deferLater(facts.reactor, 0)
            if not told:
                told = True
                asking.say(
                    {"worker": facts.number, "at": round(tracing.now(), 3), "from": "-", "text": f"follows {name}"}
                )
            await deferLater(facts.reactor, LOOK_SECONDS)
    finally:
        tracing.end(followed)
