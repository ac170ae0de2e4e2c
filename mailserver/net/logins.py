"""Logins that may be cancelled: whoever comes out of one that nobody waits for any more is logged out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.mail.interfaces import IMailboxPOP3
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from mailserver.interfaces import IMaildrop, IRevocable, Mind

Avatar = tuple[type[Interface], object, Callable[[], None]]

log = Logger()


class Logins:
    """Asks `portal`. To cancel an answer cancels what its checkers do, and what its realm does if it is `IRevocable`.

    Of another realm, and of a portal that is not cred's own, nobody knows what would be lost: they go on unobserved.
    """

    def __init__(self, portal: Any) -> None:
        self._portal = portal
        self._whole = type(portal) is not Portal
        if not self._whole:
            self._portal = Portal(_Realm(portal))
            self._portal.checkers = portal.checkers

    def begin(self, credentials: Any, mind: Mind) -> Deferred[Any]:
        """As cred's `login`, for a maildrop or a mailbox of Twisted's."""
        asked: Deferred[Any] = maybeDeferred(self._portal.login, credentials, mind, IMaildrop, IMailboxPOP3)
        return _shielded(asked) if self._whole else asked


@implementer(IRealm)
class _Realm:
    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: type[Interface]) -> Deferred[Avatar]:  # noqa: N803 - IRealm names it so
        realm: Any = self._portal.realm
        asked: Deferred[Avatar] = maybeDeferred(realm.requestAvatar, avatarId, mind, *interfaces)
        return asked if asked.called or IRevocable.providedBy(realm) else _shielded(asked)


def _shielded(asked: Deferred[Avatar]) -> Deferred[Avatar]:
    """The same answer; to cancel it leaves `asked` alone, and logs out whom that brings."""
    answer: Deferred[Avatar] = Deferred()

    def arrived(result: Any) -> None:
        if not answer.called:
            answer.callback(result)
        elif not isinstance(result, Failure):
            _log_out(result[2])

    asked.addBoth(arrived)
    return answer


def _log_out(logout: Callable[[], object]) -> None:
    try:
        logout()
    except Exception:  # noqa: BLE001 - a portal of somebody else's may raise what it likes
        log.failure("fault in the logout of somebody who has left", event="fault")
