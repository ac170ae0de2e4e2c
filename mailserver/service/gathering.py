"""Asks all processes of the server from within one of them, by the sockets at which operators ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from mailserver.control.port import Asking, ControlFactory


class Gathered(NamedTuple):
    """What the processes have answered."""

    rows: Sequence[dict[str, Any]]
    silent: Sequence[int]
    """The worker processes that have not."""


class Gathering:
    """The way to all processes, from the moment that this one has begun to serve the operators' socket."""

    number = 0
    """This worker's number; 0: there is one process."""
    alone = False
    """Whether there are others, which have no sockets at which they can be asked."""

    def __init__(self) -> None:
        self._port: ControlFactory | None = None

    def begin(self, port: ControlFactory, number: int, workers: int) -> None:
        """Ask by what serves the socket of all; of worker `number`, it knows the sockets of so many."""
        self._port = port
        self.number = number
        self.alone = bool(number) and not workers

    async def ask(self, question: str) -> Gathered:
        """Ask a question without arguments. Errors: control.port.Impossible, and faults of the answer."""
        if self._port is None:
            return Gathered([], [])
        said: list[Any] = []
        end = await self._port.answer(self._port.questions[question], Asking({"question": question}, said.append))
        return Gathered([each["row"] for each in said], end["end"].get("silent", []))
