"""Deliveries: a transaction's recipients, its octets, and one outcome for each recipient.

A user gets one copy of a message, by however many addresses. A recipient's outcome is that of all users whom the address means:

    all have it                            success
    some have it, others are over quota    success, and the log names the others: to try again would double the mail of those who have it
                                           for days, and a full maildrop is its owner's to empty, who was warned
    any other failure                      that failure, so the sender tries again. Who has it already gets it twice then: a doubled message
                                           is a nuisance, a lost one is a loss
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel
from zope.interface import implementer

from mailserver.answers import unstoppable
from mailserver.delivery.aliases import Aliases
from mailserver.delivery.copies import Copy, Group, Groups, Key, copy_for, grouped, has_own_file
from mailserver.delivery.quota import Quotas
from mailserver.delivery.recipients import AT_A_TIME, Reached, Recipients
from mailserver.delivery.trace import Beginning, trace_fields
from mailserver.delivery.warnings import Warnings
from mailserver.errors import PermanentFailure, Refusal, StoreError, TemporaryFailure
from mailserver.incoming import IDeliveries, IDelivery, IDeposits, Sender
from mailserver.interfaces import IUsers
from mailserver.limits import Delivery, QuotaRules
from mailserver.names import Names
from mailserver.smtp_errors import TooManyRecipients

OWN_FILES: Final = 100
"""Copies that are files of their own, and that one transaction may have by several addresses. Each is open and holds 256 KiB in memory
until the message is there: a sender of 1000 such recipients took 270 MB, and of descriptors as many as all POP3 clients have. RFC 5321
(4.5.3.1.8) wants 100 recipients at least, and senders deliver to the others in another transaction."""

MAX_ID: Final = 250
"""Octets of a Message-ID that the log shows: others are no more use."""

HEAD: Final = 16 * 1024
"""Octets of a message's beginning in which its Message-ID is looked for: it stands near the top, and the log alone needs it."""

_MESSAGE_ID: Final = re.compile(rb"(?:\A|\n)message-id:[ \t]*(?:\r?\n[ \t]+)?([^\r\n]{1,%d})" % MAX_ID, re.IGNORECASE)

log = Logger()


class Room(NamedTuple):
    """What all transactions of a process have in common."""

    store: IDeposits
    recipients: Recipients
    quotas: Quotas
    warnings: Warnings
    naming: Names
    hostname: str
    share: bool
    wall: Callable[[], float]


@implementer(IDeliveries)
class Deliveries:
    """The way from addresses into maildrops. `aliases` and `warnings` are parts, to be started before the first `begin`."""

    def __init__(  # noqa: PLR0913 - what it stands between
        self,
        store: IDeposits,
        users: IUsers,
        naming: Names,
        hostname: str,
        *,
        delivery: Delivery,
        quota: QuotaRules,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.aliases = Aliases(delivery.aliases, wall)
        self.warnings = Warnings(store, quota, hostname, wall)
        recipients = Recipients(users, naming, self.aliases, delivery.catch_all)
        quotas = Quotas(store, quota)
        self._room = Room(store, recipients, quotas, self.warnings, naming, hostname, delivery.share, wall)

    def begin(self, sender: Sender) -> IDelivery:
        """Begin a transaction."""
        return Transaction(self._room, sender)


class _Accepted(NamedTuple):
    """A recipient, and who gets a copy by it."""

    address: bytes
    keys: Sequence[Key]


@implementer(IDelivery)
class Transaction:
    """One message. Nothing is begun at the store before its first octets: most refused transactions have none."""

    __slots__ = (
        "_accepted",
        "_beginning",
        "_copies",
        "_ended",
        "_groups",
        "_message_id",
        "_octets",
        "_own_files",
        "_room",
        "_sender",
    )

    def __init__(self, room: Room, sender: Sender) -> None:
        self._room = room
        self._sender = sender
        self._accepted: list[_Accepted] = []
        self._copies: dict[Key, Copy] = {}
        self._beginning = Beginning()
        self._groups: Groups | None = None
        self._octets = 0
        self._message_id = b""
        self._ended = False
        self._own_files = 0

    # Recipients.

    def recipient(self, address: bytes, original: bytes = b"") -> Deferred[None]:
        """Look the address up, and its users' quotas."""
        return Deferred.fromCoroutine(self._recipient(address, original))

    async def _recipient(self, address: bytes, original: bytes) -> None:
        try:
            reached = await self._room.recipients.find(address)
            copies = await self._admitted(reached, address, original)
            own = self._own(copies)
        except (Refusal, StoreError) as error:
            log.emit(
                LogLevel.info if isinstance(error, Refusal) else LogLevel.warn,
                "mail from <{sender}> for <{recipient}> is refused: {reason}",
                event="delivery.refused",
                session=self._sender.session,
                sender=_shown(self._sender.path),
                recipient=_shown(address),
                reason=_reason(error),
            )
            raise _refusal(error) from error
        self._own_files = own
        self._copies.update((copy.key, copy) for copy in copies)
        self._accepted.append(_Accepted(address, [copy.key for copy in copies]))

    async def _admitted(self, reached: Sequence[Reached], address: bytes, original: bytes) -> Sequence[Copy]:
        """The copies of those whose maildrops have room. Errors: that of the first, where none has."""
        copies: list[Copy] = []
        full: list[Refusal] = []
        for number, (user, found) in enumerate(reached, 1):
            if number % AT_A_TIME == 0:
                await self._room.recipients.aliases.turn()
            bounded = self._room.quotas.bounded(user)
            known = self._copies.get((user.name, user.account))
            if known is not None:
                copies.append(known)
                continue
            try:
                before = await self._room.quotas.admit(bounded, self._sender.size)
            except Refusal as error:
                if not self._room.quotas.is_over(error):
                    raise
                full.append(error)
                if len(reached) > 1:
                    self._left_out(user.name, address)
                continue
            self._room.warnings.seen(bounded, before)
            naming = self._room.naming
            copies.append(copy_for(bounded, found=found, given=address, original=original, before=before, names=naming))
        if not copies:
            raise full[0]
        return copies

    def _own(self, copies: Sequence[Copy]) -> int:
        """The files that are one copy's alone, with those of this recipient. Errors: TooManyRecipients, unless it is the first one."""
        share = self._room.share
        own = self._own_files + sum(copy.key not in self._copies and has_own_file(copy, share=share) for copy in copies)
        if own > max(OWN_FILES, self._own_files) and self._accepted:
            raise TooManyRecipients
        return own

    def _left_out(self, user: str, address: bytes) -> None:
        log.warn(
            "{user} does not get the mail from <{sender}> for <{recipient}>, which others get: the maildrop is full by its quota",
            event="delivery.left_out",
            session=self._sender.session,
            user=user,
            sender=_shown(self._sender.path),
            recipient=_shown(address),
        )

    # The message.

    def write(self, data: bytes) -> Deferred[None] | None:
        """Add octets; the first ones begin the deposits."""
        if self._ended:
            return None
        if not self._octets:
            found = _MESSAGE_ID.search(data, 0, HEAD)
            self._message_id = found[1].strip() if found else b""
        self._octets += len(data)
        octets = self._beginning.feed(data)
        if self._groups is None:
            return self._begin().addCallback(lambda groups: groups.write(octets))
        return self._groups.write(octets)

    def _begin(self) -> Deferred[Groups]:
        now = self._room.wall()
        groups = [
            Group(trace_fields(self._sender, self._room.hostname, now, *addresses), copies)
            for addresses, copies in grouped(self._copies.values(), share=self._room.share)
        ]
        begun = self._groups = Groups(groups)
        return begun.open(self._room.store, self._sender.size).addCallback(lambda _: begun)

    def commit(self) -> Deferred[Sequence[Exception | None]]:
        """Deliver, and tell each recipient's outcome."""
        self._ended = True
        return unstoppable(Deferred.fromCoroutine(self._commit()))

    async def _commit(self) -> Sequence[Exception | None]:
        groups = self._groups or await self._begin()
        rest = groups.write(self._beginning.end())
        if rest is not None:
            await rest
        outcomes = await groups.commit()
        answers = [self._outcome(accepted, outcomes) for accepted in self._accepted]
        for key, copy in self._copies.items():
            if outcomes[key] is None:
                self._room.warnings.consider(copy.user, copy.before, self._octets)
        return answers

    def _outcome(self, accepted: _Accepted, outcomes: dict[Key, Exception | None]) -> Exception | None:
        """The outcome of a recipient, which is logged."""
        quotas = self._room.quotas
        errors = {key: error for key in accepted.keys if (error := outcomes[key]) is not None}
        over = [key for key, error in errors.items() if quotas.is_over(error)]
        if len(over) == len(errors) < len(accepted.keys):
            for name, _ in over:
                self._left_out(name, accepted.address)
            self._log(accepted, [key for key in accepted.keys if key not in errors])
            return None
        for (name, _), error in errors.items():
            self._log_failure(accepted, name, error)
        worst = next((error for key, error in errors.items() if key not in over), next(iter(errors.values())))
        return _refusal(quotas.refusal_for(worst))

    def _log(self, accepted: _Accepted, keys: Sequence[Key]) -> None:
        log.info(
            "mail from <{sender}> for <{recipient}>, {octets} octets, is in the maildrop of {users}",
            event="delivery.stored",
            session=self._sender.session,
            sender=_shown(self._sender.path),
            recipient=_shown(accepted.address),
            users=", ".join(dict.fromkeys(name for name, _ in keys)),
            octets=self._octets,
            message_id=_shown(self._message_id),
        )

    def _log_failure(self, accepted: _Accepted, user: str, error: Exception) -> None:
        log.warn(
            "mail from <{sender}> for <{recipient}>, {octets} octets, could not be stored for {user}: {reason}",
            event="delivery.failed",
            session=self._sender.session,
            sender=_shown(self._sender.path),
            recipient=_shown(accepted.address),
            user=user,
            octets=self._octets,
            message_id=_shown(self._message_id),
            reason=_reason(error),
        )

    def abort(self) -> None:
        """Forget it all."""
        if not self._ended:
            self._ended = True
            if self._groups is not None:
                self._groups.abort()


def _refusal(error: Exception) -> Exception:
    """What the sender hears of an error; a fault as it is.

    What an operator can mend is no reason to return the mail: a maildrop that needs its operator, and a home that is not there, are
    temporary here, while a login to it hears that it is not.
    """
    if isinstance(error, StoreError) and issubclass(error.refusal, PermanentFailure):
        return TemporaryFailure()
    return error


def _reason(error: Exception) -> str:
    return error.said.decode("ascii") if isinstance(error, Refusal) else str(error) or repr(error)


def _shown(octets: bytes) -> str:
    """Octets of a client for the log: what could pass for more than a piece of text is escaped."""
    text = octets.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else repr(text)[1:-1]
