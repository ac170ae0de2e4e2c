"""The copies of one message: who gets which, and the deposits by which they are stored.

Who shares a file sees the same fields on top of it, so a message for several people who do not know of one another (Bcc) has none that
says for whom it is. That is the price of one write for a hundred recipients, and the reason why a site can turn it off.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from twisted.internet.defer import Deferred, DeferredList, gatherResults, maybeDeferred, succeed
from twisted.python.failure import Failure

from mailserver.delivery.addresses import Address, read_address
from mailserver.incoming import IDeposit, IDeposits, Usage
from mailserver.interfaces import Account, User
from mailserver.names import Names

Key = tuple[str, Account | None]
"""Who gets a copy: of an account's users each gets one, and so does the account itself."""


class Copy(NamedTuple):
    """One user's copy."""

    user: User
    recipient: bytes
    """The address that it is for."""
    original: bytes
    """That address before other servers rewrote it; b"": nobody said, or it counts for nothing here."""
    before: Usage | None
    """What the maildrop held when the recipient was named; None where it has no quota."""

    @property
    def key(self) -> Key:
        """Who gets it."""
        return self.user.name, self.user.account

    @property
    def addresses(self) -> tuple[bytes, bytes]:
        """What the fields on top of it tell."""
        return self.recipient, self.original


NOBODYS = (b"", b"")
"""The addresses of a copy that says for nobody that it is his."""


def copy_for(  # noqa: PLR0913 - what is known of it
    user: User, *, found: Address, given: bytes, original: bytes, before: Usage | None, names: Names
) -> Copy:
    """The copy of a user who was `found` by one address while the sender had `given` another, if an alias is between them.

    An account's users get theirs by what Delivered-To says, since that alone divides the account into shares (docs/sdps.md): it is an
    address of the user's. What another server rewrote counts where it names a user of the account, and the sender named the account only.
    """
    told = read_address(original)
    if user.account is None:
        return Copy(user, given, told.octets if told and told.domain else b"", before)
    account, domain = user.account, user.account.domain or user.name
    if not found.domain or names.user(found.local) != account.user:
        own = Address(account.user or user.name, domain).octets
    else:
        own = given if found == read_address(given) else found.octets
    mine = told is not None and told.domain and names.owner(names.read(told.text) or "").maildrop == user.name
    return Copy(user, own, told.octets if told and mine and account.user is None else b"", before)


def has_own_file(copy: Copy, *, share: bool) -> bool:
    """Whether a copy is no other's, too: where its fields say for whom it is."""
    return copy.user.account is not None or not share


def grouped(copies: Iterable[Copy], *, share: bool) -> Sequence[tuple[tuple[bytes, bytes], Sequence[Copy]]]:
    """The copies that are one file, each with the addresses that its fields tell."""
    own = [copy for copy in copies if has_own_file(copy, share=share)]
    common = [copy for copy in copies if not has_own_file(copy, share=share)]
    told = {copy.addresses for copy in common}
    groups: list[tuple[tuple[bytes, bytes], Sequence[Copy]]] = [(copy.addresses, [copy]) for copy in own]
    if common:
        groups.append((told.pop() if len(told) == 1 else NOBODYS, common))
    return groups


class Group:
    """One file on its way into the maildrops of its copies. It never fails: `commit` tells what went wrong."""

    __slots__ = ("_deposit", "_error", "copies", "trace")

    def __init__(self, trace: bytes, copies: Sequence[Copy]) -> None:
        self.trace = trace
        self.copies = copies
        self._deposit: IDeposit | None = None
        self._error: Exception | None = None

    def open(self, store: IDeposits, octets: int | None) -> Deferred[None]:
        """Begin the deposit, and write the fields. `octets` are the message's own."""
        size = None if octets is None else octets + len(self.trace)
        opened = maybeDeferred(store.deposit, [copy.user for copy in self.copies], size)
        return opened.addCallbacks(self._opened, self._failed)

    def _opened(self, deposit: IDeposit) -> Deferred[None] | None:
        self._deposit = deposit
        return deposit.write(self.trace)

    def _failed(self, failure: Failure) -> None:
        failure.trap(Exception)
        self._error = cast(Exception, failure.value)

    def write(self, data: bytes) -> Deferred[None] | None:
        """Add octets."""
        return None if self._deposit is None else self._deposit.write(data)

    def commit(self) -> Deferred[Sequence[Exception | None]]:
        """The outcome of each copy."""
        if self._deposit is None:
            return succeed([self._error] * len(self.copies))
        return maybeDeferred(self._deposit.commit).addErrback(self._all_failed)

    def _all_failed(self, failure: Failure) -> Sequence[Exception | None]:
        self._failed(failure)
        return [self._error] * len(self.copies)

    def abort(self) -> None:
        """Forget it."""
        if self._deposit is not None:
            self._deposit.abort()


class Groups:
    """All files of a message, which are written together."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = groups
        self._ended = False

    def open(self, store: IDeposits, octets: int | None) -> Deferred[None]:
        """Begin all deposits; an `abort` meanwhile counts as soon as they are there."""
        opened = gatherResults([group.open(store, octets) for group in self._groups])
        return opened.addCallback(lambda _: self.abort() if self._ended else None)

    def write(self, data: bytes) -> Deferred[None] | None:
        """Add octets to all of them."""
        if not data or self._ended:
            return None
        waits = [wait for group in self._groups if (wait := group.write(data)) is not None]
        if not waits:
            return None
        return waits[0] if len(waits) == 1 else gatherResults(waits).addCallback(lambda _: None)

    async def commit(self) -> dict[Key, Exception | None]:
        """The outcome of each copy, by who gets it."""
        outcomes: dict[Key, Exception | None] = {}
        answers = await DeferredList([group.commit() for group in self._groups])
        for group, (_, answer) in zip(self._groups, answers, strict=True):
            outcomes.update(zip((copy.key for copy in group.copies), answer, strict=True))
        return outcomes

    def abort(self) -> None:
        """Forget them all; idempotent."""
        self._ended = True
        for group in self._groups:
            group.abort()
