"""A user's mail as a Maildir of its own, which another server can serve, and from which ``mailserver import`` reads it back.

Each message's unique-id is in its file's name, for this server, and in a ``dovecot-uidlist``, for Dovecot. The Maildir appears whole,
or not at all.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from mailserver.cli.bodies import copy
from mailserver.errors import MessageGone
from mailserver.incoming import IMarks, Usage
from mailserver.interfaces import IMaildrop
from mailserver.snapshot import MICROSECONDS, UIDL
from mailserver.store.maildir.filenames import field_for
from mailserver.store.maildir.files import sync_directory
from mailserver.store.maildir.foreign import uidlist
from mailserver.store.maildir.unique import UniqueNames

InThread = Callable[..., Awaitable[Any]]
"""Calls a function in a thread."""


class Unfit(Exception):
    """There is something else already. The text says what."""


class Export:
    """The Maildir while it is made, in a directory beside its later place. Its methods block."""

    def __init__(self, place: Path, now: float) -> None:
        self._place = place
        self._now = now
        self._names = UniqueNames()
        self._records: list[uidlist.Record] = []
        self._made: Path | None = None
        self._file: BinaryIO | None = None

    def check(self) -> None:
        """Whether it can be made there. Errors: Unfit; OSError."""
        if not os.access(self._place.parent, os.W_OK | os.X_OK):
            raise OSError(0, f"{self._place.parent} must be a directory that the user who serves may write to")
        try:
            if any(self._place.iterdir()):
                raise Unfit("it is not empty")
        except FileNotFoundError:
            pass
        except NotADirectoryError:
            raise Unfit("it is a file") from None

    def begin(self) -> None:
        """Make the directory, for its owner alone. Errors: OSError."""
        self._made = Path(tempfile.mkdtemp(dir=self._place.parent, prefix=f".{self._place.name}-"))
        for name in ("cur", "new", "tmp"):
            (self._made / name).mkdir(mode=0o700)

    def write(self, data: bytes) -> None:
        """Add octets to the message, which the first ones begin. Errors: OSError."""
        if self._file is None:
            self._file = (self._within("tmp") / "message").open("xb")
        self._file.write(data)

    def end(self, uidl: bytes, octets: int, arrival: float | None, *, seen: bool) -> None:
        """End the message, which is in canonical form. Errors: OSError."""
        self.write(b"")
        time = self._now if arrival is None else arrival
        with self._file as file:  # type: ignore[union-attr]  # it is open now
            file.flush()
            os.utime(file.fileno(), (time, time))  # Dovecot takes a message's arrival from there
            os.fsync(file.fileno())
        self._file = None
        name = self._names.name(time) + b",S=%d,W=%d" % (octets, octets)
        if UIDL.fullmatch(uidl):
            name += field_for(uidl)
        self._records.append(uidlist.Record(len(self._records) + 1, name, b"P" + uidl))
        (self._within("tmp") / "message").rename(
            self._within("cur") / os.fsdecode(name + (b":2,S" if seen else b":2,"))
        )

    def finish(self) -> None:
        """Let the Maildir appear, durably. Errors: OSError."""
        records, made = self._records, self._within("")
        found = uidlist.Uidlist(3, int(self._now), len(records) + 1, uidlist.guid(), records)
        uidlist.write(os.fsencode(made) + b"/", found)
        for each in (made / "cur", made):
            sync_directory(os.fsencode(each))
        made.rename(self._place)  # in the place of an empty directory, or of nothing
        self._made = None
        sync_directory(os.fsencode(self._place.parent))

    def abort(self) -> None:
        """Leave nothing; harmless after `finish`."""
        if self._file is not None:
            self._file.close()
        if self._made is not None:
            shutil.rmtree(self._made, ignore_errors=True)

    def _within(self, name: str) -> Path:
        assert self._made is not None  # noqa: S101 - for mypy: it has begun
        return self._made / name


async def export(maildrop: IMaildrop, made: Export, in_thread: InThread) -> Usage:
    """Write all messages of the maildrop, and answer what was written. Errors: OSError, StoreError."""
    messages = octets = 0
    await in_thread(made.begin)
    arrivals, marks = maildrop.messages.arrivals, IMarks(maildrop, None)
    for number, uidl in enumerate(maildrop.messages.uidls, 1):
        try:
            written = await copy(maildrop, number, partial(in_thread, made.write))
        except MessageGone:
            continue  # as a session that asks for it would be told; others deleted it meanwhile
        arrival = arrivals[number - 1] / MICROSECONDS if arrivals else None
        seen = marks is not None and marks.seen(number)
        await in_thread(made.end, uidl, written, arrival, seen=seen)
        messages, octets = messages + 1, octets + written
    await in_thread(made.finish)
    return Usage(messages, octets)
