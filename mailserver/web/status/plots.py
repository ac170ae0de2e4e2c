"""What is plotted of the last day."""

from __future__ import annotations

from mailserver.web.status.history import STEP
from mailserver.web.status.overview import Overview
from mailserver.web.status.plot import Line, Plot
from mailserver.web.status.words import number, octets, seconds

_STEP = f"in each {STEP} minutes"


def plots(shown: Overview) -> list[Plot]:
    """The plots, in their order on the page."""
    of = shown.history
    return [
        Plot(
            "logins",
            "Logins",
            "login",
            f"Logins that were let in, and those that were refused, {_STEP}.",
            [Line("let in", of["logins"]), Line("refused", of["refused"])],
            number,
        ),
        Plot(
            "fetched",
            "Fetches",
            "message",
            f"Messages that clients have fetched, {_STEP}.",
            [Line("messages", of["fetched"])],
            number,
        ),
        Plot(
            "waited",
            "Delays",
            "",
            "The longest time for which a login was held back, since others at its user or from its address had failed.",
            [Line("longest", of["waited"], total=False)],
            seconds,
        ),
        Plot(
            "memory",
            "Memory",
            "",
            "Memory of all processes together, at most in each 5 minutes.",
            [Line("memory", of["memory"], total=False)],
            octets,
            least=1e6,
        ),
    ]
