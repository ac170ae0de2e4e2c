"""The envelopes of a Maildir's messages, cached beside its index, so that an account's login reads no message twice.

The cache is a file of its own, and only the maildrop of an account (SDPS) has one. Where it is damaged, or was written for
other headers, the messages are read again. docs/sdps.md has the format.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from hashlib import blake2b
from itertools import chain
from typing import NamedTuple

from mailserver.envelope import STEP_OCTETS, EnvelopeHeaders, is_whole
from mailserver.store.envelopes import Envelopes
from mailserver.store.maildir.contents import beginning
from mailserver.store.maildir.files import read_whole, rename, write_new
from mailserver.store.maildir.index import Index
from mailserver.store.maildir.listing import Clock, look
from mailserver.store.maildir.same import Target, found_again

NAME = b"mailserver-envelopes"

_MAGIC = b"msrvenvl"
_VERSION = 1
_HEADER = struct.Struct("=8sI16sI")  # magic, version, the headers' fingerprint, rows
_DIGEST = 16

Cells = tuple[bytes, bytes]
"""A row's two cells: the sender, and the recipients separated by commas."""


class Read(NamedTuple):
    """The result of `read`."""

    envelopes: Envelopes
    whole: bool
    """Whether every message could be read."""
    note: str
    """A note for the operator, or ""."""


def read(root: bytes, index: Index, headers: EnvelopeHeaders, clock: Clock, *, keep: bool = True) -> Read:
    """The envelopes of the index's messages; reads the messages that the file lacks. For a thread, to `keep` them under the lock."""
    known = _known(root, headers)
    uidls = index.snapshot.uidls
    missing = [at for at, uidl in enumerate(uidls) if uidl not in known]
    found = _look(root, index, missing, headers, clock)
    rows: dict[bytes, Cells] = {}
    for uidl in uidls:
        row = known.get(uidl) or found.get(uidl)
        if row is not None:
            rows[uidl] = row
    note = ""
    if keep and rows.keys() != known.keys():
        try:
            write(root, encode(rows, headers))
        except OSError as error:
            note = f"the envelopes cannot be stored, so every login reads them from the messages: {error}"
    cells = [rows.get(uidl, (b"", b"")) for uidl in uidls]
    unread = frozenset(at for at in missing if uidls[at] not in rows)
    envelopes = Envelopes(
        index.snapshot, [sender for sender, _ in cells], [recipients for _, recipients in cells], unread
    )
    return Read(envelopes, not unread, note)


def encode(rows: Mapping[bytes, Cells], headers: EnvelopeHeaders) -> bytes:
    """The file's contents for these rows, which are by unique-id."""
    texts = chain(rows, *zip(*rows.values(), strict=True))
    data = _HEADER.pack(_MAGIC, _VERSION, headers.fingerprint, len(rows)) + b"\0".join(texts)
    return data + _digest(data)


def decode(data: bytes, headers: EnvelopeHeaders) -> dict[bytes, Cells]:
    """The rows in the file's contents; none when they are damaged, of another version, or of other headers."""
    if len(data) < _HEADER.size + _DIGEST or _digest(data[:-_DIGEST]) != data[-_DIGEST:]:
        return {}
    magic, version, fingerprint, count = _HEADER.unpack_from(data)
    texts = data[_HEADER.size : -_DIGEST].split(b"\0")
    if (magic, version, fingerprint, 3 * count) != (_MAGIC, _VERSION, headers.fingerprint, len(texts)):
        return {}
    return dict(zip(texts[:count], zip(texts[count : 2 * count], texts[2 * count :], strict=True), strict=True))


def write(root: bytes, data: bytes) -> None:
    """Replace the file atomically. It need not be durable: a damaged one is ignored."""
    temporary = root + NAME + b".tmp"
    write_new(temporary, data, durable=False)
    rename(temporary, root + NAME)


def _known(root: bytes, headers: EnvelopeHeaders) -> dict[bytes, Cells]:
    try:
        return decode(read_whole(root + NAME), headers)
    except OSError:
        return {}  # there is none yet, or it is unusable and will be replaced


def _look(root: bytes, index: Index, rows: Sequence[int], headers: EnvelopeHeaders, clock: Clock) -> dict[bytes, Cells]:
    """Read the envelopes of these messages, including those that other programs rename meanwhile."""
    found: dict[bytes, Cells] = {}
    uidls = index.snapshot.uidls
    moved: dict[Target, bytes] = {}
    for at in rows:
        try:
            found[uidls[at]] = cells_of(root + index.names[at], headers)
        except FileNotFoundError:
            moved[index.target(at)] = uidls[at]
        except OSError:
            continue  # RETR will say so; the next login looks again
    if moved:
        with suppress(OSError):  # the next login looks again
            now = found_again(look(root, clock).files, moved, index.others(moved))
            for target, path in now.items():
                with suppress(OSError):
                    found[moved[target]] = cells_of(root + path, headers)
    return found


def cells_of(path: bytes, headers: EnvelopeHeaders) -> Cells:
    """The envelope from the headers of this file. Errors: OSError."""
    head = b""
    with closing(beginning(path, STEP_OCTETS)) as chunks:
        for chunk in chunks:
            head += chunk
            if is_whole(head):
                break
    envelope = headers.read(head)
    return envelope.sender, b",".join(envelope.recipients)


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST).digest()
