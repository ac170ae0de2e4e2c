"""Progress as bars on a terminal: one for all users, with the rate and the time that is left, and one for each whose turn it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from mailserver.migration.progress import Sums, Tally

_REFRESHES: Final = 4
"""In a second: what eyes can follow."""


class Bars:
    """Bars on standard error. `say` writes to standard output, if that is no terminal: else the bars would be torn."""

    def __init__(
        self,
        sums: Sums,
        clock: Callable[[], float],
        say: Callable[[str], None] | None,
        console: Console | None = None,
    ) -> None:
        self._sums = sums
        self._clock = clock
        self._say = say
        self._last = clock()
        self._console = console or Console(stderr=True)
        name = TextColumn("{task.description}", markup=False)
        text = TextColumn("{task.fields[text]}", markup=False)
        self._bars = Progress(
            *(name, BarColumn(), text),
            console=self._console,
            refresh_per_second=_REFRESHES,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._all = self._bars.add_task("all users", total=1.0, text="")
        self._tasks: dict[str, TaskID] = {}
        self._bars.start()

    def begin(self, user: str, tally: Tally) -> None:
        """As Progress."""
        self._sums.begin(user, tally)
        self._tasks[user] = self._bars.add_task(user, total=None, text="")

    def changed(self, user: str) -> None:
        """As Progress; most changes are too quick to be seen, and cost nothing."""
        if self._clock() - self._last < 1 / _REFRESHES:
            return
        self._last, tally = self._clock(), self._sums.present[user]
        text = f"{tally.done:,} of {tally.listed:,}"
        self._bars.update(self._tasks[user], total=tally.listed, completed=tally.done, text=text)
        self._show()

    def end(self, user: str) -> None:
        """As Progress."""
        self._sums.end(user)
        self._bars.remove_task(self._tasks.pop(user))
        self._show()

    def _show(self) -> None:
        self._bars.update(self._all, completed=self._sums.fraction, text=self._sums.sentence)

    def say(self, line: str) -> None:
        """As Progress."""
        if self._say is not None:
            self._say(line)
        else:
            self.warn(line)

    def warn(self, line: str) -> None:
        """As Progress."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """As Progress."""
        self._bars.stop()
