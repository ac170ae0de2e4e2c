"""Questions about sessions and the processes that have them; each process answers for itself."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mailserver import __version__
from mailserver.control.port import Asking, Impossible
from mailserver.net.connection import Connection
from mailserver.service.questions.facts import Facts

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def status(facts: Facts, asking: Asking) -> None:
    """This process: its number, its age in seconds, its memory in octets, and its sessions by listener."""
    sessions: Counter[str] = Counter()
    for each in facts.listeners.made:
        sessions[each.listener] += len(each.connections)
    asking.say(
        {
            "worker": facts.number,
            "pid": os.getpid(),
            "version": __version__,
            "seconds": round(_age(), 1),
            "memory": _memory(),
            "sessions": dict(sessions),
        }
    )


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


def _memory() -> int:
    """The resident memory of this process, in octets."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE


def _age() -> float:
    """The seconds since this process began."""
    ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
