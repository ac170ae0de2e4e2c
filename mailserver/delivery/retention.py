"""Removes old mail when a maildrop is opened, before its session sees it.

It commits exactly the old messages, by the store's own journal, and opens the maildrop again. So a crash leaves what any
crashed QUIT leaves, and a session never sees a message that is about to go.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailserver.answers import Answer, ask, awaited, prompt, then, unstoppable
from mailserver.delivery.expiry import DAY, Expiry
from mailserver.errors import StoreError
from mailserver.forwarding import Forwarding
from mailserver.incoming import IExpunges
from mailserver.interfaces import IMaildrop, IStore, User
from mailserver.snapshot import FIRST_MAIL, MICROSECONDS

REMEMBERED: Final = 20_000
"""Users whose last tidying is remembered: a few megabytes. Of more, some are tidied twice a day."""

log = Logger()


def old(arrivals: Sequence[int], limit: float, unordered: int = 0) -> Sequence[int]:
    """The message-numbers of what came before `limit`, in seconds of the epoch; `arrivals` is a snapshot's column.

    So many at its beginning are in no order, and are looked at one by one.
    """
    until = int(limit * MICROSECONDS)
    first = bisect_left(arrivals, FIRST_MAIL, unordered)
    found = range(first + 1, max(first, bisect_left(arrivals, until, unordered)) + 1)
    if not unordered or min(arrivals[:unordered]) >= until:
        return found
    return [*(at for at, arrival in enumerate(arrivals[:unordered], 1) if FIRST_MAIL <= arrival < until), *found]


class Retention(Forwarding):
    """In front of a store whose maildrops may be expunged: its sessions see no old mail.

    It is removed for good, whatever the store keeps of what users delete: it went by the site's rule, which may be a duty, and
    nobody has deleted it by mistake. A user who may delete nothing loses it as well; days of their own protect an archive.
    While `tidies` answers yes, a user's first login of a day also tidies, for users whom no sweep finds.
    """

    def __init__(self, store: IStore, expiry: Expiry, *, tidies: Callable[[], bool] = lambda: False) -> None:
        super().__init__(store)
        self._expiry = expiry
        self._tidies = tidies
        self._tidied: OrderedDict[str, float] = OrderedDict()

    @prompt
    def open(self, user: User, owner: str) -> Answer[IMaildrop]:
        """As the store; old mail is removed first."""
        if user.expire_days is not None:
            self._expiry.check(user)
        now = self._expiry.clock.now() if self._tidies() else None
        if now is not None and self._is_due(user, now):
            return Deferred.fromCoroutine(self._tidied_and_opened(user, owner, now))
        return self._opened(user, owner)

    def _opened(self, user: User, owner: str) -> Answer[IMaildrop]:
        opened = ask(self._store.open, user, owner)
        return opened if self._expiry.days(user) is None else then(opened, self._without_old, user, owner)

    def _is_due(self, user: User, now: float) -> bool:
        """Whether the user's maildrop was not tidied today, as far as is remembered."""
        if now - self._tidied.get(user.name, -DAY) < DAY:
            return False
        self._tidied[user.name] = now
        self._tidied.move_to_end(user.name)
        if len(self._tidied) > REMEMBERED:
            self._tidied.popitem(last=False)
        return True

    async def _tidied_and_opened(self, user: User, owner: str, now: float) -> IMaildrop:
        with suppress(StoreError):  # the opening meets and tells it as well
            await self.tidy(user, now, self._expiry.days(user))
        return await awaited(self._opened(user, owner))

    def _without_old(self, maildrop: IMaildrop, user: User, owner: str) -> Answer[IMaildrop]:
        messages = maildrop.messages
        limit = self._expiry.limit(user) if messages.arrivals else None
        numbers = () if limit is None else old(messages.arrivals, limit, messages.unordered)
        if not numbers or not IExpunges.providedBy(maildrop):
            return maildrop
        return Deferred.fromCoroutine(self._expunged(maildrop, numbers, user, owner))

    async def _expunged(self, maildrop: IMaildrop, numbers: Sequence[int], user: User, owner: str) -> IMaildrop:
        """The maildrop opened again without these messages. What cannot be removed now stays, and the next login tries again."""
        left, error = len(numbers), ""
        try:
            left = await unstoppable(IExpunges(maildrop).expunge(numbers))
        except StoreError as told:
            error = str(told)
        if error or left:
            log.warn(
                "{left} of {messages} old messages of {user!r} could not be removed: {error}",
                event="retention.left",
                user=user.name,
                messages=len(numbers),
                left=left,
                error=error or "see the note on the maildrop",
            )
        else:
            log.info(
                "{messages} messages of {user!r} are older than {days} days and removed",
                event="retention.expired",
                user=user.name,
                messages=len(numbers),
                days=self._expiry.days(user),
            )
        return await self._store.open(user, owner)
