"""The users of all checkers, in their order: the only place that looks up the user of a name.

A *question* is a call that a database would have to answer: a checker's `requestAvatarId`, `IUsers.lookup` or
`IVerifiers.verifier`. A login asks each question only once, because it carries the answer along: a checker or the oracle puts
the `User` that it has read into a `UserId`, which goes through the credentials to the realm. Nothing is cached: the answer ends
with the login, and a change of a user counts from the next login.

    USER and PASS, APOP, CRAM-MD5     1: requestAvatarId, by a checker that answers with a `UserId`; by any other 2
    SCRAM, DIGEST-MD5                 2: lookup, verifier
    EXTERNAL, tokens, Kerberos        1: lookup, by the checkers that know users
    a master for another user         1 more: the other's lookup
    a user of an account (SDPS)       1 more: a lookup of the user's own entry; if there is one, 2 more by a password

If several checkers know users, those before the one that knows the user are asked as well.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from zope.interface import implementer

from mailserver.auth.entry import both
from mailserver.counts import Timing
from mailserver.interfaces import Account, IUserList, IUsers, IVerifiers, User, UserId
from mailserver.names import PLAIN, Names, Owner, user_name

NOBODY = User("")
"""The `User` for an unknown name, so that the work is the same."""


def page(ordered: Sequence[str], after: str, limit: int) -> Sequence[str]:
    """Return the answer of `IUserList.names`, given all names in their order."""
    start = bisect_right(ordered, after)
    return ordered[start : start + limit]


def proved_by(user: User, answer: object) -> User:
    """The user as the app password lets in that a checker has verified, whoever has read the user."""
    if not isinstance(answer, UserId) or not answer.user.secret:
        return user
    return replace(user, secret=answer.user.secret, listeners=both(user.listeners, answer.user.listeners))


class Holder(NamedTuple):
    """The checker with the secret for a name."""

    name: str
    """The name of the secret: the user's own, or the account's."""
    verifiers: IVerifiers | None
    """The checker that has the secret; None: none has."""
    user_id: UserId
    """The user, from the same lookups. An unknown user gets one without `read_by`, since making it takes three microseconds."""


@implementer(IUserList)
class Users:
    """All users of `checkers`. Checkers without `IUsers` may accept others, who cannot be looked up.

    `naming` tells which names are accounts of many users (SDPS).
    """

    def __init__(self, checkers: Iterable[object], naming: Names = PLAIN) -> None:
        self.backends = tuple(checkers)
        self.naming = naming
        self.timing: Timing | None = None
        """By whom checkers are asked, if it is counted how they answer."""
        self.listing = [IUsers(each) for each in self.backends if IUsers.providedBy(each)]

    @classmethod
    def of(cls, given: Users | Iterable[object]) -> Users:
        """The users of some checkers; a given `Users`, also as the only checker (an `Accounts`), is returned itself."""
        if isinstance(given, Users):
            return given
        checkers = tuple(given)
        return checkers[0] if len(checkers) == 1 and isinstance(checkers[0], Users) else Users(checkers)

    @property
    def checkers(self) -> Sequence[ICredentialsChecker]:
        """All checkers, for a portal, since a checker may work without declaring its interface."""
        return cast("Sequence[ICredentialsChecker]", self.backends)

    def lookup(self, name: str) -> Deferred[User | None]:
        """Return the user from the first checker that knows the name; None when checkers list their users and none knows it.

        A checker that fails ends the search, since another may know a different user by this name. If no checker lists its
        users, every name may be a user's. A user of an account gets its maildrop, and the networks of their own entry.
        """
        owner = self.naming.owner(name)
        if owner.maildrop in self.naming.accounts:
            return Deferred.fromCoroutine(self._of_account(name, owner))
        return self.first(name) if self.listing else succeed(User(name))

    def names(self, after: str, limit: int) -> Deferred[Sequence[str]]:
        """Return the names of all checkers that can list them, each once. Errors: those of any of them."""
        return Deferred.fromCoroutine(self._names(after, limit))

    def first(self, name: str) -> Deferred[User | None]:
        """Return the user from the first checker with an entry for exactly this name."""
        if len(self.listing) == 1:
            return self._look_up(self.listing[0], name)
        return Deferred.fromCoroutine(self._first(name))

    def read_here(self, answer: object) -> UserId | None:
        """Return a checker's answer if it carries a `User` that these checkers, in this order, have read."""
        if not isinstance(answer, UserId) or not isinstance(answer.read_by, Users):
            return None
        other = answer.read_by
        same = other is self or (other.listing == self.listing and other.naming == self.naming)
        return answer if same else None

    def vouch(self, answer: UserId, checker: object, ignorant: Container[object]) -> UserId:
        """Return a checker's answer with the user as `lookup` would answer it, if that is certain; else as it came.

        It is certain if this checker knows users, and none before it can know this one; `ignorant` have said that they do
        not. A user of an account is made of two lines, of which the checker may have read only one.
        """
        first = next((each for each in self.listing if each is checker or each not in ignorant), None)
        if first is not checker:
            return answer
        user = answer.user
        if self.naming.accounts:
            owner = self.naming.owner(user_name(answer) or "")
            if owner.user is not None:
                return answer
            if owner.maildrop in self.naming.accounts:
                user = replace(user, account=Account(self.naming.accounts[owner.maildrop]))
        return UserId(answer, user, self)

    async def secret_of(self, name: str) -> tuple[str, User | None]:
        """The name whose secret opens what `name` opens, and the user of `name` if that was looked up for it."""
        return name, None

    async def opened(self, name: str, own: User | None, answer: Any) -> Any:  # noqa: ARG002 - the accounts need them
        """The avatar id of `name`, once its secret has proved `answer`. Errors: LoginRefused, those of the users."""
        return answer

    def identify(self, name: str, user: User) -> UserId:
        """Return the avatar id of a user that these checkers have read."""
        return UserId(name.encode("utf-8"), user, self)

    async def holder(self, name: str, able: Sequence[object]) -> Holder:
        """Find the one of `able` with the secret of `name`, or of its account, by the same lookups in each case."""
        owner = self.naming.owner(name)
        user, verifiers = await self._walk(name, able)
        if owner.maildrop not in self.naming.accounts:
            return self._held(name, verifiers, name, user)
        if owner.user is None:
            secret, whole, own = name, user, None
        else:
            own = user
            whole, accounts = await self._walk(owner.maildrop, able)
            secret, verifiers = (owner.maildrop, accounts) if own is None else (name, verifiers)
        return self._held(secret, verifiers, name, self.of_account(owner, whole, own))

    def _held(self, secret: str, verifiers: IVerifiers | None, name: str, user: User | None) -> Holder:
        user_id = UserId(name.encode("utf-8"), user or NOBODY, self if user else None)
        return Holder(secret, verifiers, user_id)

    def of_account(self, owner: Owner, account: User | None, own: User | None) -> User | None:
        """The user of a name that opens an account or a share of it, from the account's entry and the user's own.

        What is so of the maildrop, such as the quota, the account's entry says; who may log in, and how, the user's own. An
        unlisted account may still be used if some checker does not list its users, since the operator has configured it.
        """
        if account is None:
            if self.listing and len(self.listing) == len(self.backends):
                return None
            account = User(owner.maildrop)
        allowed = account if own is None else own
        of_many = Account(self.naming.accounts[owner.maildrop], owner.user)
        return replace(
            account,
            networks=allowed.networks,
            denied=allowed.denied,
            listeners=allowed.listeners,
            read_only=account.read_only or allowed.read_only,
            login_delay=allowed.login_delay,
            account=of_many,
        )

    async def _of_account(self, name: str, owner: Owner) -> User | None:
        account = await self.first(owner.maildrop)
        return self.of_account(owner, account, None if owner.user is None else await self.first(name))

    def _look_up(self, checker: IUsers, name: str) -> Deferred[User | None]:
        if self.timing is None:
            return checker.lookup(name)
        return maybeDeferred(self.timing.ask, checker, checker.lookup, name)

    async def _first(self, name: str) -> User | None:
        for each in self.listing:
            user = await self._look_up(each, name)
            if user is not None:
                return user
        return None

    async def _walk(self, name: str, able: Sequence[object]) -> tuple[User | None, IVerifiers | None]:
        """The user from the first checker that knows the name, and the first of `able` that knows it."""
        first: User | None = None
        for each in self.listing:
            if first is None or each in able:
                user = await self._look_up(each, name)
                first = user if first is None else first
                if user is not None and each in able:
                    return first, cast("IVerifiers", each)  # to adapt it would take the time that tells who exists
        return first, None

    async def _names(self, after: str, limit: int) -> Sequence[str]:
        found: set[str] = set()
        for each in self.backends:
            if IUserList.providedBy(each):
                found.update(await IUserList(each).names(after, limit))
        return sorted(found)[:limit]
