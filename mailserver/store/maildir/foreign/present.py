"""The files of a Maildir as Dovecot sees them, where its unique-ids depend on more than its list."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from mailserver.store.maildir.files import opened
from mailserver.store.maildir.foreign.lists import DIRECTORIES, stem

_HEADER: Final = 256 * 1024
"""Octets of a header that are looked through: few headers have a tenth."""

_X_UIDL: Final = re.compile(rb"^x-uidl[ \t]*:((?:.|\n[ \t])*)", re.IGNORECASE | re.MULTILINE)


def files(root: bytes) -> Mapping[bytes, bytes]:
    """The paths of all files by their names without the info. Errors: OSError."""
    found = {}
    for directory in reversed(DIRECTORIES):  # new/ first: what moves meanwhile is seen in cur/
        with os.scandir(root + directory) as entries:
            found.update(
                {stem(entry.name): root + directory + entry.name for entry in entries if entry.name[:1] != b"."}
            )
    return found


def x_uidl(path: bytes) -> bytes | None:
    """The first X-UIDL in a message's header, as it stands there; None: it has none, or cannot be read.

    With the line ends of a folded one in its reply, Dovecot's list of unique-ids was of no use to anybody.
    """
    data = b""
    with suppress(OSError), opened(path) as descriptor:
        data = os.pread(descriptor, _HEADER, 0).replace(b"\r\n", b"\n")
    found = _X_UIDL.search(data if data[:1] != b"\n" else b"", 0, data.find(b"\n\n") + 1 or len(data))
    return None if found is None else found[1].strip(b" \t")


def renamed(uidls: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    """These unique-ids of names, in the order of UIDs, with ``-2`` and so on behind those that others before them have."""
    counts: dict[bytes, int] = {}
    found = {}
    for name, uidl in uidls.items():
        changed = uidl
        while changed in counts:
            counts[changed] += 1
            changed += b"-%d" % counts[changed]
        counts[changed] = 1
        found[name] = changed
    return found
