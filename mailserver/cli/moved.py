"""What the commands that move mail say: of a user, of a message that could not be moved as it is, and how far they are."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final, NamedTuple

from mailserver.cli import admin
from mailserver.cli.main import tell
from mailserver.migration.progress import Lines, Progress, Sums, Tally, amount, duration
from mailserver.migration.troubles import Trouble, TroubleLog
from mailserver.modules import why_not

TOLD: Final = 10
"""Troubles of a run that are told on standard error, if there is no --log: enough to see what is wrong with a source."""


class Outcome(NamedTuple):
    """What came of one user's mail."""

    user: str
    old_name: str
    tally: Tally
    error: str
    """"": the move went to its end, or was stopped."""
    dry_run: bool

    def json(self) -> str:
        """For programs."""
        facts = {"user": self.user, "old_name": self.old_name, **asdict(self.tally), "left": self.tally.left}
        return json.dumps({**facts, "error": self.error or None, "dry_run": self.dry_run}, ensure_ascii=False)

    def sentence(self) -> str:
        """For people."""
        left = f"; {self.tally.left:,} are left: run it again" if self.tally.left else ""
        return f"{self.user}: {counted(self.tally, dry_run=self.dry_run)}{left}"


def counted(tally: Tally, *, dry_run: bool) -> str:
    """A tally in words."""
    messages = "message" if tally.moved == 1 else "messages"
    octets = f" ({amount(tally.octets)})" if tally.octets else ""
    parts = [f"{tally.moved:,} {messages}{octets} {'would be moved' if dry_run else 'moved'}"]
    if tally.there:
        parts.append(f"{tally.there:,} {'was' if tally.there == 1 else 'were'} moved before")
    if tally.unread:
        parts.append(f"{tally.unread:,} could not be read")
    return ", ".join(parts)


def summary(sums: Sums, failed: int, *, dry_run: bool) -> str:
    """What came of all."""
    waiting = sums.users - sums.ended
    parts = [f"{sums.ended:,} {'user' if sums.ended == 1 else 'users'}: {counted(sums.total, dry_run=dry_run)}"]
    if failed:
        parts.append(f"{failed:,} failed")
    if waiting:
        parts.append(f"{waiting:,} have not had their turn")
    return f"{'; '.join(parts)}; {duration(sums.seconds)}"


class Troubles:
    """Hears of each trouble: writes it into the file, if there is one, or else tells the first ones by `warn`."""

    def __init__(self, file: TroubleLog | None, warn: Callable[[str], None]) -> None:
        self._file = file
        self._warn = warn
        self._told = 0

    def __call__(self, trouble: Trouble) -> None:
        """One more."""
        if self._file is not None:
            try:
                self._file.write(trouble)
            except OSError as error:
                self._file = None
                self._warn(f"mailserver: --log: {error.strerror}; what comes is told here")
            else:
                return
        self._told += 1
        if self._told <= TOLD:
            place = f"{trouble.place}: " if trouble.place else ""
            told = f"mailserver: {trouble.user}: {place}{trouble.text}"
            self._warn("".join(each if each.isprintable() else "?" for each in told))  # a file may be called anything
        elif self._told == TOLD + 1:
            self._warn("mailserver: there are more; --log FILE has them all")


@contextmanager
def trouble_log(path: Path | None) -> Iterator[TroubleLog | None]:
    """The file of ``--log``, where one is wanted. Errors: OSError, where it cannot be opened."""
    file = None if path is None else TroubleLog(path, time.time)
    try:
        yield file
    finally:
        if file is not None:
            file.close()


Shower = Callable[[Sums, Callable[[], float]], Progress]
"""Makes what shows the progress, of sums and a clock."""


def shower() -> Shower:
    """Bars on a terminal, or else lines. It imports what they need."""
    if os.isatty(2) and os.environ.get("TERM") != "dumb":
        try:
            from mailserver.migration.bars import Bars
        except ImportError as error:
            tell(f"mailserver: no bars: {why_not(error, 'migrate')}")
        else:
            say = None if sys.stdout.isatty() else admin.say
            return lambda sums, clock: Bars(sums, clock, say)
    return lambda sums, clock: Lines(sums, clock, admin.say, tell)
