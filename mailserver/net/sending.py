"""What a connection writes: replies in batches, and the bodies between them, in chunks or by sendfile."""

from __future__ import annotations

from twisted.python.failure import Failure

from mailserver.answers import is_later
from mailserver.errors import MessageTruncated
from mailserver.net.core import Core
from mailserver.net.transfer import CHUNK, FileSender, Transfer
from mailserver.net.waiting import Waiting

TURN_OCTETS = 256 * 1024
"""Octets of bodies after which other sessions have their turn: half a millisecond. Small messages gather up to here in one write."""


class Sending(Waiting):
    """A connection that writes once per batch. A subclass gives `sent`, too, which goes on behind a body.

    `Connection` sets the attributes, which saves each connection a call.
    """

    __slots__ = ("_batch", "_paused", "_sender", "_transfer", "_turn_octets", "core", "ended")

    core: Core
    ended: str
    """The cause of the end, for the log; the first one counts."""
    _batch: list[bytes]
    _transfer: Transfer | None
    _sender: FileSender | None
    _turn_octets: int
    _paused: bool
    """Whether the client reads more slowly than we write."""

    def sent(self, body: Transfer | FileSender) -> None:
        """Go on after a body that has been written whole."""
        raise NotImplementedError

    def end(self, cause: str) -> None:
        """Remember what ended the connection, for the log."""
        self.ended = self.ended or cause

    # The batch.

    def change(self, core: Core) -> None:
        """Run another core from now on. The former core's replies leave in the same batch."""
        self._batch += self.core.take()
        self.core = core

    def flush(self) -> None:
        """Write the batch: the replies so far and the bodies between them."""
        batch = self._batch
        batch += self.core.take()
        if batch:
            data = b"".join(batch)
            self._batch = []
            self.octets_out += len(data)
            self.write(data)

    # Bodies.

    def send(self, transfer: Transfer) -> None:
        """Put a body in the batch, chunk by chunk."""
        self._batch += self.core.take()
        self._transfer = transfer

    def send_file(self, sender: FileSender) -> None:
        """Write the batch, and then a body by sendfile, which owns the transport meanwhile."""
        self.flush()
        self.widen()
        self.transport.unregisterProducer()
        self._paused = False
        self._sender = sender
        sender.start(self._file_sent)

    def _read_on(self, transfer: Transfer) -> None:
        chunk = transfer.read()
        if is_later(chunk):
            self.wait(chunk, self._append, self.fault)
        else:
            self._append(chunk)

    def _append(self, chunk: bytes) -> None:
        transfer = self._transfer
        if transfer is None or self.lost:
            return
        self._batch.append(chunk)
        self._turn_octets += len(chunk)
        if transfer.done:
            self._transfer = None
            transfer.close()
            self.sent(transfer)
        if len(chunk) >= CHUNK:
            self.flush()  # not joined with the next one: that would be a copy, and a larger one than `CHUNK` allows
        if self._turn_octets >= TURN_OCTETS:
            self.flush()
            self.give_way()

    def _file_sent(self, sender: FileSender) -> None:
        if not sender.whole:
            if isinstance(sender.error, (ConnectionError, TimeoutError)):
                self.end("connection lost")
                self.abort()  # the client has gone
            else:
                why = sender.error or "its file is too short"
                self.fault(Failure(MessageTruncated(f"a message ends after {sender.octets} octets: {why}")))
            return
        self.octets_out += sender.octets
        self._sender = None
        self._direct = True
        self.transport.registerProducer(self, True)
        self._batch.append(sender.end)
        sender.close()
        self.sent(sender)
        self.pump()
