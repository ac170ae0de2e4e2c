"""A protocol's commands: which verbs each state knows, on which condition, and what its capabilities say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

from mailserver.errors import BadCommand, Refusal, WrongArguments
from mailserver.protocol import texts

S = TypeVar("S")
"""The protocol's session."""
T = TypeVar("T")
"""Its states."""
E = TypeVar("E")
"""Its effects."""

Function = Callable[[S, Sequence[bytes]], E | None]
Condition = Callable[[S, Sequence[bytes]], Refusal | None]
"""Why a command cannot be used now, with these arguments; None: it can. Capabilities ask without arguments."""
Capability = Callable[[S], bytes]
"""A capability with its arguments; b"" while it has none."""


class Command(NamedTuple, Generic[S, E]):
    """A row of a state's table."""

    function: Function[S, E]
    least: int
    most: int
    verbatim: bool
    when: Condition[S] | None


class Announced(NamedTuple, Generic[S]):
    """A capability, and the condition of the command that it announces."""

    capability: bytes | Capability[S]
    when: Condition[S] | None


class Commands(Generic[S, T, E]):
    """The tables of a protocol, which `command` fills when its module is imported. They do not change later."""

    __slots__ = ("_announced", "tables")

    def __init__(self, states: Iterable[T]) -> None:
        self.tables: dict[T, dict[bytes, Command[S, E]]] = {state: {} for state in states}
        """The verbs of each state; a session can reach no others."""
        self._announced: list[Announced[S]] = []

    def command(
        self,
        verb: bytes,
        *states: T,
        args: tuple[int, int] = (0, 0),
        verbatim: bool = False,
        capability: bytes | Capability[S] = b"",
        when: Condition[S] | None = None,
    ) -> Callable[[Function[S, E]], Function[S, E]]:
        """Enter a function as `verb` in the tables of `states`.

        `args` are the least and the most arguments it takes; with `verbatim` it takes one, the rest of the line as it came.
        `run` refuses the command, and `capabilities` leaves it out, while the one condition `when` gives a refusal.
        """

        def enter(function: Function[S, E]) -> Function[S, E]:
            for state in states:
                self.tables[state][verb] = Command(function, *args, verbatim, when)
            if capability:
                self._announced.append(Announced(capability, when))
            return function

        return enter

    def run(self, session: S, verbs: dict[bytes, Command[S, E]], line: bytes) -> E | None:
        """Run one command line by the table of the session's state. Errors: a Refusal, which leaves the session as it was."""
        verb, _, rest = line.partition(b" ")
        found = verbs.get(verb.upper())
        if found is None:
            known = any(verb.upper() in table for table in self.tables.values())
            raise BadCommand(texts.NOT_NOW if known else None)
        function, least, most, verbatim, when = found
        if verbatim:
            args: Sequence[bytes] = (rest,)
        else:
            args = rest.split()
            if not least <= len(args) <= most:
                raise WrongArguments
        if when is not None and (refusal := when(session, args)) is not None:
            raise refusal
        return function(session, args)

    def capabilities(self, session: S) -> Iterator[bytes]:
        """Yield the lines of the capabilities that can be used now, in the order in which the commands were entered."""
        for capability, when in self._announced:
            if when is None or when(session, ()) is None:
                line = capability(session) if callable(capability) else capability
                if line:
                    yield line
