"""What is measured; each process answers for itself."""

from __future__ import annotations

from mailserver.control.port import Asking, Impossible
from mailserver.service.questions.facts import Facts


def metrics(facts: Facts, asking: Asking) -> None:
    """The metrics of this process: a row for each. Errors: Impossible, where nothing is counted."""
    if facts.measures is None:
        raise Impossible("nothing is counted: listen.http of the settings turns it on")
    for row in facts.measures.rows():
        asking.say({"worker": facts.number, **row})
