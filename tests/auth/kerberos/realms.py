"""Realms and stores that are no more than a test of authentication needs."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from mailserver.errors import HomeUnknown
from mailserver.interfaces import IStore, User


class Maildrop:
    """An avatar that counts its logouts."""

    def __init__(self) -> None:
        self.released = 0

    def release(self) -> None:
        self.released += 1


@implementer(IStore)
class Store:
    """Opens an empty maildrop for everybody, and notes for whom; or fails with `trouble`."""

    needs: frozenset[str] = frozenset()

    def __init__(self, trouble: Exception | None = None) -> None:
        self.opened: list[tuple[User, str]] = []
        self._trouble = trouble

    def start(self, _reactor: object) -> Deferred[None]:
        return succeed(None)

    def reload(self) -> Deferred[None]:
        return succeed(None)

    def stop(self) -> Deferred[None]:
        return succeed(None)

    def open(self, user: User, owner: str) -> Deferred[Any]:
        if self._trouble is not None:
            return fail(self._trouble)
        self.opened.append((user, owner))
        return succeed(Maildrop())


class HomeStore(Store):
    """One whose URL holds ``{home}``."""

    needs = frozenset({"home"})

    def open(self, user: User, owner: str) -> Deferred[Any]:
        if user.home is None and user.mail is None:
            return fail(
                HomeUnknown("the store's URL needs a home directory and none is known", "use {user} in the URL")
            )
        return super().open(user, owner)
