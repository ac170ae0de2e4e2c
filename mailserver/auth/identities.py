"""Checkers for users who were authenticated elsewhere: in a SASL exchange, or as a master user who acts for another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from zope.interface import Interface, implementer

from mailserver import reasons
from mailserver.auth.refusals import first_reason
from mailserver.auth.users import Users
from mailserver.credentials import IActingFor, IUnproven, IVerifiedIdentity
from mailserver.errors import LoginRefused
from mailserver.interfaces import IVerifiers, UserId
from mailserver.names import user_name


@dataclass(frozen=True, slots=True)
class Acting:
    """The avatar id of a user for whom a master acts. Only `Masters` makes it, and foreign realms do not take it for a name."""

    user: str
    master: str
    user_id: UserId | None = field(default=None, repr=False, compare=False)
    """The user, read by `Masters`."""
    master_id: UserId | None = field(default=None, repr=False, compare=False)
    """The master, if the accepting checker has read the user."""


async def known(name: object, users: Users) -> UserId | None:
    """The avatar id of the user with this name; None when there is none."""
    text = user_name(name)
    user = None if text is None else await users.lookup(text)
    return None if text is None or user is None else users.identify(text, user)


@implementer(ICredentialsChecker)
class VerifiedIdentities:
    """Accepts users whom an exchange has authenticated, if they have an account.

    A certificate or a token may name a user without an account; after SCRAM, the account may have been removed meanwhile.
    """

    credentialInterfaces = (IVerifiedIdentity,)  # noqa: N815 - ICredentialsChecker names it so

    def __init__(self, users: Users) -> None:
        self._users = users

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """The user, from the oracle or by a lookup. Errors: UnauthorizedLogin; TemporaryFailure."""
        read = self._users.read_here(getattr(credentials, "user_id", None))
        if read is not None and read == credentials.username:
            return succeed(read)
        return Deferred.fromCoroutine(self._identify(credentials.username))

    async def _identify(self, name: bytes) -> bytes | tuple[()]:
        user = await known(name, self._users)
        if user is None:
            raise LoginRefused(reasons.NO_ACCOUNT, known=False)
        return user


@implementer(ICredentialsChecker)
class Unproved:
    """Refuses failed exchanges, with the reason from the checkers that have the secrets."""

    credentialInterfaces = (IUnproven,)  # noqa: N815 - ICredentialsChecker names it so

    def __init__(self, checkers: Sequence[object]) -> None:
        self._verifiers = [IVerifiers(each) for each in checkers if IVerifiers.providedBy(each)]

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Fails with the reason. Errors: LoginRefused."""
        return fail(self._why(credentials))

    def _why(self, credentials: Any) -> LoginRefused:
        name = user_name(credentials.username)
        if credentials.reason or name is None:
            return LoginRefused(credentials.why, known=None, said=credentials.reason)
        return first_reason([each.explain(name, credentials.mechanism) for each in self._verifiers])


@implementer(ICredentialsChecker)
class Masters:
    """Accepts the credentials of master users for the maildrop of another user.

    The checkers of `portal` verify the proof first, so an attacker does not learn which users are masters.
    """

    def __init__(self, names: Iterable[str], portal: Portal, users: Users) -> None:
        self._names = frozenset(names)
        self._portal = portal
        self._users = users

    @property
    def credentialInterfaces(self) -> tuple[type[Interface], ...]:
        """`IActingFor`, if there are masters."""
        return (IActingFor,) if self._names else ()

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """An `Acting`. Errors: UnauthorizedLogin, and those of the checkers that verify the proof."""
        return Deferred.fromCoroutine(self._act(credentials))

    async def _act(self, credentials: Any) -> Any:
        proof = credentials.credentials
        checkers = [checker for iface, checker in self._portal.checkers.items() if iface.providedBy(proof)]
        if not checkers:
            raise LoginRefused(reasons.NO_CHECKER, known=None)
        return await self.acting(await maybeDeferred(checkers[0].requestAvatarId, proof), credentials.authzid)

    async def acting(self, taken: object, authzid: bytes) -> Acting:
        """The avatar id of a proved user, `taken`, who acts for another. Errors: LoginRefused, those of the users."""
        master = user_name(taken)
        user = await known(authzid, self._users)
        if master is None or master not in self._names:
            raise LoginRefused(reasons.NOT_MASTER, reasons.NOT_MASTER.remedy)
        if user is None:
            raise LoginRefused(reasons.NOBODY_TO_ACT_FOR, known=False)
        return Acting(user.decode("utf-8"), master, user, taken if isinstance(taken, UserId) else None)
