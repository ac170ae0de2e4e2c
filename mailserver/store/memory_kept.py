"""What the store in memory keeps of deleted messages: the trash, and the sessions that can be undone."""

from __future__ import annotations

from typing import Final, NamedTuple

from mailserver.snapshot import MICROSECONDS
from mailserver.store.deleting import Deleting

_DAY: Final = 86_400


class Deleted(NamedTuple):
    """A message that was deleted."""

    uidl: bytes
    arrival: int
    """In microseconds of the epoch."""
    message: bytes
    seen: bool


class _Session(NamedTuple):
    ended: float
    days: int
    messages: list[Deleted]


class DeletedMail:
    """The deleted messages of all maildrops, by user name. Times are seconds of the epoch."""

    def __init__(self) -> None:
        self._sessions: dict[str, list[_Session]] = {}
        self._trash: dict[str, list[tuple[float, Deleted]]] = {}

    def put(self, name: str, messages: list[Deleted], deleting: Deleting, now: float) -> None:
        """Keep what a session has deleted that ends now."""
        if deleting.act == "keep" and messages:
            self._sessions.setdefault(name, []).append(_Session(now, deleting.days, messages))
        elif deleting.act == "trash":
            self._trash.setdefault(name, []).extend((now, each) for each in messages)

    def last(self, name: str, *, trash: bool) -> list[Deleted]:
        """What the last session has deleted; if none is kept, with `trash` what is in that of the last one."""
        sessions = self._sessions.get(name)
        if sessions:
            return sessions[-1].messages
        thrown = self._trash.get(name, []) if trash else []
        return [each for when, each in thrown if when == thrown[-1][0]]

    def take(self, name: str, *, trash: bool) -> list[Deleted]:
        """The same, which is kept no more."""
        last = self.last(name, trash=trash)
        if sessions := self._sessions.get(name):
            sessions.pop()
        elif last:
            self._trash[name] = self._trash[name][: -len(last)]
        return last

    def trash(self, name: str) -> list[bytes]:
        """The messages in the trash."""
        return [each.message for _, each in self._trash.get(name, ())]

    def tidy(self, name: str, now: float, trash_days: int, days: int | None) -> None:
        """Forget what was kept for its days, and what was in the trash for longer than its own, or came too long ago."""
        sessions = self._sessions.get(name, [])
        sessions[:] = [each for each in sessions if each.ended + each.days * _DAY >= now]
        trash = self._trash.get(name, [])
        stay = [(put, each) for put, each in trash if not trash_days or now - put <= trash_days * _DAY]
        trash[:] = [(put, each) for put, each in stay if not days or now - each.arrival / MICROSECONDS <= days * _DAY]
