"""Logins at a server whose users are elsewhere: what is said of each, and what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from mailserver.foresight import Attempt
from mailserver.reasons import Reason
from mailserver.service.server import Server
from tests.realm import Realm
from tests.service.explaining.logins import PASSWORD, Login, explained, served
from tests.tls.handshakes import write_pair


class Case(NamedTuple):
    """A login, what is said of it, and what becomes of it."""

    attempt: Attempt
    why: Reason | None = None
    """The reason for which it is said to be refused; None: it is let in."""
    secret: str = PASSWORD
    doubts: str = ""
    """The doors of which is said that only a login can tell, with spaces between."""
    real: Reason | None = None
    """Why the real one is refused, if it is not as `why` says: there are doubts, or the secret is wrong."""
    is_let_in: bool = False
    """Whether the real one is let in after all: there are doubts."""
    unless: bool = False
    """Whether it is said to be refused unless a checker takes the password of whom nobody can tell."""
    tells: str = ""
    """What the operator reads, among others."""


def name(why: Reason | None) -> str:
    """The reason's; "let in" for none."""
    return "let in" if why is None else why.name


def differences(server: Server, cases: Mapping[str, Case], realm: Realm | None = None) -> list[str]:
    """What is said wrongly, a line each."""
    return [f"{which}: {found}" for which, case in cases.items() for found in _compared(server, case, realm)]


def _compared(server: Server, case: Case, realm: Realm | None) -> Iterator[str]:
    rows, again = explained(server, case.attempt).rows, explained(server, case.attempt).rows
    real = Login(server, case.attempt, case.secret, realm).run().why or "let in"
    end, text = rows[-1], " ".join(row["says"] for row in rows)
    before = takewhile(lambda row: row["verdict"] != "refuses", rows)
    doubts = " ".join(dict.fromkeys(row["door"] for row in before if row["verdict"] == "unknown"))
    said, unless = end.get("why", "let in"), end["verdict"] == "depends"
    if (said, doubts, unless) != (name(case.why), case.doubts, case.unless):
        yield f"it is said that {said!r}, with doubts {doubts!r}: {text}"
    if real != name(None if case.is_let_in else case.real or case.why):
        yield f"what becomes of it is {real!r}"
    foretold = real == said or doubts or unless or (case.real and case.real.proof and said == "let in")
    if not foretold:
        yield f"there is no doubt that {said!r}, and it is {real!r}"
    if case.tells not in text:
        yield f"{case.tells!r} is not told: {text}"
    if rows != again:
        yield "to ask has changed something"
    if case.secret in json.dumps(rows):
        yield "the secret is told"


@contextmanager
def server_of(folder: Path, *checkers: str, users: str = "", **settings: Any) -> Iterator[Server]:
    """A server with these checkers, that takes passwords in TLS alone; one of its ports is without."""
    files = write_pair(folder, "cert", ["localhost"])
    ports = {"pop3": ["tcp:0"], "pop3s": ["tcp:0"], "control": "", **settings.pop("listen", {})}
    whole = {
        "listen": ports,
        "tls": {"certificate": files.certificate, "key": files.key},
        "limits": {"failure_delay_seconds": 0},
        **settings,
        "auth": {"cleartext": "tls", "checkers": list(checkers), **settings.get("auth", {})},
    }
    with served(folder, users, whole) as server:
        yield server


IN_CLEAR = {"listener": "pop3", "tls": False}
