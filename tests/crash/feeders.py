"""Programs that deliver by LMTP until the server is killed, and try again with the next one what had no answer."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from random import Random

from tests.corpus import canonical
from tests.crash.clients import Died, Doom
from tests.crash.fed import Fed
from tests.crash.model import letter
from tests.crash.receiving import address
from tests.rawlmtp import RawLMTP, stuffed

PAUSE = 0.005
"""Seconds in which somebody may make room."""

Mail = tuple[bytes, tuple[Fed, ...]]


class Mailer(RawLMTP):
    """A connection whose end is told from a wrong answer."""

    def __init__(self, port: int, count: Callable[[str, int], object] = lambda _what, _amount: None) -> None:
        self._count = count
        try:
            super().__init__(port)
        except ConnectionError:
            raise Died from None
        try:
            self.hello()
        except (ConnectionError, Died):
            self.close()
            raise Died from None

    def line(self) -> bytes:
        line = super().line()
        self._count("replies", 1)
        if line.startswith(b"421"):  # a worker whose parent was killed
            raise Died
        return line

    def send(self, data: bytes) -> None:
        try:
            super().send(data)
        except ConnectionError:
            raise Died from None

    def _receive(self) -> bool:
        received = False
        with suppress(ConnectionError):
            received = super()._receive()
        if not received:
            self.close()
            raise Died
        return True


class Feeder:
    """It sends letters to several maildrops at once, in all the ways that LMTP knows."""

    def __init__(self, drops: list[Fed], queue: list[Mail], doom: Doom, random: Random, tally: Counter[str]) -> None:
        self._drops = drops
        self._queue = queue
        self._doom = doom
        self._random = random
        self._tally = tally

    def work(self, port: int) -> None:
        """Until the kill, or until the own server dies of another's."""
        with suppress(Died):
            while not self._doom.struck:
                with Mailer(port, self._doom.count) as mailer:
                    while self._transaction(mailer) and not self._doom.struck:
                        pass

    def _transaction(self, mailer: Mailer) -> bool:
        """One; answers whether the connection stays."""
        message, drops = self._next()
        if not drops:
            return not threading.Event().wait(PAUSE)
        wanting = {address(drop.account): drop for drop in drops}
        replies = mailer.begin(list(wanting))
        assert all(reply.startswith(b"250") for reply in replies), replies
        if self._random.random() < 0.1:
            return self._give_up(mailer, message)
        try:
            ways = (self._data, self._chunks)
            ways[self._random.random() < 0.3](mailer, message, drops)
            for drop in drops:
                reply = mailer.reply()
                assert reply[:1] in b"24", reply
                drop.answered(message, delivered=reply.startswith(b"250"))
                del wanting[address(drop.account)]
        finally:
            if wanting:
                self._queue.append((message, tuple(wanting.values())))
        return self._random.random() < 0.8

    def _next(self) -> Mail:
        if self._queue and self._random.random() < 0.7:
            with suppress(IndexError):  # another was quicker
                return self._queue.pop()
        roomy = [drop for drop in self._drops if drop.room()]
        return letter(self._random), tuple(
            self._random.sample(roomy, self._random.randint(min(1, len(roomy)), len(roomy)))
        )

    def _data(self, mailer: Mailer, message: bytes, drops: tuple[Fed, ...]) -> None:
        mailer.ok(b"DATA")
        data = stuffed(message)
        mailer.send(data[:-3])
        with self._doom.delivering(self._sends(drops, message)):
            mailer.send(data[-3:])

    def _chunks(self, mailer: Mailer, message: bytes, drops: tuple[Fed, ...]) -> None:
        data = canonical(message)
        at = self._random.randint(0, len(data))
        mailer.send(b"BDAT %d\r\n%b" % (at, data[:at]))
        with self._doom.delivering(self._sends(drops, message)):
            mailer.send(b"BDAT %d LAST\r\n%b" % (len(data) - at, data[at:]))
        assert (reply := mailer.reply()).startswith(b"250"), reply

    def _sends(self, drops: tuple[Fed, ...], message: bytes) -> Fed:
        """Note it; answers the last of them."""
        for drop in drops:
            drop.sends(message)
        return drops[-1]

    def _give_up(self, mailer: Mailer, message: bytes) -> bool:
        """In the middle of the message, or before it; nothing of it may be there."""
        self._tally["deliveries given up"] += 1
        if self._random.random() < 0.5:
            mailer.ok(b"RSET")
            return True
        mailer.ok(b"DATA")
        mailer.send(stuffed(message)[: self._random.randrange(len(message))])
        mailer.close()
        return False
