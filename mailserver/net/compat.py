"""Mailboxes written for twisted.mail, served as maildrops.

A portal may answer an avatar that provides `twisted.mail.interfaces.IMailboxPOP3`. What such a mailbox marks as deleted
it removes at its `sync`; both happen at QUIT, never at DELE, so a session that ends otherwise leaves nothing to undo.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.mail.interfaces import IMailboxPOP3
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.envelope import Envelope, EnvelopeHeaders, read_envelope
from mailserver.errors import MessageGone
from mailserver.interfaces import IBody, IMaildrop
from mailserver.snapshot import Snapshot

ROWS: Final = 250
"""Messages asked for in one reactor turn: at some 2 us for a cheap mailbox's getUidl, half a millisecond."""

_VALID_UIDL: Final = re.compile(rb"[\x21-\x7e]{1,70}")  # RFC 1939 section 7
_GONE: Final = (ValueError, LookupError, FileNotFoundError, PermissionError)
"""How a mailbox says that it has no such message: by its interface, and as twisted.mail's Maildir does."""


def adapt(mailbox: IMailboxPOP3, clock: IReactorTime) -> Deferred[IMaildrop]:
    """The mailbox as a maildrop; messages of size 0 are absent, as IMailboxPOP3 means deleted ones by it.

    The sizes are the mailbox's: whether they count CRLFs, as RFC 1939 section 11 asks, only reading every message could tell.
    A large mailbox is listed a part in each turn of the reactor, though its own listMessages runs in one.
    """
    return Deferred.fromCoroutine(_adapt(mailbox, clock))


async def _adapt(mailbox: IMailboxPOP3, clock: IReactorTime) -> IMaildrop:
    sizes: Sequence[int] = await maybeDeferred(mailbox.listMessages)
    indexes: list[int] = []
    uidls: list[bytes] = []
    for index, size in enumerate(sizes):
        if index % ROWS == ROWS - 1:
            await deferLater(clock, 0)
        if size:
            try:
                uidl = mailbox.getUidl(index)
                if isinstance(uidl, Deferred):
                    uidl = await uidl
            except _GONE:
                continue
            indexes.append(index)
            uidls.append(_unique_id(uidl))
    octets = [sizes[index] for index in indexes]
    return MailboxMaildrop(mailbox, clock, indexes, Snapshot(uidls, octets, bytes(len(indexes))))


def _unique_id(uidl: bytes | str) -> bytes:
    """The mailbox's unique-id, which some write as str; hashed when RFC 1939 section 7 forbids it."""
    raw = uidl.encode("utf-8", "surrogateescape") if isinstance(uidl, str) else uidl
    return raw if _VALID_UIDL.fullmatch(raw) else hashlib.sha256(raw).hexdigest().encode()


@implementer(IMaildrop)
class MailboxMaildrop:
    """An IMailboxPOP3 as a maildrop. It has no lock but what the mailbox takes itself."""

    def __init__(self, mailbox: IMailboxPOP3, clock: IReactorTime, indexes: Sequence[int], messages: Snapshot) -> None:
        self.messages = messages
        self._mailbox = mailbox
        self._clock = clock
        self._indexes = indexes

    def fetch(self, number: int) -> IBody | Deferred[IBody]:
        """Open a message; its `read` blocks as long as the mailbox's file does."""
        try:
            file = self._mailbox.getMessage(self._indexes[number - 1])
        except _GONE:
            raise MessageGone(f"the mailbox has no message {number} any more") from None
        if isinstance(file, Deferred):
            return file.addCallbacks(MailboxBody, _message_gone)
        return MailboxBody(file)

    def envelope(self, number: int) -> Deferred[Envelope]:
        """Read from the message, by the headers that are usual."""
        return read_envelope(self.fetch(number), EnvelopeHeaders())

    def sent(self, number: int, octets: int) -> None:
        """Nothing: IMailboxPOP3 has no notion of it."""

    def commit(self, numbers: Sequence[int]) -> Deferred[int]:
        """Delete and synchronise. A fault before `sync` takes the marks back, so that nothing was deleted."""
        return Deferred.fromCoroutine(self._commit(numbers))

    async def _commit(self, numbers: Sequence[int]) -> int:
        left = 0
        try:
            for position, number in enumerate(numbers, 1):
                if position % ROWS == 0:
                    await deferLater(self._clock, 0)
                try:
                    await maybeDeferred(self._mailbox.deleteMessage, self._indexes[number - 1])
                except _GONE:
                    left += 1
        except BaseException:
            await maybeDeferred(self._mailbox.undeleteMessages)
            raise
        await maybeDeferred(self._mailbox.sync)
        return left

    def release(self) -> None:
        """Nothing: nothing was marked. The portal's own logout tells the mailbox that the session is over."""


def _message_gone(failure: Failure) -> Any:
    failure.trap(*_GONE)
    raise MessageGone("the mailbox has no such message any more")


@implementer(IBody)
class MailboxBody:
    """A mailbox's open file, read as bytes even where the mailbox opened it as text (twisted.mail's Maildir does)."""

    __slots__ = ("_file",)

    def __init__(self, file: Any) -> None:
        self._file = file.detach() if isinstance(file, io.TextIOWrapper) else file

    def read(self, limit: int) -> bytes:
        """As IBody; always at once."""
        data: bytes = self._file.read(limit)
        return data

    def fileno(self) -> None:
        """None: what descriptor a mailbox's file has, and where the message begins in it, is its own affair."""

    def close(self) -> None:
        """As IBody; the file's own close may be called again."""
        self._file.close()
