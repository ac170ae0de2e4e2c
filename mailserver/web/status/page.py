"""The status page: one document without scripts, whose only style sheet is in it, named by its hash in the policy."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from datetime import tzinfo
from pathlib import Path
from typing import Final

from mailserver.web.status.markup import Markup, element
from mailserver.web.status.overview import Overview
from mailserver.web.status.plot import drawn
from mailserver.web.status.plots import plots
from mailserver.web.status.sections import certificates, failures, processes, sessions
from mailserver.web.status.state import state
from mailserver.web.status.words import moment

STYLE: Final = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
"""Read at the import, when the process may still read Python's folders."""

POLICY: Final = f"style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode('ascii')}'"
"""What the page needs of the header Content-Security-Policy: its own style sheet, and nothing else."""

_SECTIONS: Final = {
    "failures": "What failed",
    "sessions": "Who is in",
    "day": "The last day",
    "processes": "What runs",
    "certificates": "Certificates",
}
"""The sections and their headings: first what somebody with a complaint looks for."""

_FOOT: Final = "The page shows what was when it was loaded, and does not change by itself. Each process keeps its own part in memory, until it ends."


def pieces(shown: Overview, zone: tzinfo | None = None) -> Iterator[str]:
    """The page, piece by piece, so that others may have a turn in between. Its times are of a zone, by default the machine's."""
    yield f'<!DOCTYPE html>\n<html lang="en">{_head(shown)}<body>'
    yield element("a", "Skip to the content", href="#content", class_="skip")
    yield _header(shown, zone)
    yield '<main id="content" tabindex="-1">'
    yield _state(shown)
    yield _section("failures", failures(shown, zone))
    yield _section("sessions", sessions(shown))
    yield f'<section id="day" aria-labelledby="day-heading">{_heading("day")}<div class="plots">'
    yield from (drawn(each, shown.end, zone) for each in plots(shown))
    yield "</div></section>"
    yield _section("processes", processes(shown))
    yield _section("certificates", certificates(shown, zone))
    yield f"</main>{element('footer', element('p', _FOOT))}</body></html>\n"


def _head(shown: Overview) -> Markup:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="robots", content="noindex"),
        element("title", f"{shown.hostname}: {state(shown).words}"),
        element("style", Markup(STYLE)),
    )


def _header(shown: Overview, zone: tzinfo | None) -> Markup:
    links = (element("li", element("a", heading, href=f"#{key}")) for key, heading in _SECTIONS.items())
    when = moment(shown.now, zone, "%A, %-d %B %Y, %H:%M:%S %Z")
    return element(
        "header",
        element("h1", shown.hostname),
        element("p", "As of ", when, ". ", element("a", "Load it anew", href=""), class_="when"),
        element("nav", element("ul", links), aria_label="Sections"),
    )


def _state(shown: Overview) -> Markup:
    now = state(shown)
    notices = [
        element("li", element("strong", notice.label), " ", notice.text, class_=notice.kind) for notice in now.notices
    ]
    facts = [
        element("div", element("dt", name), element("dd", value, element("small", more)))
        for name, value, more in now.facts
    ]
    return element(
        "section",
        element("h2", "State", id="state"),
        element("ul", notices, class_="notices"),
        element("dl", facts, class_="facts"),
        aria_labelledby="state",
    )


def _section(key: str, inside: Markup) -> Markup:
    return element("section", _heading(key), inside, id=key, aria_labelledby=f"{key}-heading")


def _heading(key: str) -> Markup:
    return element("h2", _SECTIONS[key], id=f"{key}-heading")
