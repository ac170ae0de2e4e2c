"""The sweep through all maildrops: removes old mail of users who do not log in, and what was kept of deletions long enough.

One process does it, one maildrop at a time, with a pause after each that is longer than the work: so it takes a third of one thread
at most, and no login waits for it. A maildrop in use is left to its own login, or to the next day.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import random
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.delivery.expiry import DAY, Expiry
from mailserver.errors import MaildropInUse, Refusal, StoreError
from mailserver.interfaces import IPart, IStore, IUserList, User

FIRST_SECONDS: Final = 600.0
"""From the start to the first sweep: after all clients have come back, and a machine without a battery has got its time."""

SPREAD_SECONDS: Final = 3600.0
"""At most so much later, at random: servers that start together do not search one file server together."""

AGAIN_SECONDS: Final = 3600.0
"""Until another try where the users could not be listed."""

PAGE: Final = 10_000
"""Names that are asked for at a time, a megabyte: a directory that sorts nothing is searched as a whole for each page."""

SHORTEST_PAUSE: Final = 0.01
"""Seconds after each maildrop: 100,000 of them take a quarter of an hour at least, and a million three hours."""

PAUSES: Final = 2
"""How many times as long as the work a pause is."""

TOLD: Final = 10
"""Failures that are told one by one: a file system that is not mounted fails for all users."""

SWEEP: Final = "sweep"
"""What the sweep calls itself in a maildrop's lock."""

log = Logger()


@implementer(IPart)
class Sweep:
    """A part that sweeps the maildrops in `store` of all `users` that can be listed, each day. The store is an `IKeeps`."""

    def __init__(self, users: IUserList, store: IStore, expiry: Expiry, draw: Callable[[], float] = random) -> None:
        self._users = users
        self._store: Any = store
        self._expiry = expiry
        self._draw = draw
        self._reactor: Any = None
        self._call: IDelayedCall | None = None
        self._running: Deferred[None] = succeed(None)

    def start(self, reactor: object) -> Deferred[None]:
        """Plan the first sweep."""
        self._reactor = reactor
        self._later(FIRST_SECONDS + self._draw() * SPREAD_SECONDS)
        return succeed(None)

    def reload(self) -> Deferred[None]:
        """Do nothing: each sweep looks up its users."""
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """End at once, but for a removal that has begun, which the store finishes; idempotent."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._running.cancel()
        return succeed(None)

    def _later(self, seconds: float) -> None:
        self._call = self._reactor.callLater(seconds, self._begin)

    def _begin(self) -> None:
        self._running = Deferred.fromCoroutine(self._sweep()).addErrback(self._broken)

    def _broken(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            log.failure("fault in a sweep", failure, event="retention.fault", user="")
            self._later(AGAIN_SECONDS)

    async def _sweep(self) -> None:
        begun = self._reactor.seconds()
        tally = {"users": 0, "in_use": 0, "failed": 0}
        whole = await self._through(tally)
        seconds = self._reactor.seconds() - begun
        log.info(
            "the sweep went through the maildrops of {users} users in {seconds:.0f} s: {in_use} were in use, {failed} failed",
            event="retention.swept",
            users=tally["users"],
            seconds=seconds,
            in_use=tally["in_use"],
            failed=tally["failed"],
        )
        self._later(max(0.0, DAY - seconds) if whole else AGAIN_SECONDS)

    async def _through(self, tally: dict[str, int]) -> bool:
        """Sweep all users; answers whether all could be listed."""
        after, more = "", True
        while more:
            try:
                names = list(await self._users.names(after, PAGE))
            except Refusal as error:
                log.warn("the users cannot be listed: {error}", event="retention.failed", user="", error=str(error))
                return False
            more = len(names) == PAGE
            for after in names:
                begun = self._reactor.seconds()
                await self._one(after, tally)
                took = self._reactor.seconds() - begun
                await deferLater(self._reactor, max(SHORTEST_PAUSE, PAUSES * took))
        return True

    async def _one(self, name: str, tally: dict[str, int]) -> None:
        """One user. Whatever goes wrong there, the others have their turn."""
        tally["users"] += 1
        try:
            user = await self._users.lookup(name)
            if user is not None and not user.unserved:
                await self._expire(replace(user, account=None))  # the whole account, whichever of its users it is
        except CancelledError:
            raise
        except MaildropInUse:
            tally["in_use"] += 1
        except (StoreError, Refusal) as error:
            tally["failed"] += 1
            if tally["failed"] <= TOLD:
                text = "the maildrop of {user!r} cannot be swept: {error}"
                log.warn(text, event="retention.failed", user=name, error=str(error))
        except Exception:  # noqa: BLE001 - a foreign checker may raise anything
            tally["failed"] += 1
            log.failure("fault in the sweep of {user!r}", event="retention.fault", user=name)

    async def _expire(self, user: User) -> None:
        now = self._expiry.clock.now()
        if now is None:
            return
        days = self._expiry.days(user)
        there = await self._store.tidy(user, now, days)
        if there and days is not None:
            maildrop = await self._store.open(user, SWEEP)  # it removes what is old
            maildrop.release()
