"""A maildrop with mail in it, and all that can be done to it, for the tests of what is found and mended."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mailserver.errors import StoreError
from mailserver.interfaces import Quota
from mailserver.store.maildir import index, opening, promise
from mailserver.store.maildir.faults import examine
from mailserver.store.maildir.ours import Ours
from mailserver.store.maildir.same import Target
from mailserver.upkeep import Finding, Repair
from tests.store.maildir.crash import clock

OLD = time.time() - 100 * 3600
"""Of what has been there for so long that nobody can be at work on it."""


class Maildrop:
    """At `root`, with a message for each of the names."""

    REFUSALS = (StoreError, OSError)
    """What a login may be refused by."""

    def __init__(self, root: Path, names: Sequence[str] = ()) -> None:
        self.path = root
        self.root = os.fsencode(root) + b"/"
        for directory in ("new", "cur", "tmp"):
            (root / directory).mkdir(parents=True)
        for number, name in enumerate(names):
            self.put(name, b"Subject: %d\n\nmessage %d\r\n" % (number, number))

    def put(self, name: str, data: bytes = b"Subject: x\n\n") -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def age(self, name: str) -> None:
        os.utime(self.path / name, (OLD, OLD))

    def settle(self) -> None:
        """Let new/ and cur/ look old, so that a scan of them is trusted."""
        for directory in ("new", "cur"):
            self.age(directory)

    def log_in(self) -> list[bytes]:
        """As a session does; the unique-ids."""
        opened = opening.thoroughly(self.root, self.root, "test", None, clock)
        os.close(opened.lock)
        return list(opened.found.uidls)

    def verify(self, quota: Quota | None = None) -> Sequence[Finding]:
        return examine.verify(self.root, None, quota)

    def kinds(self) -> list[str]:
        return [each.kind for each in self.verify()]

    def repair(self) -> Repair:
        return examine.repair(self.root, "test", clock, None, opening.ALONE)

    def shown(self) -> dict[bytes, set[bytes]]:
        """The unique-ids of the messages, by contents."""
        rows = Ours().rows(self.root)
        found: dict[bytes, set[bytes]] = {}
        for name, uidl in zip(rows.names, rows.uidls, strict=True):
            found.setdefault((self.path / os.fsdecode(name)).read_bytes(), set()).add(uidl)
        return found

    def stored(self) -> Counter[bytes]:
        """The contents of all files."""
        return Counter(each.read_bytes() for each in self.files())

    def files(self) -> list[Path]:
        folders = [self.path / name for name in ("new", "cur") if (self.path / name).is_dir()]
        return sorted(
            path for folder in folders for path in folder.iterdir() if path.is_file() and not path.is_symlink()
        )

    def indexed(self) -> bool:
        """Whether there is an index that can be read."""
        path = self.path / "mailserver-index"
        return path.is_file() and index.decode(path.read_bytes()) is not None

    def rewrite(self, change: Callable[[index.Index, Any], None]) -> None:
        """Change the rows of the index."""
        found = index.decode((self.path / "mailserver-index").read_bytes())
        assert found is not None
        rows = found.rows
        change(found, rows)
        index.write(self.root, index.encode(rows, found.new_time, found.cur_time, found.basis))

    def promise(self, name: str) -> None:
        """As a session that was killed behind its promise to delete this message."""
        path = self.path / name
        status = path.stat()
        since = clock(self.root) if (self.path / "mailserver-lock").exists() else time.time_ns() + 10**9
        target = Target(name.encode(), status.st_ino, status.st_size, since)
        (self.path / "mailserver-journal").write_bytes(promise.encode([target]))
