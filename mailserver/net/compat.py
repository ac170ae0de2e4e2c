"""Serves mailboxes that were written for twisted.mail as maildrops.

A portal may answer an avatar that provides `twisted.mail.interfaces.IMailboxPOP3`. Such a mailbox marks messages as deleted and
removes them at its `sync`. Both happen at QUIT, never at DELE, so a session that ends otherwise leaves nothing to undo.
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
"""Messages listed in one reactor turn: at about 2 us for a cheap mailbox's getUidl, half a millisecond."""

_VALID_UIDL: Final = re.compile(rb"[\x21-\x7e]{1,70}")  # RFC 1939 section 7
_GONE: Final = (ValueError, LookupError, FileNotFoundError, PermissionError)
"""The errors of a mailbox without the message: its interface's, and the one of twisted.mail's Maildir."""


def adapt(mailbox: IMailboxPOP3, clock: IReactorTime) -> Deferred[IMaildrop]:
    """The mailbox as a maildrop; messages of size 0 are left out, since IMailboxPOP3 means deleted ones by it.

    The sizes are the mailbox's: only reading every message could show whether they count CRLFs, as RFC 1939 section 11
    requires. When its messages came it does not tell, so none of them is ever old. A large mailbox is listed in parts, one in each reactor turn, but its own listMessages runs in one turn.
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
    """The mailbox's unique-id, which may be a str; hashed when RFC 1939 section 7 forbids it."""
    raw = uidl.encode("utf-8", "surrogateescape") if isinstance(uidl, str) else uidl
    return raw if _VALID_UIDL.fullmatch(raw) else hashlib.sha256(raw).hexdigest().encode()


@implementer(IMaildrop)
class MailboxMaildrop:
    """An IMailboxPOP3 as a maildrop. Only the mailbox itself may take a lock."""

    def __init__(self, mailbox: IMailboxPOP3, clock: IReactorTime, indexes: Sequence[int], messages: Snapshot) -> None:
        self.messages = messages
        self._mailbox = mailbox
        self._clock = clock
        self._indexes = indexes

    def fetch(self, number: int) -> IBody | Deferred[IBody]:
        """Open a message; the body's `read` blocks as long as the mailbox's file does."""
        try:
            file = self._mailbox.getMessage(self._indexes[number - 1])
        except _GONE:
            raise MessageGone(f"the mailbox has no message {number} any more") from None
        if isinstance(file, Deferred):
            return file.addCallbacks(MailboxBody, _message_gone)
        return MailboxBody(file)

    def envelope(self, number: int) -> Deferred[Envelope]:
        """The envelope, read from the message by the default headers."""
        return read_envelope(self.fetch(number), EnvelopeHeaders())

    def sent(self, number: int, octets: int) -> None:
        """Do nothing: IMailboxPOP3 has no method for it."""

    def commit(self, numbers: Sequence[int]) -> Deferred[int]:
        """Delete and synchronise. After a fault before `sync` the marks are removed, so that nothing is deleted."""
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
        """Do nothing: nothing is marked. The portal's own logout informs the mailbox of the session's end."""


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
        """None: a mailbox's file may have no descriptor, and the message may begin anywhere in it."""

    def close(self) -> None:
        """As IBody; a file's close may be called repeatedly."""
        self._file.close()
