"""Questions about the whole server, which one process answers for all."""

from __future__ import annotations

import os
from typing import Final

from mailserver.control.port import Asking, Impossible
from mailserver.service.questions.facts import Facts
from mailserver.service.successor import START_SECONDS
from mailserver.service.whole import Whole

RELOAD_SECONDS: Final = 120.0
"""How long a reload may take: worker processes have 30 seconds for each of two rounds, and a slow database its own."""

RESTART_SECONDS: Final = START_SECONDS + 30.0
"""How long a restart may take: somewhat longer than the new process may."""


async def reload(facts: Facts, asking: Asking) -> None:
    """Read the settings again, and take what can change. Errors: Impossible."""
    asking.say((await _whole(facts).reload()).plain())


async def restart(facts: Facts, asking: Asking) -> None:
    """Let a new process take the place of this one, and wait until it serves. Errors: Impossible."""
    asking.say((await _whole(facts).restart()).plain())


def _whole(facts: Facts) -> Whole:
    if facts.whole is None:
        raise Impossible("another program embeds this server: ask that one", os.EX_UNAVAILABLE)
    return facts.whole
