"""A store in front of another one: shares of accounts, and retention, change what a login sees, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import cast

from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailserver.answers import Answer, ask, prompt
from mailserver.foresight import ILooks, Sight, seen
from mailserver.incoming import IDeposit, IDeposits, IKeeps, IReserves, Kept, Usage
from mailserver.interfaces import IMaildrop, IStore, User
from mailserver.upkeep import Finding, Held, IUpkeep, Repair


@implementer(IStore, IDeposits, IKeeps, IReserves, IUpkeep, ILooks)
class Forwarding(ABC):
    """Does as `store` does, but for the opening, which is a subclass's. It takes messages and keeps some if `store` does."""

    def __init__(self, store: IStore) -> None:
        self._store = store

    @property
    def behind(self) -> IStore:
        """The store."""
        return self._store

    @property
    def needs(self) -> frozenset[str]:
        """As the store."""
        return self._store.needs

    def start(self, reactor: object = None) -> Deferred[None]:
        """As the store."""
        return self._store.start(reactor)

    def reload(self) -> Deferred[None]:
        """As the store."""
        return self._store.reload()

    def stop(self) -> Deferred[None]:
        """As the store."""
        return self._store.stop()

    @abstractmethod
    def open(self, user: User, owner: str) -> Deferred[IMaildrop]:
        """As IStore."""

    def look(self, user: User) -> Deferred[Sight | None]:
        """As the store."""
        return seen(self._store, user)

    def deposit(self, users: Sequence[User], size: int | None, kept: Kept | None = None) -> Deferred[IDeposit]:
        """As the store."""
        return cast("IDeposits", self._store).deposit(users, size, kept)

    @prompt
    def usage(self, user: User) -> Answer[Usage]:
        """As the store."""
        return ask(cast("IDeposits", self._store).usage, user)

    @prompt
    def reserve(self, user: User, owner: str, dry_run: bool = False) -> Answer[Callable[[], object]]:
        """As the store."""
        return ask(cast("IReserves", self._store).reserve, user, owner, dry_run)

    @prompt
    def undelete(self, user: User) -> Answer[int]:
        """As the store."""
        return ask(cast("IKeeps", self._store).undelete, user)

    @prompt
    def kept(self, user: User) -> Answer[int]:
        """As the store."""
        return ask(cast("IKeeps", self._store).kept, user)

    @prompt
    def tidy(self, user: User, now: float, days: int | None) -> Answer[bool]:
        """As the store."""
        return ask(cast("IKeeps", self._store).tidy, user, now, days)

    @prompt
    def place(self, user: User) -> Answer[str]:
        """As the store."""
        return ask(cast("IUpkeep", self._store).place, user)

    @prompt
    def view(self, user: User) -> Answer[IMaildrop]:
        """As the store."""
        return ask(cast("IUpkeep", self._store).view, user)

    @prompt
    def locks(self, user: User) -> Answer[Sequence[Held]]:
        """As the store."""
        return ask(cast("IUpkeep", self._store).locks, user)

    @prompt
    def verify(self, user: User) -> Answer[Sequence[Finding]]:
        """As the store."""
        return ask(cast("IUpkeep", self._store).verify, user)

    @prompt
    def repair(self, user: User) -> Answer[Repair]:
        """As the store."""
        return ask(cast("IUpkeep", self._store).repair, user)
