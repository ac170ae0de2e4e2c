"""The checkers for one kind of credentials, which are asked one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin, UnhandledCredentials
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from mailserver import reasons
from mailserver.answers import Answer, ask, is_later, prompt, rescued
from mailserver.auth.refusals import first_reason
from mailserver.auth.schemes import plausible
from mailserver.auth.users import Users
from mailserver.credentials import IKerberosIdentity, Password
from mailserver.errors import LoginRefused
from mailserver.interfaces import UserId
from mailserver.names import user_name

REFUSED = (UnauthorizedLogin, UnhandledCredentials, UnicodeError)
"""The errors that mean a refusal. UnicodeError: Twisted's UNIXChecker decodes the password, for a user it knows only."""


@implementer(ICredentialsChecker)
class Chain:
    """The checkers for one credentials interface, asked in their order until one accepts.

    Only a refusal leads to the next checker. Any other error ends the login: it is a fault, not a wrong password. A `User`
    that a checker has read is passed on for `users`, unless an earlier checker may know the user, too. The checkers are `among` those
    of some users, or of `users`, whose answers are timed.
    """

    def __init__(
        self,
        interface: type[Interface],
        checkers: Sequence[ICredentialsChecker],
        users: Users | None = None,
        *,
        among: Users | None = None,
    ) -> None:
        self._interface = interface
        self._checkers = checkers
        self._users = users
        self._among = among or users

    @property
    def credentialInterfaces(self) -> tuple[type[Interface], ...]:
        """The chain's interface while some checker supports it, else none; it decides what is announced."""
        able = any(self._interface in checker.credentialInterfaces for checker in self._checkers)
        return (self._interface,) if able else ()

    @prompt
    def requestAvatarId(self, credentials: Any) -> Answer[Any]:
        """The avatar id from the first checker that accepts. An invalid name or password reaches no checker."""
        if not _names_somebody(credentials):
            raise LoginRefused(reasons.INVALID_NAME, known=False)
        if not plausible(getattr(credentials, "password", b"")):
            raise LoginRefused(reasons.ODD_PASSWORD, known=None)
        if isinstance(credentials, Password) and credentials.second:
            prepared = replace(credentials, password=credentials.second, second=b"")
            return rescued(REFUSED, lambda _: self._ask(0, prepared, {}), self._ask, 0, credentials, {})
        return self._ask(0, credentials, {})

    def _ask(self, first: int, credentials: Any, refusals: Mapping[int, LoginRefused]) -> Answer[Any]:
        for index in range(first, len(self._checkers)):
            checker: Any = self._checkers[index]
            if self._interface not in checker.credentialInterfaces:
                continue
            try:
                timing = None if self._among is None else self._among.timing
                if timing is None:
                    answer = ask(checker.requestAvatarId, credentials)
                else:
                    answer = timing.ask(checker, ask, checker.requestAvatarId, credentials)
            except REFUSED as error:
                refusals = {**refusals, index: self._reason(index, error)}
                continue
            further = (index, credentials, refusals)
            if is_later(answer):
                return answer.addCallbacks(self._taken, self._refused, further, errbackArgs=further)
            return self._taken(answer, *further)
        raise first_reason(list(refusals.values()))

    def _taken(self, answer: Any, index: int, credentials: Any, refusals: Mapping[int, LoginRefused]) -> Any:
        """The answer. Its `User` counts for `users` if all earlier checkers refused the name as unknown."""
        if self._users is None or not isinstance(answer, UserId) or answer.read_by is not None:
            return answer
        ignorant: list[object] = []
        if refusals and answer == getattr(credentials, "username", None):
            ignorant = [self._checkers[at] for at, why in refusals.items() if why.known is False]
        return self._users.vouch(answer, self._checkers[index], ignorant)

    def _refused(
        self, failure: Failure, index: int, credentials: Any, refusals: Mapping[int, LoginRefused]
    ) -> Answer[Any]:
        failure.trap(*REFUSED)
        return self._ask(index + 1, credentials, {**refusals, index: self._reason(index, failure.value)})

    def _reason(self, index: int, error: BaseException | None) -> LoginRefused:
        if isinstance(error, LoginRefused):
            return error
        return LoginRefused(
            reasons.OTHER, known=None, said=f"{type(self._checkers[index]).__name__} refused without a reason"
        )


def _names_somebody(credentials: Any) -> bool:
    name = getattr(credentials, "username", None)
    if name == b"" and IKerberosIdentity.providedBy(credentials):
        return True  # the principal's own maildrop
    return name is None or user_name(name) is not None
