"""A passwd-file on disk: read at the start, and again whenever it changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from twisted.logger import Logger, LogLevel

from mailserver.auth.passwd.table import Table, line_of, read_table
from mailserver.errors import Unusable
from mailserver.names import PLAIN
from mailserver.watched import MAX_NOTES, Parse, WatchedFile, read_file

KEPT = "the passwd-file {path} cannot be used as it is now, so its last good state stays in use: {trouble}"

log = Logger()


class PasswordFileError(Unusable):
    """The passwd-file cannot be used; the text names it and the remedy."""


class WatchedTable(WatchedFile[Table]):
    """The table of a passwd-file, kept up to date."""

    kind = "the passwd-file"
    contents = "users"
    error = PasswordFileError

    def __init__(self, path: str, wall: Callable[[], float] = time.time, domain: str = "") -> None:
        super().__init__(path, Table(), wall)
        self._domain = domain
        self.names = PLAIN
        """The rules by which the names in the file are read."""
        self._ignored: frozenset[str] = frozenset()

    @property
    def table(self) -> Table:
        """The table in force."""
        return self.value

    def load(self) -> None:
        """Read the file in this thread, for the start. Errors: PasswordFileError."""
        super().load()
        if not self.table.entries:
            log.emit(LogLevel.warn, "the passwd-file {path} has no users yet", event="auth.file.empty", path=self.path)

    def parser(self) -> Parse[Table]:
        """Read by the names' rules of now."""
        return partial(read_table, domain=self._domain, names=self.names)

    def line_of(self, user: bytes) -> int:
        """The number of a user's line in the file as it is by now; 0: it cannot be read, or has none. It may take long: for a thread."""
        try:
            found = read_file(self.path, b"", partial(line_of, user=user, domain=self._domain, names=self.names))
        except OSError:
            return 0
        return found.value or 0

    def is_empty(self, value: Table) -> bool:
        """Whether it has no users."""
        return not value.entries

    def kept(self, trouble: str) -> None:
        """Log it as an error: changed passwords do not count yet."""
        log.error(KEPT, event="auth.file.kept", path=self.path, trouble=trouble)

    def installed(self, old: Table) -> None:
        """Log the notes on its lines."""
        if old.entries and not self.table.entries:
            log.warn("the passwd-file {path} has no users any more", event="auth.file.empty", path=self.path)
        notes = self.table.notes
        for note in notes[:MAX_NOTES]:
            log.emit(LogLevel.warn, "{path}:{note}", event="auth.file.note", path=self.path, note=note)
        if len(notes) > MAX_NOTES:
            log.emit(
                LogLevel.warn,
                "{path}: {more} more notes like these",
                event="auth.file.notes",
                path=self.path,
                more=len(notes) - MAX_NOTES,
            )
        if self.table.ignored - self._ignored:
            self._ignored |= self.table.ignored
            fields = ", ".join(sorted(self._ignored))
            log.info(
                "{path}: these fields have no effect here: {fields}",
                event="auth.file.ignored",
                path=self.path,
                fields=fields,
            )
