"""Questions about sessions and the processes that have them; each process answers for itself."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

from mailserver import __version__
from mailserver.control.port import Asking, Impossible
from mailserver.net.connection import Connection
from mailserver.service.process import age, memory
from mailserver.service.questions.facts import Facts


def status(facts: Facts, asking: Asking) -> None:
    """This process."""
    asking.say(process(facts))


def process(facts: Facts) -> dict[str, Any]:
    """This process: its number, its age in seconds, its memory in octets, and its sessions by listener."""
    return {
        "worker": facts.number,
        "pid": os.getpid(),
        "version": __version__,
        "seconds": round(age(), 1),
        "memory": memory(),
        "sessions": _by_listener(facts),
    }


def _by_listener(facts: Facts) -> dict[str, int]:
    """How many sessions are open at the ports of each kind."""
    sessions: Counter[str] = Counter()
    for each in facts.listeners.made:
        sessions[each.listener] += len(each.connections)
    return dict(sessions)


def who(facts: Facts, asking: Asking) -> None:
    """The sessions: all, or those of a name."""
    for connection in _named(facts, asking.text("name")):
        asking.say({"worker": facts.number, **connection.standing()})


def kick(facts: Facts, asking: Asking) -> None:
    """End the sessions of a name, and tell which. Errors: Impossible."""
    name = asking.text("name")
    if not name:
        raise Impossible("name a user or a session", os.EX_USAGE)
    for connection in _named(facts, name):
        asking.say({"worker": facts.number, **connection.standing()})
        connection.kick()


def _named(facts: Facts, name: str) -> Iterator[Connection]:
    """The connections of a session, or of a user, also as a master user or a principal who has opened another's maildrop; "": all."""
    for listener in facts.listeners.made:
        for connection in tuple(listener.connections):
            known = connection.facts()
            if not name or name in {known["session"], known["who"], known["user"], known["principal"]}:
                yield connection
