"""Retention as the settings have it: the rule of one process, and the sweep of the one process that sweeps."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mailserver.auth import Users
from mailserver.config.settings import Retention as Rules
from mailserver.delivery.expiry import EvenClock, Expiry
from mailserver.delivery.retention import Retention
from mailserver.delivery.sweep import Sweep
from mailserver.interfaces import IStore, IUserList
from mailserver.store.deleting import EXPUNGE, Deleting


def make_expiry(rules: Rules) -> Expiry:
    """The site's rule, by the clocks of this machine."""
    return Expiry(rules.expire_days, EvenClock(time.time, time.monotonic), rules.shortest_expire_days)


def with_retention(store: IStore, expiry: Expiry, checkers: Sequence[object], deleting: Deleting) -> IStore:
    """The store whose logins remove old mail; they also tidy where a sweep would not find all users.

    That is asked anew each time: a database that is read again may list its users by then, or no more.
    """
    if deleting == EXPUNGE:
        return Retention(store, expiry)
    return Retention(store, expiry, tidies=lambda: not all(map(IUserList.providedBy, checkers)))


def make_sweep(rules: Rules, delete: str, users: Users, store: IStore, expiry: Expiry) -> Sweep | None:
    """The sweep through all users' maildrops, as far as they can be listed by then; None where the settings give it no work.

    `delete` is the setting `delivery.delete`.
    """
    wanted = rules.expire_days or rules.shortest_expire_days >= 0 or delete != EXPUNGE.act
    return Sweep(users, store, expiry) if wanted else None
