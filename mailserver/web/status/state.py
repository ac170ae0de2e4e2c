"""The state of the server in a few words and figures: what a person looks at first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from mailserver.web.status.overview import Overview, Row
from mailserver.web.status.words import counted, number, octets, span

DAY: Final = 86_400
SOON_DAYS: Final = 14
"""As the log warns: renewal programs begin 30 days before the expiry, so they have failed for two weeks."""


class Notice(NamedTuple):
    """A sentence on the state."""

    kind: str
    """``good``, ``warn`` or ``bad``: a colour, beside the label that says the same."""
    label: str
    text: str


class State(NamedTuple):
    """The state."""

    words: str
    notices: Sequence[Notice]
    facts: Sequence[tuple[str, str, str]]
    """Figures: a name, the figure, and a remark."""


def state(shown: Overview) -> State:
    """The state of what is shown."""
    found = sorted(_notices(shown), key=lambda notice: notice.kind != "bad")
    if found:
        return State(found[0].text.rstrip("."), found, list(_facts(shown)))
    served = sum(not row["parent"] for row in shown.processes)
    text = f"{'The server answers' if served == 1 else f'All {served} processes answer'}, and nothing needs you."
    return State("all is well", [Notice("good", "All is well.", text)], list(_facts(shown)))


def _notices(shown: Overview) -> Iterator[Notice]:
    for worker in shown.silent:
        yield Notice("bad", "Not whole.", f"Worker {worker} does not answer: its part is missing here.")
    if shown.alone:
        yield Notice(
            "warn",
            "Not whole.",
            "This is one worker process alone: listen.control is not served, by which it would ask the others.",
        )
    for row in shown.certificates:
        days = days_left(row, shown.now)
        if days < 0:
            yield Notice(
                "bad", "Expired.", f"The certificate {row['file']} expired {counted(-days, 'day')} ago: renew it."
            )
        elif days < SOON_DAYS:
            yield Notice("warn", "Renew it.", f"The certificate {row['file']} expires in {counted(days, 'day')}.")


def _facts(shown: Overview) -> Iterator[tuple[str, str, str]]:
    known = sum(bool(row.get("who")) for row in shown.sessions)
    yield "Sessions open", number(shown.open), f"{number(known)} logged in" if shown.open == len(shown.sessions) else ""
    yield "Logins", number(shown.last_hour("logins")), "in the last hour"
    yield "Failures", number(shown.failures), "in the last hour"
    yield "Memory", octets(sum(row["memory"] for row in shown.processes)), _processes(len(shown.processes))
    yield "Runs for", span(max(row["seconds"] for row in shown.processes)), f"version {', '.join(shown.versions)}"
    days = [days_left(row, shown.now) for row in shown.certificates]
    if days:
        yield "Certificate", *_certificate(min(days), len(days))


def _certificate(days: int, many: int) -> tuple[str, str]:
    if days < 0:
        return "expired", f"{counted(-days, 'day')} ago"
    return f"{days} d", "left" if many == 1 else "left of the one that expires first"


def _processes(many: int) -> str:
    return "of one process" if many == 1 else f"of {many} processes"


def days_left(certificate: Row, now: float) -> int:
    """The whole days until a certificate expires; negative: the days since then that have begun."""
    return int((certificate["expires"] - now) // DAY)
