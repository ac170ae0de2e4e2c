"""Retention as the settings have it: the rule of one process, and the sweep of the one process that sweeps."""

from __future__ import annotations

import time
from collections.abc import Iterable

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


def with_retention(store: IStore, expiry: Expiry, checkers: Iterable[object], deleting: Deleting) -> IStore:
    """The store whose logins remove old mail; they also tidy where a sweep would not find all users."""
    return Retention(store, expiry, tidies=deleting != EXPUNGE and not all(map(IUserList.providedBy, checkers)))


def make_sweep(rules: Rules, delete: str, users: Users, store: IStore, expiry: Expiry) -> Sweep | None:
    """The sweep through all users' maildrops; None where there is nothing to sweep, by the settings or for want of lists.

    `delete` is the setting `delivery.delete`.
    """
    wanted = rules.expire_days or rules.shortest_expire_days >= 0 or delete != EXPUNGE.act
    listed = any(map(IUserList.providedBy, users.backends))
    return Sweep(users, store, expiry) if wanted and listed else None
