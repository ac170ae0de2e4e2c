"""The map of mail that comes in: what a store, and what `delivery/` gives to whoever receives mail.

`net/` knows addresses as octets and `IDeliveries`; `delivery/` makes users of addresses and knows `IDeposits`; a store knows users.
Everything that may wait returns a Deferred; only `write` may answer at once, because it is called for each chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred
from zope.interface import Interface

from mailserver.interfaces import Quota, User


class Usage(NamedTuple):
    """What a maildrop holds."""

    messages: int
    octets: int
    """The sizes of its files: what a quota counts (Maildir++)."""

    def exceeds(self, quota: Quota, octets: int = 0, messages: int = 0) -> bool:
        """Whether it, and so many octets of further messages, are more than the quota."""
        return bool(
            (quota.octets and self.octets + octets > quota.octets)
            or (quota.messages and self.messages + messages > quota.messages)
        )


def effective(quota: Quota | None) -> Quota | None:
    """The quota; None for one that limits nothing, too."""
    return quota if quota is not None and (quota.octets or quota.messages) else None


class Kept(NamedTuple):
    """What an import preserves of a message."""

    uidl: bytes
    """Its unique-id at another server; it gets another one if a message of the maildrop has that. b"": the store gives one."""
    received: float
    """The time of its arrival, in seconds of the epoch."""
    seen: bool


class IDeposits(Interface):
    """Provided by a store that takes messages. Sessions that are open do not see them, and their locks are no obstacle."""

    def deposit(users: Sequence[User], size: int | None, kept: Kept | None = None) -> Deferred[IDeposit]:
        """Begin a message for each of these different users: the same octets for all, in one file where links serve.

        `size` are the octets to expect, None: unknown. Each user's own `quota` counts (None: there is none); what concerns one
        user, such as a home that cannot be written, is told by `IDeposit.commit` for this user alone. Errors: ValueError for a
        `kept` unique-id that POP3 does not allow.
        """

    def usage(user: User) -> Deferred[Usage]:
        """What the user's maildrop holds, all shares of an account together. Errors: as of `IStore.open`, but never MaildropInUse."""


class IReserves(Interface):
    """Provided by a store into which mail may be moved from elsewhere, by several processes."""

    def reserve(user: User, owner: str, dry_run: bool = False) -> Deferred[Callable[[], object]]:
        """Keep every other move out of the user's maildrop, which is made if it is not there, until the answer is called, once.

        Sessions and deposits go on. A move of this process waits for its turn. With `dry_run` nothing is made or reserved, and it
        is only seen whether the maildrop could be made. Errors: as of `IStore.open`, MaildropInUse for a move of another process.
        """


class IDeposit(Interface):
    """A message on its way into maildrops. Nothing of it is visible before `commit`, and it ends with `commit` or `abort`."""

    def write(data: bytes) -> Deferred[None] | None:
        """Add octets of any size, with any line ends in any split: the store makes them canonical (`wireform`).

        None: it is done. The caller waits for a Deferred before it writes on. It never fails: `commit` tells what went wrong.
        """

    def commit() -> Deferred[Sequence[Exception | None]]:
        """Deliver: the answer has for each user, in their order, None, which is said only once the message is durable, or an error.

        Errors in the answer: StoreError (StoreFull, QuotaExceeded, MaildropUnavailable, NoMaildrop), or a fault; then nothing of the
        message is visible to this user. Cancelling it does not stop it.
        """

    def abort() -> None:
        """Forget the message; idempotent, and harmless after `commit`."""


class IKeeps(Interface):
    """Provided by a store whose sessions' deletions may be kept for some days, or go to the trash (`delivery.delete`)."""

    def undelete(user: User) -> Deferred[int]:
        """Bring back what the last session deleted that deleted anything and is kept; the number of messages, 0: nothing is kept.

        If nothing is, and deletions go to the trash, what went there last comes back from it, whoever put it there. They have their old unique-ids, and their old places. A further call goes a session further back. After a crash within
        it, another call brings back the rest. Errors: as of `IStore.open`, MaildropInUse while a session is open.
        """

    def kept(user: User) -> Deferred[int]:
        """The number of messages that `undelete` would bring back now; it waits for no session. Errors: as of `IStore.open`."""

    def tidy(user: User, now: float, days: int | None) -> Deferred[bool]:
        """Remove for good what was kept for its days, and what is in the trash longer than that or older than `days`.

        `now` is the time in seconds of the epoch. False: the user has no maildrop, and none was made. Errors: as of `IStore.open`.
        """


class IExpunges(Interface):
    """Provided by the maildrops of a store that `IKeeps`."""

    def expunge(numbers: Sequence[int]) -> Deferred[int]:
        """As `IMaildrop.commit`, but these messages are removed for good, whatever the store keeps of other deletions."""


class IMarks(Interface):
    """Provided by maildrops that know which messages were seen, be it here or at another server."""

    def seen(number: int) -> bool:
        """Whether message-number `number` was marked as seen when the snapshot was taken."""


class Given(NamedTuple):
    """How the unique-ids of a maildrop went back to another server."""

    messages: int
    entered: int
    """Those of which its list had another unique-id, or nothing."""
    lost: int
    """Those of which it cannot be told: their clients will fetch them again from it."""


class IGivesBack(Interface):
    """Provided by maildrops that another server can serve where they are."""

    def give_back(server: str, dry_run: bool) -> Deferred[Given]:
        """Enter the unique-ids into the list of another server, in the words of `store.former`; its own lock is heeded.

        Errors: MaildropUnavailable; at once ValueError, for a server that has no such list.
        """


class Sender(NamedTuple):
    """Who hands a message over, and how: for the trace fields (RFC 5321 section 4.4), the log, and *ENV."""

    path: bytes
    """The reverse-path, bare; b"" is the null sender of bounces."""
    host: bytes
    """What the client called itself (LHLO), or what XCLIENT said."""
    peer: str
    """The client's address, "" over a Unix socket."""
    protocol: bytes
    """The keyword of RFC 3848 and RFC 6531: LMTP, LMTPS, UTF8LMTP, UTF8LMTPS."""
    tls: str
    """The version and cipher of TLS, "" without TLS."""
    session: str
    """The session's name in the log."""
    size: int | None
    """The octets that the client has announced (SIZE), None: unknown."""


class IDeliveries(Interface):
    """The way into all maildrops by addresses; one per process."""

    def begin(sender: Sender) -> IDelivery:
        """Begin a transaction."""


class IDelivery(Interface):
    """One transaction: recipients, then octets, then `commit`; or `abort` at any time."""

    def recipient(address: bytes, original: bytes = b"") -> Deferred[None]:
        """Accept a recipient's address, bare; `original` is the address before other servers rewrote it (RFC 3461 ORCPT).

        Errors: a Refusal such as UnknownRecipient, OverQuota or TemporaryFailure, or a StoreError: then this one is no recipient.
        The same address may be given twice. Called for one recipient after the other.
        """

    def write(data: bytes) -> Deferred[None] | None:
        """Add octets of the message as the sender sent it, unstuffed. As `IDeposit.write`."""

    def commit() -> Deferred[Sequence[Exception | None]]:
        """Deliver; the answer has one outcome for each accepted recipient, in their order. As `IDeposit.commit`.

        The error may be a Refusal, too. Whoever provides this logs why a StoreError came; faults are the caller's to log.
        """

    def abort() -> None:
        """Forget the transaction; idempotent, and harmless after `commit`."""
