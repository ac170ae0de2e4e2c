"""Accounts of many users (SDPS): the password that opens an account or a share of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import is_dataclass, replace
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred
from zope.interface import Interface, implementer

from mailserver import reasons
from mailserver.answers import Answer, ask, prompt
from mailserver.auth.chain import Chain
from mailserver.auth.oracle import make_oracle
from mailserver.auth.refusals import first_reason
from mailserver.auth.users import Users, proved_by
from mailserver.errors import LoginRefused
from mailserver.exchange import VerifierOf
from mailserver.interfaces import Census, IVerifiers, User
from mailserver.names import Names, Owner, user_name


@implementer(ICredentialsChecker, IVerifiers)
class Accounts(Users):
    """The users of `checkers`, and a single checker that replaces these in a portal.

    The users of an account share its password, except those with an entry of their own, such as ``john@vision25``. So each
    name has one secret, for all mechanisms, and an unknown name takes the same work as a known one.
    """

    def __init__(self, names: Names, checkers: Iterable[object]) -> None:
        super().__init__(checkers, names)
        self._inner = super().checkers
        self._verifiers = [IVerifiers(each) for each in self.backends if IVerifiers.providedBy(each)]
        self._oracle = make_oracle(self)
        self._chains: dict[type, Chain] = {}

    @property
    def checkers(self) -> Sequence[ICredentialsChecker]:
        """Only this one."""
        return [self]

    @property
    def credentialInterfaces(self) -> tuple[type[Interface], ...]:
        """The interfaces that some checker supports now."""
        return tuple({iface for checker in self._inner for iface in checker.credentialInterfaces})

    @prompt
    def requestAvatarId(self, credentials: Any) -> Answer[Any]:
        """The login's name, also if the account's secret was right. Errors: UnauthorizedLogin, and the checkers'."""
        name = user_name(getattr(credentials, "username", None))
        owner = None if name is None else self.naming.owner(name)
        if name is None or owner is None or owner.maildrop not in self.naming.accounts:
            return ask(self._chain(credentials).requestAvatarId, credentials)
        return Deferred.fromCoroutine(self._identify(name, credentials))

    def mechanisms(self) -> frozenset[bytes]:
        """The mechanisms of all the checkers."""
        return frozenset[bytes]().union(*(checker.mechanisms() for checker in self._verifiers))

    def verifier(self, name: bytes, mechanism: bytes, realm: bytes = b"", typed: bytes = b"") -> Deferred[object]:
        """The answer of the checker that has the secret."""
        return self._oracle.ask(VerifierOf(name, mechanism, realm, typed))

    def census(self) -> Census:
        """The census of all the checkers."""
        return self._oracle.census()

    def explain(self, name: str, mechanism: bytes) -> LoginRefused:
        """The checkers' reason, for the user's own entry or for the account's."""
        owner = self.naming.owner(name)
        return first_reason([self._explained(each, name, owner, mechanism) for each in self._verifiers])

    def _explained(self, checker: IVerifiers, name: str, owner: Owner, mechanism: bytes) -> LoginRefused:
        own = checker.explain(name, mechanism)
        return own if own.known or owner.user is None else checker.explain(owner.maildrop, mechanism)

    async def _identify(self, name: str, credentials: Any) -> Any:
        secret, own = await self.secret_of(name)
        asked = credentials if secret == name else _named(credentials, secret.encode("utf-8"))
        return await self.opened(name, own, await self._chain(credentials).requestAvatarId(asked))

    async def secret_of(self, name: str) -> tuple[str, User | None]:
        """The user's own, or the account's if the user has no entry."""
        owner = self.naming.owner(name)
        if owner.user is None or owner.maildrop not in self.naming.accounts:
            return name, None
        own = await self.first(name)
        return (owner.maildrop if own is None else name), own

    async def opened(self, name: str, own: User | None, answer: Any) -> Any:
        """The whole account or the user's share of it."""
        owner = self.naming.owner(name)
        if owner.maildrop not in self.naming.accounts:
            return answer
        secret = name if owner.user is None or own is not None else owner.maildrop
        if user_name(answer) != secret:  # the checker changed the name, or answered cred's ANONYMOUS
            if secret == name:
                return answer
            raise LoginRefused(reasons.FOREIGN_USER, said=f"the checker accepted another user, {user_name(answer)!r}")
        read = self.read_here(answer) if secret == owner.maildrop else None
        account = await self.first(owner.maildrop) if read is None else read.user
        user = self.of_account(owner, account, own)
        return name.encode("utf-8") if user is None else self.identify(name, proved_by(user, answer))

    def _chain(self, credentials: Any) -> Chain:
        chain = self._chains.get(type(credentials))
        if chain is None:
            taken = [iface for iface in self.credentialInterfaces if iface.providedBy(credentials)]
            if not taken:
                raise LoginRefused(reasons.NO_CHECKER, known=None)
            chain = self._chains[type(credentials)] = Chain(taken[0], self._inner, self)
        return chain


def _named(credentials: Any, name: bytes) -> Any:
    """The same proof with another name: it does not depend on the name, or was verified already."""
    if is_dataclass(credentials) and not isinstance(credentials, type):
        return replace(credentials, username=name)
    other = copy(credentials)
    other.username = name
    return other
