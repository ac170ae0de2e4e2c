"""Facts for a page as the processes of a server answer them."""

from __future__ import annotations

from typing import Any, Final

from mailserver.web.status.history import COUNTED, LARGEST, MINUTES, STEP
from mailserver.web.status.overview import Overview, overview

NOW: Final = 1_700_000_100.0
DAYS: Final = 86_400


def process(worker: int = 0, **more: Any) -> dict[str, Any]:
    own = {
        "worker": worker,
        "parent": False,
        "pid": 811 + worker,
        "version": "0.1.0",
        "seconds": 7200.0,
        "memory": 84_000_000,
    }
    return {"part": "process", "sessions": {"pop3s": 1}, "failures": 0, **own, **more}


def history(step: int = int(NOW // 300), **series: list[float | None]) -> dict[str, Any]:
    empty: list[float | None] = [0] * (MINUTES // STEP)
    return {"part": "history", "step": step, "series": {name: series.get(name, empty) for name in (*COUNTED, *LARGEST)}}


def session(who: str = "alice", **more: Any) -> dict[str, Any]:
    of = {
        "session": "5f3a9c-1b",
        "listener": "pop3s",
        "who": who,
        "user": who,
        "principal": "",
        "peer": "192.0.2.7",
        "tls": True,
    }
    counts = {"messages": 4, "retrieved": 2, "marked": 1} if who else {}
    return {
        "part": "session",
        **of,
        "seconds": 61.0,
        "idle": 2.0,
        "octets_in": 98,
        "octets_out": 5120,
        **counts,
        **more,
    }


def trouble(who: str = "bob", **more: Any) -> dict[str, Any]:
    why = {"why": "wrong password", "help": "set another one by `mailserver user set`"}
    return {
        "part": "trouble",
        "what": "login refused",
        "who": who,
        "peer": "192.0.2.9",
        **why,
        "times": 3,
        "last": NOW - 60,
        **more,
    }


def certificate(days: float = 63.5, **more: Any) -> dict[str, Any]:
    names = ["mail.example.org"]
    return {
        "part": "certificate",
        "file": "/etc/cert.pem",
        "names": names,
        "kind": "ECDSA",
        "expires": NOW + days * DAYS,
        **more,
    }


def port(kind: str = "pop3s", endpoint: str = "tcp:995") -> dict[str, Any]:
    return {"part": "port", "kind": kind, "endpoint": endpoint}


def shown(*rows: dict[str, Any], hostname: str = "mail.example.org", **more: Any) -> Overview:
    """What a page shows of these facts, and of one process at least."""
    given = {row["part"] for row in rows}
    basis = [row for row in (process(), history()) if row["part"] not in given]
    return overview([*basis, *rows], hostname=hostname, now=NOW, **more)
