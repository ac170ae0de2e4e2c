"""Draws the picture of docs/status-page.md: ``python -m tests.web.status.picture docs/status-page.png``. Needs Chromium."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

from mailserver.web.status.history import COUNTED, LARGEST, MINUTES, STEP
from mailserver.web.status.overview import Overview, overview
from mailserver.web.status.page import pieces
from tests.browser import Browser
from tests.web.status.pages import certificate, history, port, process, session, trouble

WIDTH, SCALE = 1120, 0.7
WHEN: Final = datetime(2026, 11, 27, 16, 42, tzinfo=UTC).timestamp()
SOME: Final = Random(7)

FAILURES = [
    ("login refused", "bob@example.org", "192.0.2.7", "wrong password", "set another one by `mailserver user set`, or correct the client's", 14),
    ("login refused", "info@example.org", "203.0.113.5", "unknown user ('info' is known; names.default_domain is '')", "see `mailserver users`, and how names are read in docs/names.md", 3),
    ("login not tried", "admin", "203.0.113.5", "too many logins fail at this user or from this address, so its turn did not come", "see `mailserver throttle list`, and find who guesses", 9),
    ("no deletion", "d.okafor@example.net", "2001:db8:4:12::17", "ended by connection lost: messages were marked, and NOT deleted", "the client has to end by QUIT; it will fetch them again", 1),
]  # fmt: skip
USERS = ["alice@example.org", "carla.mendoza@example.org", "eve@example.org", ""]
PORTS = [
    ("pop3", "tcp:110"),
    ("pop3s", "tcp:995"),
    ("lmtp", "unix:/run/mailserver/lmtp:mode=660"),
    ("http", "tcp:8110"),
]


def day() -> dict[str, list[float | None]]:
    """A day of an office: quiet at night, with a guesser in the morning and a restart on the day before."""
    found: dict[str, list[float | None]] = {name: [] for name in (*COUNTED, *LARGEST)}
    for step in range(MINUTES // STEP):
        hour = (WHEN / 3600 - 24 + step * STEP / 60) % 24
        load = 10 + 45 * max(0.0, math.sin((hour - 6) / 14 * math.pi))
        guessed = 196 < step < 204
        values = {
            "logins": SOME.gauss(load, 4),
            "refused": SOME.random() * 3 + 35 * guessed,
            "fetched": SOME.gauss(2.4 * load, 9),
            "waited": 11 * guessed + 3 * SOME.random() * (SOME.random() < 0.04),
            "memory": 82e6 + load * 3e5,
        }
        for name, value in values.items():
            found[name].append(None if step < 14 else max(0, round(value, int(name == "waited"))))
    return found


def rows() -> list[dict[str, Any]]:
    parent = {"parent": True, "pid": 811, "version": "", "memory": 61_000_000, "sessions": {}}
    workers = [
        process(each, memory=84_000_000 + each * 2_000_000, sessions={"pop3": 0, "pop3s": 1 + (each == 2)})
        for each in (1, 2, 3)
    ]
    workers[0]["failures"] = sum(each[-1] for each in FAILURES)
    made: list[dict[str, Any]] = [
        process(seconds=273_600.0, **parent),
        *workers,
        *(history(int(WHEN // 300), **day()) for _ in workers),
    ]
    made += [port(*each) for each in PORTS]
    for number, who in enumerate(USERS):
        counts = {"messages": 40 + number, "retrieved": 3 * number, "marked": number} if who else {}
        made.append(
            session(
                who,
                seconds=4.0 + 40 * number**2,
                octets_out=5120 * 9**number,
                session=f"5f3a9c-{27 + number:x}",
                **counts,
            )
        )
    for number, (what, who, peer, why, helps, times) in enumerate(FAILURES):
        made.append(
            trouble(who, what=what, peer=peer, why=why, help=helps, times=times, last=WHEN - 40 * (1 + 3 * number))
        )
    return [*made, certificate(file="/etc/mailserver/cert.pem", expires=WHEN + 11.4 * 86_400)]


def lively() -> Overview:
    """A server in the afternoon."""
    return overview(rows(), hostname="mail.example.org", now=WHEN)


def draw(path: Path, scheme: str = "light") -> None:
    """The page down to the last of its plots."""
    page = path.with_suffix(".html")
    page.write_text("".join(pieces(lively(), UTC)), "utf-8")
    with Browser() as browser:
        browser.prefer(scheme)
        browser.size(WIDTH)
        browser.open(page.resolve().as_uri())
        end = browser.run("return document.querySelector('#processes').getBoundingClientRect().top")
        browser.size(WIDTH, math.floor(end) - 12)
        browser.picture(path, SCALE)
    page.unlink()


def main(arguments: Sequence[str]) -> None:
    draw(Path(arguments[0]), *arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
