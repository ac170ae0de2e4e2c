"""The envelopes of a whole maildrop, by which an account of many users (SDPS) is divided into shares."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred
from zope.interface import Interface

from mailserver.envelope import Envelope, divided, local_part
from mailserver.snapshot import Snapshot


class Share(NamedTuple):
    """One user's messages of an account."""

    indexes: Sequence[int]
    """Among the account's messages."""
    messages: Snapshot


NOTHING = Share((), Snapshot((), (), ()))


class Envelopes:
    """The envelopes of `messages` in columns, and the shares made of them.

    A store may keep it for later sessions while the maildrop is unchanged. Only one thread at a time may call `prepare`.
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
        self._unread = unread  # their recipients are not known, so only the account itself gets them
        self._users: dict[str, list[int]] | None = None
        self.shares: dict[str, Share] = {}
        """The prepared shares, by user; a user without mail has none."""

    def __getitem__(self, index: int) -> Envelope:
        return Envelope(self._senders[index], divided(self._recipients[index]))

    def serves(self, user: str | None) -> bool:
        """Whether the share of `user` is prepared; None is the account itself, which needs none."""
        return user is None or user in self.shares

    def prepare(self, account: str, user: str | None, user_of: Callable[[str], str]) -> None:
        """Make `user`'s share, unless it exists or has no messages. For a thread, where there are many messages."""
        if user is None or user in self.shares:
            return
        indexes = self.indexes(user, user_of, account)
        if indexes:
            uidls, octets, wire = (self._messages.uidls, self._messages.octets, self._messages.wire)
            arrivals = self._messages.arrivals
            own = Snapshot(
                [uidls[i] for i in indexes],
                [octets[i] for i in indexes],
                bytes([wire[i] for i in indexes]),
                array("Q", [arrivals[i] for i in indexes] if arrivals else ()),
                unordered=bisect_left(indexes, self._messages.unordered),
                renewed=self._messages.renewed,
            )
            self.shares[user] = Share(indexes, own)

    def indexes(self, user: str, user_of: Callable[[str], str], account: str) -> Sequence[int]:
        """The messages for `user`; those without a recipient are for the user with the account's name.

        `user_of` answers which user a local part names. The first call reads all rows.
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
                names = {user_of(local_part(each)) for each in divided(recipients)} or {account}
                lists = known[recipients] = [users.setdefault(name, []) for name in names]
            for each in lists:
                each.append(index)
        return users


class IEnvelopes(Interface):
    """Provided by a maildrop that can be an account of many users."""

    def envelopes(account: str, user: str | None, user_of: Callable[[str], str]) -> Envelopes | Deferred[Envelopes]:
        """All envelopes of the snapshot, with `user`'s share prepared; at once when both are known already.

        A message that cannot be read now has an empty envelope. `user_of` answers which user of `account` a local part names.
        """
