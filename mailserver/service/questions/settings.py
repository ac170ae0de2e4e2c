"""The question about the settings that are in effect."""

from __future__ import annotations

import os

from mailserver.config.shown import shown_settings
from mailserver.control.port import Asking, Impossible
from mailserver.service.questions.facts import Facts


def config(facts: Facts, asking: Asking) -> None:
    """Each setting, and where it is set, without secrets. Errors: Impossible."""
    if facts.config is None:
        raise Impossible("this process has no settings", os.EX_UNAVAILABLE)
    for setting in shown_settings(facts.config):
        asking.say(setting._asdict())
