"""Makes the deliveries of the settings, for the listeners that take mail in."""

from __future__ import annotations

import socket
from typing import cast

from mailserver.auth import Users
from mailserver.config.problems import Problems
from mailserver.config.settings import Config
from mailserver.delivery.deliver import Deliveries
from mailserver.errors import ConfigError
from mailserver.incoming import IDeposits
from mailserver.interfaces import IStore
from mailserver.service.parts import Parts


def make_deliveries(config: Config, users: Users, store: IStore, problems: Problems, parts: Parts) -> Deliveries | None:
    """The deliveries into a store, whose parts join `parts`; None where `problems` say why there are none.

    `users` are those of all checkers. A checker that knows no users of its own cannot say whose an address is: what others do not
    know is nobody's, and where no checker knows any, every address would be somebody's.
    """
    made: Deliveries | None = None
    with problems.collect("auth.checkers"):
        if not users.listing:
            raise ConfigError(
                ["auth.checkers: no checker knows which users there are, for mail to come in: use a passwd-file"]
            )
        made = Deliveries(
            cast(IDeposits, store),
            users,
            config.naming(),
            config.hostname or socket.getfqdn(),
            delivery=config.delivery,
            quota=config.quota,
        )
        parts.add(made.aliases, "delivery.aliases")
        parts.add(made.warnings, "quota.warn_command")
    return made
