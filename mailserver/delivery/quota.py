"""Quotas: how much a user's maildrop may hold, and what a sender hears who would make it too much.

A user's own quota counts, from whatever database, or else the site's. At a recipient's address the usage of the moment and the announced
size decide, so that most mail is refused before it is sent; at the end the store decides in one step with the delivery, so that two
deliveries at once cannot both have the last octets. `User.quota` tells the store which quota that is.
"""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred

from mailserver.errors import OverQuota, QuotaExceeded
from mailserver.incoming import IDeposits, Usage, effective
from mailserver.interfaces import Quota, User
from mailserver.limits import QuotaRules
from mailserver.smtp_errors import OverQuotaForGood


class Quotas:
    """The quotas of a site's users."""

    def __init__(self, store: IDeposits, rules: QuotaRules) -> None:
        self._store = store
        self._site = effective(Quota(rules.octets, rules.messages))
        self._refusal: type[OverQuota] = OverQuotaForGood if rules.over == "permanent" else OverQuota

    def of(self, user: User) -> Quota | None:
        """The user's own quota, or else the site's; None: no limit."""
        return self._site if user.quota is None else effective(user.quota)

    def bounded(self, user: User) -> User:
        """The user as the store is to see him: with the quota that counts."""
        return replace(user, quota=self.of(user))

    def admit(self, user: User, octets: int | None) -> Deferred[Usage | None]:
        """What the maildrop of a `bounded` user holds, if it has room for a message; None: nobody counts.

        `octets` is the announced size, None: unknown. Errors: OverQuota; those of `IDeposits.usage`.
        """
        return Deferred.fromCoroutine(self._admit(user, octets))

    async def _admit(self, user: User, octets: int | None) -> Usage | None:
        if user.quota is None:
            return None
        usage = await self._store.usage(user)
        if usage.exceeds(user.quota, octets or 1, 1):  # a message has one octet at least
            raise self._refusal
        return usage

    def refusal_for(self, error: Exception) -> Exception:
        """The refusal of a quota that was exceeded at the end; any other error as it is."""
        return self._refusal() if isinstance(error, QuotaExceeded) else error

    def is_over(self, error: Exception) -> bool:
        """Whether the error says that the maildrop is full by its quota, whenever that was found."""
        return isinstance(error, (QuotaExceeded, OverQuota))


def percent(quota: Quota, usage: Usage) -> int:
    """How much of the quota is in use, of octets or of messages, whichever is more; rounded down."""
    octets = usage.octets * 100 // quota.octets if quota.octets else 0
    return max(octets, usage.messages * 100 // quota.messages if quota.messages else 0)
