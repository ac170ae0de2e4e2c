"""Sessions that note what their client sends, and in which goes wrong what a test wants."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

from mailserver.errors import BadCommand, Refusal
from mailserver.protocol import texts
from mailserver.protocol.commands import Command, Commands
from mailserver.protocol.effects import Effect, State
from mailserver.protocol.policy import Policy
from mailserver.protocol.pop3 import Session
from mailserver.protocol.pop3_commands import COMMANDS
from mailserver.testing.faults import GREETING, Fault, Faults
from mailserver.testing.records import ClientSession, shown

CAPABILITY_OF = {"AUTH": "SASL"}
"""Commands whose capability has another name."""


@dataclass(frozen=True, slots=True)
class Acting:
    """An effect more: let this go wrong, and then maybe run the command. Answer: `Scripted.acted`."""

    fault: Fault
    command: Callable[[], Effect | None]


class Script(Commands[Session, State, Effect]):
    """POP3's commands, of which each is noted, and may go wrong, before it runs."""

    __slots__ = ("_faults", "_record")

    def __init__(self, faults: Faults, record: ClientSession) -> None:
        super().__init__(())
        self.tables = COMMANDS.tables
        self._faults = faults
        self._record = record

    def run(self, session: Session, verbs: dict[bytes, Command[Session, Effect]], line: bytes) -> Effect | None:
        """As any session, unless the command is hidden or is to go wrong."""
        verb = line.partition(b" ")[0].upper()
        known = any(verb in table for table in self.tables.values())
        self._record.commands.append(shown(line, known=known))
        name = verb.decode("ascii", "replace")
        if not self._faults.hidden.isdisjoint({name, CAPABILITY_OF.get(name, name)}):
            raise BadCommand

        def command() -> Effect | None:
            return super(Script, self).run(session, verbs, line)

        fault = self._faults.take(name)
        return command() if fault is None else cast("Effect", Acting(fault, command))


class Scripted(Session):
    """A session of a server for tests."""

    __slots__ = ("_faults",)

    def __init__(  # noqa: PLR0913 - a session's, and a test's
        self,
        policy: Policy,
        faults: Faults,
        record: ClientSession,
        stamp: bytes,
        *,
        tls: bool,
        surroundings: Any,
    ) -> None:
        stamp = b"" if "APOP" in faults.hidden else stamp
        super().__init__(policy, Script(faults, record), stamp, tls=tls, surroundings=surroundings)
        self._faults = faults
        fault = faults.take(GREETING)
        if fault is not None:
            greeting = self.take()
            self._pending = cast("Effect", Acting(fault, lambda: self._out.extend(greeting)))

    def lines(self, rows: Iterable[bytes], text: bytes = b"") -> None:
        """As any session; but what is hidden is no capability."""
        if text == texts.CAPABILITIES and self._faults.hidden:
            rows = [row for row in rows if row.split(b" ")[0].decode("ascii") not in self._faults.hidden]
        super().lines(rows, text)

    def acted(self) -> None:
        """Go on: reply what a test wants, or run the command."""
        effect = cast("Acting", self._open)
        self._answers(Acting)
        fault = effect.fault
        if fault.reply is None:
            try:
                self._pending = effect.command()
            except Refusal as refusal:
                self._refuse(refusal)
            return
        self._out.append(fault.reply)
        if fault.close:
            self._pending = self.end()
