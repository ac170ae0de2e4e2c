"""What a maildrop must hold, by what its clients were told."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from random import Random
from threading import RLock

from tests.corpus import canonical
from tests.rawpop3 import RawPOP3, patient
from tests.servers import Account

ENOUGH = 8
"""Messages in a maildrop, above which nothing is delivered."""


class Drop:
    """A maildrop. Whatever a session sees of it must agree with what was delivered, deleted and promised before.

    Clients in several threads share it; their QUITs that have no answer yet are its `doubts`.
    """

    def __init__(self, account: Account, tally: Counter[str], head: bytes = b"") -> None:
        self.account = account
        self._head = head
        self.alive: dict[bytes, bytes] = {}
        """The messages by unique-id, in the order of their delivery."""
        self.doubts: list[frozenset[bytes]] = []
        """Deletions whose QUIT was sent: until somebody sees the maildrop again, all of them happened or none."""
        self._tally = tally
        self._lock = RLock()

    def deliver(self, random: Random) -> None:
        """Deliver one more, if there is room."""
        with self._lock:
            if len(self.alive) < ENOUGH:
                message = letter(random, self._head)
                self.alive[self.account.deliver(message).name.encode()] = message

    def move(self, random: Random) -> None:
        """Rename a message from new/ to cur/, as another mail program does that has shown it."""
        with self._lock:
            files = sorted((self.account.maildir / "new").iterdir())
            if files:
                file = random.choice(files)
                with suppress(FileNotFoundError):  # a QUIT was quicker
                    file.rename(self.account.maildir / "cur" / f"{file.name}:2,{random.choice(['', 'S', 'RS'])}")

    def begin(self) -> set[bytes]:
        """What a session that logs in after this must see, but for what others delete."""
        with self._lock:
            return set(self.alive)

    def look(self, client: RawPOP3, begun: AbstractSet[bytes]) -> list[bytes]:
        """What a session that began then sees: its unique-ids, by message-number."""
        uidls = [uidl for _, uidl in client.listing(b"UIDL")]
        met = {uidls[number - 1]: client.fetch(b"RETR %d" % number) for number in self.strangers(uidls)}
        self.saw(uidls, begun, met)
        return uidls

    def strangers(self, uidls: Sequence[bytes]) -> Sequence[int]:
        """The message-numbers of those that only a look at them can tell."""
        return ()

    def saw(self, uidls: list[bytes], begun: AbstractSet[bytes], met: Mapping[bytes, bytes] | None = None) -> None:
        """A session sees these unique-ids, and has retrieved the strangers: that settles the doubts."""
        with self._lock:
            found = set(uidls)
            for doubt in self.doubts:
                left = doubt & found
                assert left in (set(), doubt), f"of {set(doubt)} a QUIT left {set(left)}"
                self._tally["unanswered QUITs, not done" if left else "unanswered QUITs, done"] += 1
                if not left:
                    self._forget(doubt)
            self.doubts.clear()
            assert found <= self.alive.keys(), f"came back: {found - self.alive.keys()}"
            assert begun & self.alive.keys() <= found, f"lost: {begun & self.alive.keys() - found}"
            assert uidls == [uidl for uidl in self.alive if uidl in found], "the order changed"

    def quits(self, uidls: AbstractSet[bytes]) -> frozenset[bytes]:
        """A client is about to send QUIT after these deletions."""
        with self._lock:
            doubt = frozenset(uidls)
            if doubt:
                self.doubts.append(doubt)
            return doubt

    def promised(self, doubt: frozenset[bytes]) -> None:
        """Its QUIT was answered +OK."""
        with self._lock:
            self._tally["answered QUITs"] += 1
            if doubt in self.doubts:  # else the next session saw the outcome before we read the answer
                self.doubts.remove(doubt)
            self._forget(doubt)

    def check(self, port: int) -> None:
        """Log in, compare everything, and leave."""
        begun = self.begin()
        with patient(port, self.account.name, self.account.password) as client:
            assert not (self.account.maildir / "mailserver-journal").exists()
            uidls = self.look(client, begun)
            wire = [canonical(self.alive[uidl]) for uidl in uidls]
            assert client.listing(b"LIST") == [(number, b"%d" % len(each)) for number, each in enumerate(wire, 1)]
            assert client.pipeline([b"RETR %d" % number for number, _ in enumerate(uidls, 1)]) == wire
            client.quit()
        self.settle()
        self._tally["messages compared"] += len(uidls)

    def settle(self) -> None:
        """Nobody is at work on it now."""

    def _forget(self, uidls: AbstractSet[bytes]) -> None:
        for uidl in uidls:
            self.alive.pop(uidl, None)


def letter(random: Random, head: bytes = b"") -> bytes:
    """A message like no other: small and stuffed, in wire form for sendfile, or larger than a chunk."""
    head += b"Subject: %d\n\n" % random.getrandbits(64)
    kind = random.choice(["small", "small", "wire", "large"])
    if kind == "wire":
        return (head + b"goes from the file to the socket\n" * random.randrange(2000, 9000)).replace(b"\n", b"\r\n")
    return head + b"text\n.\n.dot\n" * (random.randrange(100) if kind == "small" else random.randrange(20_000, 40_000))


def on_the_wire(message: bytes) -> bytes:
    """The whole response but its status line."""
    return re.sub(rb"(?m)^\.", b"..", canonical(message)) + b".\r\n"


def journals(maildir: Path) -> bool:
    """Whether a commit is under way."""
    return any((maildir / name).exists() for name in ("mailserver-journal.tmp", "mailserver-journal"))
