"""The answering side: who may ask, one question a connection, and the answers of all worker processes in one."""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from twisted.internet.defer import CancelledError, Deferred, DeferredList, ensureDeferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IPushProducer
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.control.lines import LONGEST, SILENT_SECONDS, Row, line, read
from mailserver.control.relay import follow, relay

PEER_SECONDS: Final = 30.0
"""How long a connection may last, from its beginning until its answer is read; one whose answer goes on has no limit."""

_SO_PEERGROUPS: Final = 59
"""Linux's option with the groups of the other side; Python's socket module has no name for it."""
_MOST_OCTETS: Final = 1024
"""What Python lets an option have: 256 groups. Of a process with more, only its first group counts."""

_COUNTED: Final = frozenset({"row", "left_out"})
"""The lines that are counted where they cannot be sent."""

log = Logger()


class Impossible(Exception):
    """A question that cannot be answered. The text is for the operator, `status` is the exit status of the command."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


class Asking:
    """One question on its way to its answer."""

    def __init__(self, arguments: Mapping[str, Any], send: Callable[[Row], object]) -> None:
        self.arguments = arguments
        self.send = send
        """Sends a line of the answer."""

    def say(self, row: Row) -> None:
        """Answer a fact."""
        self.send({"row": row})

    def alive(self, worker: int) -> None:
        """Say that this process goes on with its answer."""
        self.send({"alive": worker})

    def text(self, name: str) -> str:
        """An argument that is a text; "": it was not given. Errors: Impossible."""
        value = self.arguments.get(name, "")
        if not isinstance(value, str):
            raise Impossible(f"{name} must be a text", os.EX_USAGE)
        return value


@dataclass(frozen=True, slots=True)
class Question:
    """What can be asked."""

    answer: Callable[[Asking], Awaitable[None] | None]
    """Says the rows, at once or while it is awaited. Errors: Impossible; any other is a fault."""
    everywhere: bool = False
    """Whether each worker process has its own part of the answer."""
    changes: bool = False
    """Whether it changes something, or shows what users do, so that the log tells who asked."""
    lasting: bool = False
    """Whether the answer goes on until the one who asks goes; `answer` is cancelled then. To one who reads too slowly some of it is not sent."""
    seconds: float = PEER_SECONDS
    """How long its connection may last otherwise."""


class Peer(NamedTuple):
    """Who asks, by the kernel (SO_PEERCRED)."""

    pid: int
    uid: int
    groups: frozenset[int]

    @classmethod
    def of(cls, connection: Any) -> Peer:
        """The process at the other end of a connected Unix socket, as it was when it connected."""
        credentials = struct.calcsize("3i")
        pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials))
        try:
            octets = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_OCTETS)
        except OSError:  # a kernel before 4.13, or more groups than that
            octets = b""
        return cls(pid, uid, frozenset({gid, *memoryview(octets).cast("I")}))

    def may_ask(self, path: str) -> bool:
        """Whether the mode of the socket's file lets this process in: looked at again, since some file systems know no modes."""
        if self.uid in {0, os.geteuid()}:
            return True
        try:
            status = Path(path).stat()
        except OSError:  # it was removed, or its folder is not for the user that serves
            return False
        if self.uid == status.st_uid:
            return True
        return bool(status.st_mode & stat.S_IWGRP and status.st_gid in self.groups) or bool(
            status.st_mode & stat.S_IWOTH
        )


@implementer(IPushProducer)
class ControlPort(LineOnlyReceiver):
    """One connection: reads a question, answers it, and closes."""

    delimiter = b"\n"
    MAX_LENGTH = LONGEST
    transport: Any

    def __init__(self, owner: ControlFactory) -> None:
        self._owner = owner
        self._who: Peer | None = None
        """Whose question is waited for; None: nobody's, or no more."""
        self._late: IDelayedCall | None = None
        self._lasting: Deferred[Row] | None = None
        """The answer that goes on."""
        self._full = False
        self._left_out = 0
        self._missed: list[Row] = []
        """What was to be said of worker processes meanwhile: that they were lost, or silent."""

    def connectionMade(self) -> None:
        """See who it is."""
        self._late = self._owner.reactor.callLater(PEER_SECONDS, self.transport.abortConnection)
        who = Peer.of(self.transport.socket)
        if who.may_ask(self._owner.path):
            self._who = who
        else:
            log.warn("user {uid} may not ask the server", event="control.refused", uid=who.uid, pid=who.pid)
            self._end({"error": "you may not ask this server: see the mode of its socket", "status": os.EX_NOPERM})

    def lineReceived(self, line: bytes) -> None:
        """Answer the first line."""
        who, self._who = self._who, None
        if who is None:
            return
        said = read(line)
        question = None if said is None else self._owner.questions.get(str(said.get("question")))
        if said is None or question is None:
            text = "the server does not know this question: is it of another version than the command?"
            self._end({"error": text, "status": os.EX_UNAVAILABLE})
            return
        if question.changes and not self._owner.private:
            name = str(said.get("name", ""))
            log.info(
                "user {uid} asks for {question} {name}" if name else "user {uid} asks for {question}",
                event="control.asked",
                question=said["question"],
                name=name,
                uid=who.uid,
                pid=who.pid,
            )
        if self._late is not None and self._late.active():
            self._late.reset(question.seconds)
        answered = Deferred.fromCoroutine(self._owner.answer(question, Asking(said, self._send)))
        if question.lasting and not answered.called:
            self._last(answered)
        answered.addCallbacks(self._end, self._failed)

    def _last(self, answered: Deferred[Row]) -> None:
        """Let an answer go on, and hear when the peer reads too slowly."""
        self._lasting = answered
        self._forget_time()
        self.transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """Send no more: 64 KiB wait for the peer."""
        self._full = True

    def resumeProducing(self) -> None:
        """Go on, and say how much was left out."""
        self._full = False
        missed, self._missed = self._missed, []
        for each in missed:
            self._send(each)
        if self._left_out:
            left_out, self._left_out = self._left_out, 0
            self._send({"left_out": left_out})

    def stopProducing(self) -> None:
        """Do nothing: connectionLost follows."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        """Forget the time, and end an answer that goes on. What is still answered else goes nowhere, and is over soon."""
        self._forget_time()
        if self._lasting is not None:
            self._lasting.cancel()

    def _forget_time(self) -> None:
        if self._late is not None and self._late.active():
            self._late.cancel()

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: ARG002 - Twisted's signature
        """Close: no question is so long."""
        self.transport.loseConnection()

    def _send(self, said: Row) -> None:
        if not self._full:
            self.transport.write(line(said))
        elif said.keys() & _COUNTED:
            self._left_out += said.get("left_out", 1)
        elif "alive" not in said and said not in self._missed:
            self._missed.append(said)

    def _end(self, said: Row) -> None:
        if self._lasting is not None:
            self._lasting = None
            self.transport.unregisterProducer()
        self.transport.write(line(said))
        self.transport.loseConnection()

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return  # the peer has gone
        if isinstance(failure.value, Impossible):
            self._end({"error": str(failure.value), "status": failure.value.status})
            return
        log.failure("fault in the answer to an operator", failure, event="fault")
        self._end({"error": "the server has a fault, which its log tells", "status": os.EX_SOFTWARE})


class ControlFactory(ServerFactory):
    """Builds the connections of the socket at `path`.

    `others` are the sockets of the other worker processes, by their numbers; with `private` this is such a socket, where they ask for
    this process's part of an answer.
    """

    noisy = False

    def __init__(
        self,
        questions: Mapping[str, Question],
        path: str,
        reactor: Any,
        others: Mapping[int, str] | None = None,
        *,
        private: bool = False,
    ) -> None:
        self.questions = questions
        self.path = path
        self.reactor = reactor
        self.private = private
        self._others = others or {}

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: ARG002 - Twisted's signature
        """Build a connection."""
        return ControlPort(self)

    async def answer(self, question: Question, asking: Asking) -> Row:
        """Answer for all processes; the last line. Errors: Impossible, faults."""
        own = question.answer(asking)
        others = self._others if question.everywhere else {}
        if question.lasting and own is not None:
            return await self._go_on(own, others, asking)
        if own is not None:
            await own
        heard = await DeferredList([self._ask(path, asking) for path in others.values()], consumeErrors=True)
        silent = [number for number, (_, whole) in zip(others, heard, strict=True) if whole is not True]
        return {"end": {"silent": silent} if silent else {}}

    def _ask(self, path: str, asking: Asking) -> Deferred[bool]:
        return relay(self.reactor, path, asking.arguments, asking.send).addTimeout(SILENT_SECONDS, self.reactor)

    async def _go_on(self, own: Awaitable[None], others: Mapping[int, str], asking: Asking) -> Row:
        """Answer until this process's part ends, which its cancel does; the others' rows come as they say them."""
        ours: Deferred[None] = ensureDeferred(own)  # type: ignore[arg-type]  # a coroutine
        relays = (
            []
            if ours.called
            else [follow(self.reactor, *each, asking.arguments, asking.send) for each in others.items()]
        )
        try:
            await ours
        finally:
            for each in relays:
                each.cancel()
        return {"end": {}}
