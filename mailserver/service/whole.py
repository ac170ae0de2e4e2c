"""What an operator can ask of the server as a whole, from whichever of its processes answers him."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

from twisted.internet.defer import Deferred

RELOAD = "reload"
RESTART = "restart"
ASKS = frozenset({RELOAD, RESTART})
"""What can be asked, by the names that cross the lines between the processes."""

MOST_PROBLEMS = 100
LONGEST_PROBLEM = 500
"""What an outcome says at most: it crosses a line of bounded length, to a terminal."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it."""

    status: int = 0
    """The exit status for the operator's command."""
    problems: Sequence[str] = ()
    """Why it was not done, each with its remedy."""
    changed: Sequence[str] = ()
    """The settings that are other ones now."""
    restart: Sequence[str] = ()
    """The settings that have changed in the file, and wait for a restart."""

    pid: int = 0
    """The new process; 0: there is none."""

    def plain(self) -> dict[str, Any]:
        """Fit for JSON, and bounded."""
        return {**asdict(self), "problems": bounded(self.problems)}

    @classmethod
    def read(cls, said: Any) -> Self:
        """What `plain` made; a fault of the other side where it is something else."""
        try:
            return cls(**said)
        except TypeError:
            return cls(70, ["the server's processes do not understand one another: are they of one version?"])


def bounded(problems: Sequence[Any]) -> list[str]:
    """Problems that another process tells: texts for a terminal and a log."""
    texts = (str(problem)[:LONGEST_PROBLEM] for problem in problems[:MOST_PROBLEMS])
    return ["".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text) for text in texts]


class Whole(Protocol):
    """The whole server, as each of its processes can ask it."""

    def reload(self) -> Deferred[Outcome]:
        """Read the settings again, and take what can change. Never fails."""

    def restart(self) -> Deferred[Outcome]:
        """Let a new process take the place of this one. Never fails; fires when it serves, or cannot."""
