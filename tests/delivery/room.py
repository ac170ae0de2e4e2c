"""What deliveries stand between, for tests: users by name, and a store of lists that fails as it is told to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from mailserver.delivery.deliver import Deliveries
from mailserver.errors import QuotaExceeded, TemporaryFailure
from mailserver.incoming import IDeposit, IDeposits, Sender, Usage
from mailserver.interfaces import Account, IUsers, User
from mailserver.limits import Delivery, QuotaRules
from mailserver.names import PLAIN, Names
from mailserver.wireform import Canonical

NOW = 1_795_748_400.0
"""Fri, 27 Nov 2026 03:00:00 +0000."""

SENDER = Sender(b"eve@example.net", b"mx.example.net", "192.0.2.1", b"LMTP", "", "4f2a", None)
"""Who hands the mail of these tests over."""


@implementer(IUsers)
class People:
    """Users by their names; `down` are names that cannot be looked up."""

    def __init__(self, names: Iterable[str] = (), **users: User) -> None:
        self.users = {name: User(name) for name in names} | {user.name: user for user in users.values()}
        self.down: set[str] = set()
        self.asked: list[str] = []

    def lookup(self, name: str) -> Deferred[User | None]:
        self.asked.append(name)
        return fail(TemporaryFailure()) if name in self.down else succeed(self.users.get(name))


@implementer(IUsers)
class Hosts:
    """The users of accounts (SDPS), as `auth.users.Users` gives them: every user of an account is somebody."""

    def __init__(self, names: Names) -> None:
        self.names = names

    def lookup(self, name: str) -> Deferred[User | None]:
        owner = self.names.owner(name)
        if owner.maildrop not in self.names.accounts:
            return succeed(None)
        return succeed(User(owner.maildrop, account=Account(self.names.accounts[owner.maildrop], owner.user)))


@dataclass
class Kept:
    """A message in the store."""

    user: User
    data: bytes


@implementer(IDeposits)
class Lists:
    """A store whose messages lie in a list, in the order in which they came."""

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self.files = 0
        """How many times a message was written, for however many users."""
        self.open = 0
        self.failing: dict[str, Exception] = {}
        """Users for whom nothing can be stored."""
        self.refusing: Exception | None = None
        """Why no deposit can be begun."""
        self.breaking: Exception | None = None
        """What a commit fails with as a whole: a fault."""
        self.unknown: dict[str, Exception] = {}
        """Users whose usage cannot be told."""
        self.beginning: Deferred[None] | None = None
        """What a deposit waits for before it begins."""
        self.late: list[Deferred[None]] | None = None
        """If a list, each write waits until its Deferred fires."""
        self.waiting: Deferred[None] | None = None
        """What a commit waits for."""
        self.sizes: list[int | None] = []

    def deposit(self, users: Sequence[User], size: int | None, kept: object = None) -> Deferred[IDeposit]:
        if self.refusing is not None:
            return fail(self.refusing)
        assert len({(user.name, user.account) for user in users}) == len(users) > 0
        self.sizes.append(size)
        return (self.beginning or succeed(None)).addCallback(lambda _: self._begun(users))

    def _begun(self, users: Sequence[User]) -> IDeposit:
        self.open += 1
        return ListDeposit(self, users)

    def usage(self, user: User) -> Deferred[Usage]:
        error = self.unknown.get(user.name)
        return succeed(self.usage_of(user)) if error is None else fail(error)

    def usage_of(self, user: User) -> Usage:
        own = [each.data for each in self.kept if each.user.name == user.name]
        return Usage(len(own), sum(map(len, own)))

    def of(self, name: str) -> list[bytes]:
        """A user's messages."""
        return [each.data for each in self.kept if each.user.name == name]

    def fill(self, name: str, octets: int, messages: int = 1) -> None:
        """Let a user have some mail already."""
        self.kept += [Kept(User(name), b"x" * (octets // messages)) for _ in range(messages)]


@implementer(IDeposit)
@dataclass
class ListDeposit:
    """A message for some users of `Lists`."""

    store: Lists
    users: Sequence[User]
    written: list[bytes] = field(default_factory=list)
    ended: bool = False

    def write(self, data: bytes) -> Deferred[None] | None:
        assert not self.ended
        self.written.append(data)
        if self.store.late is None:
            return None
        self.store.late.append(Deferred())
        return self.store.late[-1]

    def commit(self) -> Deferred[Sequence[Exception | None]]:
        assert not self.ended
        self.ended = True
        self.store.open -= 1
        if self.store.breaking is not None:
            raise self.store.breaking
        waiting = self.store.waiting or succeed(None)
        return waiting.addCallback(lambda _: [self._outcome(user) for user in self.users])

    def _outcome(self, user: User) -> Exception | None:
        canonical = Canonical()
        data = canonical.feed(b"".join(self.written)) + canonical.end()
        if user.name in self.store.failing:
            return self.store.failing[user.name]
        usage = self.store.usage_of(user)
        if user.quota and (
            (user.quota.octets and usage.octets + len(data) > user.quota.octets)
            or (user.quota.messages and usage.messages + 1 > user.quota.messages)
        ):
            return QuotaExceeded("too much")
        if user is self.users[0]:
            self.store.files += 1
        self.store.kept.append(Kept(user, data))
        return None

    def abort(self) -> None:
        if not self.ended:
            self.ended = True
            self.store.open -= 1


def deliveries(
    store: Lists,
    users: object,
    naming: Names = PLAIN,
    *,
    delivery: Mapping[str, object] | None = None,
    quota: Mapping[str, object] | None = None,
) -> Deliveries:
    """Deliveries to these users, with some settings of [delivery] and [quota]."""
    return Deliveries(
        store,
        users,  # type: ignore[arg-type]  # a class provides it
        naming,
        "mail.example.org",
        delivery=Delivery(**(delivery or {})),  # type: ignore[arg-type]  # the tests' own
        quota=QuotaRules(**(quota or {})),  # type: ignore[arg-type]
        wall=lambda: NOW,
    )
