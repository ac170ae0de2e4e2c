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

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Factory, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from mailserver.control.lines import LONGEST, Row, line, read

WORKER_SECONDS: Final = 5.0
"""How long another worker process may take to answer: one that is busy for longer is worth to be named to the operator."""

PEER_SECONDS: Final = 30.0
"""How long a connection may last, from its beginning until its answer is read."""

_SO_PEERGROUPS: Final = 59
"""Linux's option with the groups of the other side; Python's socket module has no name for it."""
_MOST_OCTETS: Final = 1024
"""What Python lets an option have: 256 groups. Of a process with more, only its first group counts."""

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
        self._send = send

    def say(self, row: Row) -> None:
        """Answer a fact."""
        self._send({"row": row})

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
    """Whether it changes something, so that the log tells who asked."""


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
            log.info(
                "user {uid} asks for {question} {name}",
                event="control.asked",
                question=said["question"],
                name=str(said.get("name", "")),
                uid=who.uid,
                pid=who.pid,
            )
        answered = Deferred.fromCoroutine(self._owner.answer(question, Asking(said, self._send)))
        answered.addCallbacks(self._end, self._failed)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        """Forget the time. What is still answered goes nowhere, and is over soon."""
        if self._late is not None and self._late.active():
            self._late.cancel()

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: ARG002 - Twisted's signature
        """Close: no question is so long."""
        self.transport.loseConnection()

    def _send(self, said: Row) -> None:
        self.transport.write(line(said))

    def _end(self, said: Row) -> None:
        self._send(said)
        self.transport.loseConnection()

    def _failed(self, failure: Failure) -> None:
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
        if own is not None:
            await own
        others = self._others if question.everywhere else {}
        heard = await DeferredList([self._relay(path, asking) for path in others.values()], consumeErrors=True)
        silent = [number for number, (_, whole) in zip(others, heard, strict=True) if whole is not True]
        return {"end": {"silent": silent} if silent else {}}

    def _relay(self, path: str, asking: Asking) -> Deferred[bool]:
        """Ask another process for its part, and pass its rows on; whether it has answered whole."""
        relay = Relay(asking.arguments, asking.say)
        connected = UNIXClientEndpoint(self.reactor, path, timeout=WORKER_SECONDS).connect(_Once(relay))
        answered: Deferred[bool] = connected.addCallback(lambda _: relay.whole)
        return answered.addTimeout(WORKER_SECONDS, self.reactor)


class _Once(Factory):
    """The factory of one relay, which says nothing in the log."""

    noisy = False

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: ARG002 - Twisted's signature
        """Answer the relay."""
        return self._relay


class Relay(LineOnlyReceiver):
    """Asks another worker process, and passes its rows on as they come."""

    delimiter = b"\n"
    MAX_LENGTH = LONGEST
    transport: Any

    def __init__(self, question: Row, say: Callable[[Row], object]) -> None:
        self.whole: Deferred[bool] = Deferred(lambda _: self.transport.abortConnection())
        self._question = question
        self._say = say
        self._ended = False

    def connectionMade(self) -> None:
        """Ask."""
        self.transport.write(line(self._question))

    def lineReceived(self, line: bytes) -> None:
        """Pass a row on."""
        said = read(line) or {}
        if "row" in said:
            self._say(said["row"])
        else:
            self._ended = "end" in said

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        """Tell whether the answer was whole."""
        if not self.whole.called:
            self.whole.callback(self._ended)
