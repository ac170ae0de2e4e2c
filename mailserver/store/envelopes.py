"""The envelopes of a whole maildrop, by which an account of many users (SDPS) is divided into shares."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred
from zope.interface import Interface

from mailserver.envelope import Envelope, local_part
from mailserver.snapshot import Snapshot


class Share(NamedTuple):
    """Some messages of a snapshot."""

    indexes: Sequence[int]
    """Of the account's messages."""
    messages: Snapshot


NOTHING = Share((), Snapshot((), (), ()))


class Envelopes:
    """The envelopes of `messages` in columns, and the shares made of them.

    A store may keep it beside the snapshot, for the sessions that find the maildrop unchanged. One thread at a time prepares it.
    """

    __slots__ = ("_messages", "_recipients", "_senders", "_unread", "_users", "shares")

    def __init__(
        self,
        messages: Snapshot,
        senders: Sequence[bytes],
        recipients: Sequence[bytes],
        unread: Collection[int] = frozenset(),
    ) -> None:
        self._messages = messages
        self._senders = senders
        self._recipients = recipients
        self._unread = unread  # whom they are for is not known, so only the account itself gets them
        self._users: dict[str, list[int]] | None = None
        self.shares: dict[str, Share] = {}
        """By user, those that were prepared; a user without mail has none."""

    def __getitem__(self, index: int) -> Envelope:
        recipients = self._recipients[index]
        return Envelope(self._senders[index], tuple(recipients.split(b",")) if recipients else ())

    def serves(self, user: str | None) -> bool:
        """Whether all that `user` needs is prepared; None is the account itself, which gets all messages."""
        return user is None or user in self.shares

    def prepare(self, account: str, user: str | None, user_of: Callable[[str], str]) -> None:
        """Make `user`'s share, unless it exists or has no messages. For a thread, where there are many messages."""
        if user is None or user in self.shares:
            return
        indexes = self.indexes(user, user_of, account)
        if indexes:
            uidls, octets, wire = (self._messages.uidls, self._messages.octets, self._messages.wire)
            own = Snapshot([uidls[i] for i in indexes], [octets[i] for i in indexes], bytes([wire[i] for i in indexes]))
            self.shares[user] = Share(indexes, own)

    def indexes(self, user: str, user_of: Callable[[str], str], account: str) -> Sequence[int]:
        """The messages for `user`; without a recipient they are for the one who is called as the account is.

        `user_of` tells whom a local part means. The first call reads all the rows.
        """
        if self._users is None:
            self._users = self._sorted(user_of, account)
        return self._users.get(user, ())

    def _sorted(self, user_of: Callable[[str], str], account: str) -> dict[str, list[int]]:
        users: dict[str, list[int]] = {}
        known: dict[bytes, list[list[int]]] = {}  # most mail is for few recipients
        for index, recipients in enumerate(self._recipients):
            if index in self._unread:
                continue
            lists = known.get(recipients)
            if lists is None:
                names = {user_of(local_part(each)) for each in recipients.split(b",")} if recipients else {account}
                lists = known[recipients] = [users.setdefault(name, []) for name in names]
            for each in lists:
                each.append(index)
        return users


class IEnvelopes(Interface):
    """A maildrop that can be an account of many users provides it."""

    def envelopes(account: str, user: str | None, user_of: Callable[[str], str]) -> Envelopes | Deferred[Envelopes]:
        """All envelopes of the snapshot, with `user`'s share prepared; at once when both are known already.

        What could not be read just now has an empty envelope. `user_of` tells whom of `account` a local part means.
        """
