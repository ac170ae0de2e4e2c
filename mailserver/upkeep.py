"""The map of what operators do with maildrops, beside their users' sessions: look at them, and mend them.

A store that has files provides `IUpkeep`. Whoever only looks takes no lock and writes nothing, so that no client is kept out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred
from zope.interface import Interface

from mailserver.interfaces import IMaildrop, User


class Held(NamedTuple):
    """A lock that a process holds now."""

    purpose: str
    """What for: "session", "move" (mail is moved in) or "quota" (a message is counted)."""
    path: str
    """The file, for people."""
    pid: int
    program: str
    """What the process is, ""; it cannot be told."""
    state: str
    """How it is, in the words of the kernel's list: "S" it sleeps, as is usual, "D" it waits for a disk, "T" it is stopped; "": it has ended."""
    since: float
    """In seconds of the epoch."""
    holder: str
    """What the holder has written about itself: its listener, its client's address and its session; "": nothing, or another process has."""


class Finding(NamedTuple):
    """Something that is wrong with a maildrop."""

    kind: str
    """What, in one word; docs/maildir.md has all of them."""
    file: str
    """The file or directory in the maildrop, for people; "": the maildrop itself."""
    text: str
    remedy: str
    """What to do. Where it is `mendable`, `repair` does it."""
    mendable: bool


class Repair(NamedTuple):
    """What became of a maildrop's faults."""

    mended: Sequence[Finding]
    left: Sequence[Finding]


class IUpkeep(Interface):
    """Provided by a store whose maildrops have files that an operator may look at. All of it is done in threads."""

    def place(user: User) -> Deferred[str]:
        """Where the user's maildrop is or would be, for people. Errors: NoMaildrop."""

    def view(user: User) -> Deferred[IMaildrop]:
        """What the next session would see, by reading alone; it needs no release, and can delete nothing.

        A message that moves meanwhile may be missed. A maildrop that is not there yet has no messages. Errors: StoreError.
        """

    def locks(user: User) -> Deferred[Sequence[Held]]:
        """The locks of the maildrop that processes of this machine hold now. Errors: StoreError."""

    def verify(user: User) -> Deferred[Sequence[Finding]]:
        """All that is wrong with the maildrop, by reading alone; nothing, if it is not there. Errors: StoreError."""

    def repair(user: User) -> Deferred[Repair]:
        """Mend what `verify` finds, under the maildrop's lock; no message is lost. Errors: StoreError, MaildropInUse while a session is open."""


class IFiled(Interface):
    """Provided by maildrops whose messages are files."""

    def file(number: int) -> str:
        """Where message-number `number` is, within the maildrop."""
