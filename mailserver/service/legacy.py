"""What a server leaves to the new process that takes its place: a line that tells of the descriptors which it inherits.

The sockets themselves are inherited, so that clients notice nothing: both processes accept from one queue until the old one stops.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

VARIABLE: Final = "MAILSERVER_SUCCEEDS"
"""Set for a process that is to take another one's place, to the pid of that one."""

WORDS: Final = 3
"""The descriptor by which it tells how it stands."""
ORDERS: Final = 4
"""That by which it hears, first this line; its end is the end of the old process."""
STDERR: Final = 5
"""Standard error. Until it serves, its own is a pipe, so that the old process can tell why it cannot."""
FIRST: Final = 6
"""The others begin here."""


@dataclass(slots=True)
class Passed:
    """A bound socket."""

    endpoint: str
    """The endpoint string that it was bound by, or the path of an operators' socket."""
    descriptor: int
    made: bool
    """Whether it has a file, which its last owner removes."""


@dataclass(slots=True)
class CommonPassed:
    """The memory of worker processes."""

    descriptor: int
    key: str
    count: int
    """The worker processes; the memory counts for twice as many, so that those of both servers can be there at once."""
    connections: int
    """The limit by which it was made."""
    half: int
    """Which half of the counts is the old server's: 0 or 1."""


@dataclass(slots=True)
class Legacy:
    """All of it."""

    sockets: list[Passed] = field(default_factory=list)
    tickets: Sequence[Any] = ()
    """The secret of session tickets, as `MemoryTickets.passed` tells it."""
    common: CommonPassed | None = None
    pidfile: int | None = None
    """Its descriptor: the folder may be one where only root may write."""
    was_root: bool = False
    """Whether the server began as root and gave that up, so that what begins as root cannot begin any more."""
    taken: list[int] = field(default_factory=list)
    """The descriptors of the sockets that the new process goes on with."""

    def plain(self) -> dict[str, Any]:
        """Fit for JSON."""
        return asdict(self)

    @classmethod
    def read(cls, line: bytes) -> Self:
        """What another version of the program may have told: what it does not know is missing, and what is unknown here is left out.

        Errors: ValueError.
        """
        said = json.loads(line)
        legacy: Self = _fitting(cls, said)
        legacy.sockets = [_fitting(Passed, each) for each in said.get("sockets", [])]
        legacy.common = None if said.get("common") is None else _fitting(CommonPassed, said["common"])
        return legacy

    def take(self, endpoint: str) -> Passed | None:
        """The socket that was bound by this endpoint; each once."""
        for each in self.sockets:
            if each.endpoint == endpoint and each.descriptor not in self.taken:
                self.taken.append(each.descriptor)
                return each
        return None


def _fitting(cls: Any, said: Mapping[str, Any]) -> Any:
    try:
        return cls(**{name: value for name, value in said.items() if name in cls.__dataclass_fields__})
    except TypeError as error:
        raise ValueError(str(error)) from None
