"""Accounts of many users (SDPS): whose password opens what of them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import is_dataclass, replace
from typing import Any, cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred
from zope.interface import Interface, implementer

from mailserver.auth.oracle import make_oracle
from mailserver.auth.portal import Chain
from mailserver.errors import LoginRefused, first_reason
from mailserver.exchange import VerifierOf
from mailserver.interfaces import Account, Census, IUsers, IVerifiers, User
from mailserver.names import Names, Owner, user_name


@implementer(ICredentialsChecker, IUsers, IVerifiers)
class Accounts:
    """Stands for `checkers`, before which it answers what is asked about an account's users.

    All users of an account have its password, but for those who have a line of their own: ``john@vision25``. So a name has
    one secret, whatever asks for it, and an unknown name takes the work of a known one.
    """

    def __init__(self, names: Names, checkers: Sequence[ICredentialsChecker]) -> None:
        self._names = names
        self._checkers = checkers
        self._users = [cast("IUsers", checker) for checker in checkers if IUsers.providedBy(checker)]
        self._verifiers = [cast("IVerifiers", checker) for checker in checkers if IVerifiers.providedBy(checker)]
        self._oracle = make_oracle(checkers)
        self._chains: dict[type, Chain] = {}

    @property
    def credentialInterfaces(self) -> tuple[type[Interface], ...]:
        """Those that some checker takes now."""
        return tuple({iface for checker in self._checkers for iface in checker.credentialInterfaces})

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """The name, whoever's secret it was. Errors: UnauthorizedLogin, and the checkers'."""
        name = user_name(getattr(credentials, "username", None))
        if name is None or self._names.owner(name).user is None:
            return self._chain(credentials).requestAvatarId(credentials)
        return Deferred.fromCoroutine(self._identify(name, credentials))

    def lookup(self, name: str) -> Deferred[User | None]:
        """The user. One of an account has its maildrop, and his own networks where he has a line of his own."""
        owner = self._names.owner(name)
        if owner.maildrop in self._names.accounts or len(self._users) != 1:
            return Deferred.fromCoroutine(self._lookup(name, owner))
        return self._users[0].lookup(name)

    def mechanisms(self) -> frozenset[bytes]:
        """Those of all the checkers."""
        return frozenset[bytes]().union(*(checker.mechanisms() for checker in self._verifiers))

    def verifier(self, name: bytes, mechanism: bytes, realm: bytes = b"", typed: bytes = b"") -> Deferred[object]:
        """As by the checker that has the secret."""
        return Deferred.fromCoroutine(self._verifier(name, mechanism, realm, typed))

    def census(self) -> Census:
        """Of all the checkers."""
        return self._oracle.census()

    def explain(self, name: str, mechanism: bytes) -> LoginRefused:
        """As the checkers say: of the user's own line, or of his account's."""
        owner = self._names.owner(name)
        told = [self._explained(each, name, owner, mechanism) for each in self._verifiers]
        return first_reason(told)

    def _explained(self, checker: IVerifiers, name: str, owner: Owner, mechanism: bytes) -> LoginRefused:
        own = checker.explain(name, mechanism)
        return own if own.known or owner.user is None else checker.explain(owner.maildrop, mechanism)

    async def _identify(self, name: str, credentials: Any) -> Any:
        owner = await self._secret_of(name)
        if owner == name:
            return await self._chain(credentials).requestAvatarId(credentials)
        asked = _named(credentials, owner.encode("utf-8"))
        answer = await self._chain(credentials).requestAvatarId(asked)
        if user_name(answer) != owner:  # a checker's own idea of who that is, and maybe cred's ANONYMOUS
            raise LoginRefused(f"the checker took him for {user_name(answer)!r}")
        return name.encode("utf-8")

    async def _verifier(self, name: bytes, mechanism: bytes, realm: bytes, typed: bytes) -> object:
        text = user_name(name)
        owner = name if text is None else (await self._secret_of(text)).encode("utf-8")
        return await self._oracle.ask(VerifierOf(owner, mechanism, realm, typed or name))

    async def _secret_of(self, name: str) -> str:
        """Whose secret opens what this name does."""
        owner = self._names.owner(name)
        return name if owner.user is None or await self._listed(name) is not None else owner.maildrop

    async def _lookup(self, name: str, owner: Owner) -> User | None:
        domain = self._names.accounts.get(owner.maildrop)
        found = await self._listed(owner.maildrop)
        if found is None and self._may_be_one(domain):
            found = User(owner.maildrop)
        if found is None or domain is None:
            return found
        own = None if owner.user is None else await self._listed(name)
        allowed = found if own is None else own
        account = Account(domain, owner.user)
        return replace(found, networks=allowed.networks, barred=allowed.barred, account=account)

    def _may_be_one(self, domain: str | None) -> bool:
        """Whether somebody whom nobody lists may have a maildrop: anybody may where there are no lists.

        With a checker that lists nobody an account may, because the operator has listed it.
        """
        return not self._users or (domain is not None and len(self._users) < len(self._checkers))

    async def _listed(self, name: str) -> User | None:
        for each in self._users:
            found = await each.lookup(name)
            if found is not None:
                return found
        return None

    def _chain(self, credentials: Any) -> Chain:
        chain = self._chains.get(type(credentials))
        if chain is None:
            taken = [iface for iface in self.credentialInterfaces if iface.providedBy(credentials)]
            if not taken:
                raise LoginRefused("no checker takes such credentials", known=None)
            chain = self._chains[type(credentials)] = Chain(taken[0], self._checkers)
        return chain


def _named(credentials: Any, name: bytes) -> Any:
    """The same proof by another name: what a client sends beside a name does not depend on it, or was verified already."""
    if is_dataclass(credentials) and not isinstance(credentials, type):
        return replace(credentials, username=name)
    other = copy(credentials)
    other.username = name
    return other
