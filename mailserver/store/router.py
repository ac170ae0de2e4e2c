"""One store for each scheme of store URLs, so that a user's own `mail` can name another store than the configured URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.answers import Answer, ask, prompt
from mailserver.errors import MaildropUnavailable, NoMaildrop, StoreError
from mailserver.foresight import ILooks, Sight, seen
from mailserver.incoming import IDeposit, IDeposits, IKeeps, IReserves, Kept, Usage
from mailserver.interfaces import IMaildrop, IStore, User
from mailserver.modules import unusable_for
from mailserver.store.joined import joined
from mailserver.upkeep import Finding, Held, IUpkeep, Repair

T = TypeVar("T")

_UNABLE: Final[Mapping[object, str]] = {
    IDeposits: "the store of {name!r} takes no messages",
    IKeeps: "the store of {name!r} keeps nothing that is deleted",
    IReserves: "no mail can move into the store of {name!r}",
    IUpkeep: "the store of {name!r} has no files",
}
"""What to say where a store does not provide an interface."""

SHOWN: Final = 80
"""Characters of a mail location that the log shows: a path's beginning tells enough."""


@implementer(IStore, IDeposits, IKeeps, IReserves, IUpkeep, ILooks)
class Router:
    """Opens a maildrop in the store that the user's `mail` names, or else in `configured`, which is of `scheme`.

    `schemes` makes the other stores. Each is made and started when the first of its users logs in, and lives as long as the
    router. A store reads `User.mail` itself, and refuses what is not its own; so no user gets another user's maildrop.
    """

    def __init__(self, scheme: str, configured: IStore, schemes: Mapping[str, Callable[[], IStore]]) -> None:
        self._scheme = scheme
        self._stores = {scheme: configured}
        self._schemes = schemes
        self._waiting: dict[str, list[Deferred[IStore]]] = {}  # logins, by the scheme whose store is being started
        self._reactor: object = None
        self._stopped = False

    @property
    def needs(self) -> frozenset[str]:
        """As the configured store: a `mail` tells all that the others need."""
        return self._stores[self._scheme].needs

    def start(self, reactor: object = None) -> Deferred[None]:
        """Start the configured store, and after a stop the others that were in use. Errors: those of the first that fails."""
        self._reactor = reactor
        self._stopped = False
        return Deferred.fromCoroutine(self._start())

    def reload(self) -> Deferred[None]:
        """Reload the stores in use, each whatever becomes of the others. Errors: that of one."""
        return Deferred.fromCoroutine(self._each(lambda store: store.reload()))

    def stop(self) -> Deferred[None]:
        """Stop the stores in use, each whatever becomes of the others. Errors: that of one."""
        self._stopped = True
        return Deferred.fromCoroutine(self._stop())

    @prompt
    def open(self, user: User, owner: str) -> Answer[IMaildrop]:
        """As the user's store. Errors: also NoMaildrop, of a scheme that is not known."""
        store = self._stores.get(self._scheme_of(user))
        return (
            self._store_of(user).addCallback(lambda found: found.open(user, owner))
            if store is None
            else ask(store.open, user, owner)
        )

    def look(self, user: User) -> Deferred[Sight | None]:
        """As the user's store. Errors: also NoMaildrop, of a scheme that is not known."""
        return self._store_of(user).addCallback(seen, user)

    def deposit(self, users: Sequence[User], size: int | None, kept: Kept | None = None) -> Deferred[IDeposit]:
        """One deposit in each of the users' stores. A store that cannot be asked is an error of its own users."""
        return Deferred.fromCoroutine(self._deposit(users, size, kept))

    def usage(self, user: User) -> Deferred[Usage]:
        """As the user's store. Errors: also NoMaildrop, of a scheme that is not known, or a store that takes no messages."""
        return self._able(IDeposits, user).addCallback(lambda store: store.usage(user))

    def reserve(self, user: User, owner: str, dry_run: bool = False) -> Deferred[Callable[[], object]]:
        """As the user's store. Errors: also as of `open`."""
        return self._able(IReserves, user).addCallback(lambda store: store.reserve(user, owner, dry_run))

    def undelete(self, user: User) -> Deferred[int]:
        """As the user's store. Errors: as of `open`."""
        return self._able(IKeeps, user).addCallback(lambda store: store.undelete(user))

    def kept(self, user: User) -> Deferred[int]:
        """As the user's store. Errors: as of `open`."""
        return self._able(IKeeps, user).addCallback(lambda store: store.kept(user))

    def tidy(self, user: User, now: float, days: int | None) -> Deferred[bool]:
        """As the user's store. Errors: as of `open`."""
        return self._able(IKeeps, user).addCallback(lambda store: store.tidy(user, now, days))

    def place(self, user: User) -> Deferred[str]:
        """As the user's store. Errors: also NoMaildrop, of a store without files."""
        return self._able(IUpkeep, user).addCallback(lambda store: store.place(user))

    def view(self, user: User) -> Deferred[IMaildrop]:
        """As the user's store. Errors: also as of `place`."""
        return self._able(IUpkeep, user).addCallback(lambda store: store.view(user))

    def locks(self, user: User) -> Deferred[Sequence[Held]]:
        """As the user's store. Errors: also as of `place`."""
        return self._able(IUpkeep, user).addCallback(lambda store: store.locks(user))

    def verify(self, user: User) -> Deferred[Sequence[Finding]]:
        """As the user's store. Errors: also as of `place`."""
        return self._able(IUpkeep, user).addCallback(lambda store: store.verify(user))

    def repair(self, user: User) -> Deferred[Repair]:
        """As the user's store. Errors: also as of `place`."""
        return self._able(IUpkeep, user).addCallback(lambda store: store.repair(user))

    async def _deposit(self, users: Sequence[User], size: int | None, kept: Kept | None) -> IDeposit:
        stores: dict[IDeposits, list[int]] = {}
        errors: dict[int, Exception] = {}
        for at, user in enumerate(users):
            try:
                stores.setdefault(await self._able(IDeposits, user), []).append(at)
            except StoreError as error:
                errors[at] = error
        parts = [(await store.deposit([users[at] for at in some], size, kept), some) for store, some in stores.items()]
        return joined(parts, errors)

    def _able(self, ability: Callable[[IStore, None], T | None], user: User) -> Deferred[T]:
        """The user's store, as one that can do this. Errors: as of `_store_of`, and NoMaildrop where it cannot."""

        def able(store: IStore) -> T:
            found = ability(store, None)
            if found is None:
                raise NoMaildrop(_UNABLE[ability].format(name=user.name))
            return found

        return self._store_of(user).addCallback(able)

    def _scheme_of(self, user: User) -> str:
        return self._scheme if user.mail is None else user.mail.partition(":")[0]

    @prompt
    def _store_of(self, user: User) -> Answer[IStore]:
        """The store of a user, once it has started. Errors: NoMaildrop, of a scheme that is not known."""
        scheme = self._scheme_of(user)
        store = self._stores.get(scheme)
        if store is not None:
            return store
        if scheme not in self._schemes:
            known = ", ".join(f"{name}:" for name in self._schemes)
            location = (user.mail or "")[:SHOWN]
            raise NoMaildrop(f"the mail location {location!r} of {user.name!r} names no store; known are {known}")
        return self._started(scheme)

    def _started(self, scheme: str) -> Deferred[IStore]:
        """The store of a scheme, once it has started. One start serves all who wait; to cancel this leaves it alone."""
        answer: Deferred[IStore] = Deferred()
        begun = scheme in self._waiting
        self._waiting.setdefault(scheme, []).append(answer)
        if not begun:
            Deferred.fromCoroutine(self._make(scheme)).addBoth(self._made, scheme)
        return answer

    async def _make(self, scheme: str) -> IStore:
        if self._stopped:
            raise MaildropUnavailable(f"the store {scheme}: is not started any more: the server stops")
        try:
            store = self._schemes[scheme]()
            await store.start(self._reactor)
        except Exception as error:
            unusable = unusable_for(error)
            if unusable is None:
                raise
            raise MaildropUnavailable(f"the store {scheme}: cannot be started: {unusable}") from error
        return store

    def _made(self, made: IStore | Failure, scheme: str) -> None:
        if not isinstance(made, Failure):
            self._stores[scheme] = made
        for answer in self._waiting.pop(scheme):
            answer.callback(made)

    async def _start(self) -> None:
        for store in list(self._stores.values()):
            try:
                await store.start(self._reactor)
            except Exception:
                await DeferredList([self.stop()], consumeErrors=True)  # its error must not hide the start's, the cause
                raise

    async def _stop(self) -> None:
        await DeferredList([self._started(scheme) for scheme in list(self._waiting)], consumeErrors=True)
        await self._each(lambda store: store.stop())

    async def _each(self, call: Callable[[IStore], Deferred[None]]) -> None:
        calls = [maybeDeferred(call, store) for store in self._stores.values()]
        await DeferredList(calls)
        for called in calls:
            await called
