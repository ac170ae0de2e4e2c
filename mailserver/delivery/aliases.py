"""The file of aliases on disk: read at the start, and again whenever it changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred, execute, succeed
from twisted.logger import Logger
from zope.interface import implementer

from mailserver.delivery.alias_table import AliasTable, read_aliases
from mailserver.interfaces import IPart
from mailserver.pool import Pool
from mailserver.watched import MAX_NOTES, Parse, WatchedFile

MAX_WAITING: Final = 4
"""One reading serves all who wait, so that no more than a second one can be asked for."""

log = Logger()


class AliasFile(WatchedFile[AliasTable]):
    """The table of a file of aliases, kept up to date."""

    kind = "the file of aliases"
    contents = "aliases"

    def __init__(self, path: str, wall: Callable[[], float] = time.time) -> None:
        super().__init__(path, AliasTable(), wall)

    def parser(self) -> Parse[AliasTable]:
        """The one for all files."""
        return read_aliases

    def is_empty(self, value: AliasTable) -> bool:
        """Whether it has no aliases."""
        return not value.entries

    def kept(self, trouble: str) -> None:
        """Log it as an error: changed aliases do not count yet."""
        log.error(
            "the file of aliases {path} cannot be used as it is now, so its last good state stays in use: {trouble}",
            event="delivery.aliases.kept",
            path=self.path,
            trouble=trouble,
        )

    def installed(self, old: AliasTable) -> None:
        """Log the notes on its lines, which begin with their numbers."""
        if old.entries and not self.value.entries:
            log.warn("the file of aliases {path} has none any more", event="delivery.aliases.empty", path=self.path)
        notes = self.value.notes
        for note in notes[:MAX_NOTES]:
            log.warn("{path}:{note}", event="delivery.aliases.note", path=self.path, note=note)
        if len(notes) > MAX_NOTES:
            log.warn(
                "{path}: {more} more notes like these",
                event="delivery.aliases.notes",
                path=self.path,
                more=len(notes) - MAX_NOTES,
            )


@implementer(IPart)
class Aliases:
    """The aliases of a site. Without a file, `path` is "", there are none."""

    def __init__(self, path: str = "", wall: Callable[[], float] = time.time) -> None:
        self._file = AliasFile(path, wall) if path else None
        self._pool: Pool | None = None
        self._reactor: Any = None

    @property
    def path(self) -> str:
        """The file, for the log."""
        return self._file.path if self._file else ""

    def start(self, reactor: Any) -> Deferred[None]:
        """Read the file, and get the thread ready. Errors: Unusable."""
        return execute(self._start, reactor)

    def _start(self, reactor: Any) -> None:
        self._reactor = reactor
        if self._file is None or self._pool is not None:
            return
        self._file.load()
        pool = Pool(reactor, 1, MAX_WAITING, "aliases")
        pool.start()
        self._pool = pool

    def reload(self) -> Deferred[None]:
        """Read the file again if it has changed."""
        return self.table().addCallback(lambda _: None)

    def stop(self) -> Deferred[None]:
        """End the thread."""
        pool, self._pool = self._pool, None
        return succeed(None) if pool is None else pool.stop()

    def turn(self) -> Deferred[None]:
        """Let others have a turn of the reactor: an alias of thousands is looked up in pieces."""
        turn: Deferred[None] = Deferred()
        if self._reactor is None:
            turn.callback(None)
        else:
            self._reactor.callLater(0, turn.callback, None)
        return turn

    def table(self) -> Deferred[AliasTable]:
        """The table of the file as it is now, or its last good state."""
        if self._file is None:
            return succeed(AliasTable())
        if self._pool is None or self._file.fresh():
            return succeed(self._file.value)
        file = self._file
        return file.refresh(partial(self._pool.run, mandatory=True)).addCallback(lambda _: file.value)
