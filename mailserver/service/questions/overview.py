"""What each process has for the status page: itself, its sessions, its failures, its certificates and its last day."""

from __future__ import annotations

import os
from collections.abc import Iterator
from heapq import nsmallest
from typing import Any

from mailserver.control.port import Asking
from mailserver.service.process import age, memory
from mailserver.service.questions.facts import Facts
from mailserver.service.questions.sessions import process
from mailserver.service.record import Record
from mailserver.web.status.overview import SHOWN


def overview(facts: Facts, asking: Asking) -> None:
    """The part of this process, with no more than a page shows; nothing, where none is served."""
    record = facts.record
    if record is None:
        return
    record.sample(facts.memories.counts)
    now = record.now()
    asking.say({"part": "process", **_process(facts, record, now)})
    for kind, endpoint in facts.ports:
        asking.say({"part": "port", "kind": kind, "endpoint": endpoint})
    for standing in _sessions(facts):
        asking.say({"part": "session", "worker": facts.number, **standing})
    for trouble in record.troubles.rows(now, SHOWN):
        asking.say({"part": "trouble", **trouble})
    for certificate in _certificates(facts):
        asking.say({"part": "certificate", **certificate})
    asking.say({"part": "history", **record.steps()})


def parent(number: int) -> dict[str, Any] | None:
    """The parent of the worker processes, as one of them sees it; None: there is none, or it cannot be seen."""
    if not number:
        return None
    pid = os.getppid()
    try:
        seen = {"seconds": age(pid), "memory": memory(pid)}
    except OSError:  # /proc may be mounted so that other users' processes are hidden
        return None
    return {
        "part": "process",
        "parent": True,
        "worker": 0,
        "pid": pid,
        "version": "",
        "sessions": {},
        "failures": 0,
        **seen,
    }


def _process(facts: Facts, record: Record, now: float) -> dict[str, Any]:
    return {"parent": False, **process(facts), "failures": record.troubles.total(now)}


def _sessions(facts: Facts) -> list[dict[str, Any]]:
    """The latest sessions, those that are logged in first."""
    connections = (each for listener in facts.listeners.made for each in tuple(listener.connections))
    return nsmallest(SHOWN, (each.standing() for each in connections), key=lambda row: (not row["who"], row["seconds"]))


def _certificates(facts: Facts) -> Iterator[dict[str, Any]]:
    store = facts.certificates and facts.certificates.store
    for pair in store.loaded.pairs if store else ():
        names = sorted(name.decode("utf-8", "backslashreplace") for name in pair.names)
        yield {"file": pair.files.certificate, "kind": pair.kind, "names": names, "expires": pair.expires}
