"""Clients that work until their server is killed, and the killer, who counts what they see."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from random import Random
from threading import RLock

from tests.corpus import canonical
from tests.crash.model import Drop, journals, on_the_wire
from tests.rawpop3 import RawPOP3

MOMENTS = {"octets": 4_000_000, "replies": 200, "QUITs": 10}
"""What is counted until the kill, and the most of it."""

DELIVERED = {**MOMENTS, "deliveries": 20}
"""The same where mail comes in meanwhile."""

LOOKS = 3000
"""Looks at a maildrop until its commit must have begun, or is over: some 10 ms."""

SESSIONS = 300
"""Of each client; the kill comes long before."""


class Died(Exception):
    """The server has gone, or is going."""


class Doom:
    """The death of process `pid`, after so many octets or replies read, or QUITs or messages sent, by all clients together."""

    def __init__(
        self,
        pid: int,
        random: Random,
        tally: Counter[str],
        moments: Mapping[str, int] = MOMENTS,
        by: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.struck = False
        self.by = by
        self._pid = pid
        self._tally = tally
        self._counted = random.choice(list(moments))
        self._left = random.randint(1, moments[self._counted])
        self._looks = random.randrange(300)
        self._lock = RLock()

    def count(self, what: str, amount: int) -> None:
        """So much was seen."""
        with self._lock:
            if what == self._counted and not self.struck:
                self._left -= amount
                if self._left <= 0:
                    self.strike()

    def quitting(self, drop: Drop) -> None:
        """A QUIT that deletes was sent: the last one is watched until its commit has begun, and a little longer."""
        if self._counted == "QUITs" and self._left <= 1:
            for _ in range(LOOKS):
                if journals(drop.account.maildir):
                    break
            for _ in range(self._looks):
                journals(drop.account.maildir)
        self.count("QUITs", 1)

    @contextmanager
    def delivering(self, drop: Drop) -> Iterator[None]:
        """The end of a message is sent: the last one is watched until it is in new/, and a little longer; or not so long."""
        before = arrived(drop)
        yield
        if self._counted == "deliveries" and self._left <= 1:
            for _ in range(LOOKS if self._looks % 4 else 0):
                if arrived(drop) > before:
                    break
            for _ in range(self._looks):
                arrived(drop)
        self.count("deliveries", 1)

    def strike(self) -> None:
        """Now."""
        with self._lock:
            if not self.struck:
                self.struck = True
                os.kill(self._pid, self.by)
                self._tally[f"{self.by.name}s by {self._counted}"] += 1


def arrived(drop: Drop) -> int:
    """The number of messages in new/."""
    return len(list((drop.account.maildir / "new").iterdir()))


class Client(RawPOP3):
    """A connection whose end is told from a wrong answer."""

    def __init__(self, port: int, count: Callable[[str, int], object] = lambda _what, _amount: None) -> None:
        self._count = count
        try:
            super().__init__(port)
        except ConnectionError:
            raise Died from None

    def line(self) -> bytes:
        line = super().line()
        self._count("replies", 1)
        if line.startswith(b"-ERR [SYS/TEMP] the server is stopping"):  # a worker whose parent was killed
            raise Died
        return line

    def send(self, data: bytes) -> None:
        try:
            super().send(data)
        except ConnectionError:
            raise Died from None

    def torn(self) -> bytes:
        """What came of the body that was not whole; `body` has put a line end before it."""
        return bytes(self._data[2:])

    def _receive(self) -> bool:
        try:
            data = self.socket.recv(64 * 1024)
        except ConnectionError:
            data = b""
        if not data:
            self.close()
            raise Died
        self._data += data
        self._count("octets", len(data))
        return True


class User:
    """Somebody with mail programs: one session after another, on whichever maildrop, until the server dies."""

    def __init__(self, drops: list[Drop], doom: Doom, random: Random, tally: Counter[str]) -> None:
        self._drops = drops
        self._doom = doom
        self._random = random
        self._tally = tally

    def work(self, port: int) -> None:
        """Until the kill, or until the own server dies of another's."""
        try:
            for _ in range(SESSIONS):
                if self._doom.struck:
                    return
                with Client(port, self._doom.count) as client:
                    self._session(client, self._random.choice(self._drops))
        except Died:
            return

    def _session(self, client: Client, drop: Drop) -> None:
        self._meanwhile(drop)
        begun = drop.begin()
        client.ok(b"USER " + drop.account.name.encode())
        reply = client.command(b"PASS " + drop.account.password.encode())
        if reply.startswith(b"-ERR [IN-USE]"):
            return
        assert reply.startswith(b"+OK"), reply
        self._tally["sessions"] += 1
        uidls = drop.look(client, begun)
        for number in self._some(uidls):
            self._retrieve(client, number, drop.alive[uidls[number - 1]])
            self._meanwhile(drop)
        self._leave(client, drop, uidls)

    def _meanwhile(self, drop: Drop) -> None:
        if self._random.random() < 0.5:
            drop.deliver(self._random)
        if self._random.random() < 0.3:
            drop.move(self._random)

    def _some(self, uidls: list[bytes]) -> list[int]:
        return self._random.sample(range(1, len(uidls) + 1), self._random.randint(0, len(uidls)))

    def _retrieve(self, client: Client, number: int, message: bytes) -> None:
        client.ok(b"RETR %d" % number)
        try:
            assert client.body() == canonical(message)
        except Died:
            assert on_the_wire(message).startswith(client.torn())
            self._tally["messages cut"] += 1
            raise
        self._tally["messages retrieved"] += 1

    def _leave(self, client: Client, drop: Drop, uidls: list[bytes]) -> None:
        numbers = self._some(uidls)
        commands = [b"DELE %d" % number for number in numbers]
        if self._random.random() < 0.2:
            commands = [*commands, b"RSET", *commands]
        if self._random.random() < 0.5:
            for command in commands:
                client.ok(command)
            commands = []
        if self._random.random() < 0.15:
            return  # without QUIT: nothing is deleted
        doubt = drop.quits({uidls[number - 1] for number in numbers})
        client.send(b"".join(command + b"\r\n" for command in (*commands, b"QUIT")))
        if doubt:
            self._doom.quitting(drop)
        for command in (*commands, b"QUIT"):
            reply = client.line()
            assert reply.startswith(b"+OK"), (command, reply)
        drop.promised(doubt)
