"""A maildrop that is filled by LMTP: what was answered 250 must be there once and whole, and what was not may be there, but whole."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from random import Random

from mailserver.store.maildir import keeping
from tests.corpus import canonical
from tests.crash.model import ENOUGH, Drop
from tests.crash.receiving import TRACE
from tests.servers import Account


@dataclass(slots=True)
class Letter:
    """A message for one maildrop. Each attempt makes a copy of it or none; one without an answer may have been either."""

    message: bytes
    unanswered: int = 0
    answered: int = 0
    found: set[bytes] = field(default_factory=set)
    """The unique-ids of its copies, those that were deleted as well."""


class Begun(set[bytes]):
    """The unique-ids that a session must see, and of each letter the copies that it must have been, at the least."""

    answered: Mapping[bytes, int]


class Fed(Drop):
    """Its unique-ids are the server's choice, so that a session must retrieve what it does not know."""

    def __init__(self, account: Account, tally: Counter[str]) -> None:
        super().__init__(account, tally)
        self._letters: dict[bytes, Letter] = {}
        self._gone: dict[bytes, bytes] = {}
        self._back: dict[bytes, bytes] = {}

    # Those who deliver.

    def room(self) -> bool:
        """Whether it may have one more."""
        with self._lock:
            unseen = sum(max(0, each.answered - len(each.found)) for each in self._letters.values())
            return len(self.alive) + unseen < ENOUGH

    def sends(self, message: bytes) -> None:
        """The end of this message is about to be sent."""
        with self._lock:
            letter = self._letters.setdefault(token(message), Letter(message))
            if letter.unanswered or letter.answered:
                self._tally["deliveries tried again"] += 1
            letter.unanswered += 1

    def answered(self, message: bytes, *, delivered: bool) -> None:
        """It was answered; where it was refused, nothing of it may be there."""
        with self._lock:
            letter = self._letters[token(message)]
            letter.unanswered -= 1
            letter.answered += delivered
            self._tally["answered deliveries" if delivered else "refused deliveries"] += 1

    # Those who retrieve.

    def deliver(self, random: Random) -> None:
        """There are others for it."""

    def begin(self) -> Begun:
        with self._lock:
            begun = Begun(self.alive)
            begun.answered = {each: letter.answered for each, letter in self._letters.items()}
            return begun

    def strangers(self, uidls: Sequence[bytes]) -> list[int]:
        with self._lock:
            back = self._gone.keys() & uidls
            assert not back, f"came back: {back}"
            return [number for number, uidl in enumerate(uidls, 1) if uidl not in self.alive]

    def saw(self, uidls: list[bytes], begun: AbstractSet[bytes], met: Mapping[bytes, bytes] | None = None) -> None:
        assert isinstance(begun, Begun)
        with self._lock:
            known = [uidl for uidl in uidls if uidl in self.alive]
            assert known == [uidl for uidl in self.alive if uidl in set(known)], "the order changed"
            met = dict(met or {})
            assert self._back.keys() <= met.keys(), f"not brought back: {self._back.keys() - met.keys()}"
            for uidl, wire in self._back.items():
                assert met.pop(uidl) == wire, "another message came back by this unique-id"
            self.alive |= self._back
            self._back.clear()
            for uidl, wire in met.items():
                self._meet(uidl, wire)
            missing = [uidl for uidl in self.alive if uidl not in set(uidls)]
            self.alive = {uidl: self.alive[uidl] for uidl in (*uidls, *missing)}
            for each, copies in begun.answered.items():
                assert len(self._letters[each].found) >= copies, f"answered {copies} times and lost: {each!r}"
            super().saw(uidls, begun)

    def check(self, port: int) -> None:
        """As it is, and its count forgets nothing, or users could have more than their quota; too much is found by counting."""
        super().check(port)
        file, truth = self.account.maildir / "maildirsize", self.account.stored()
        if file.exists():
            rows = [tuple(map(int, row.split())) for row in file.read_text().splitlines()[1:]]
            assert sum(row[0] for row in rows) >= sum(map(len, truth)), rows
            assert sum(row[1] for row in rows) >= len(truth), rows
            self._tally["counts compared"] += 1

    def keeps(self, place: str) -> None:
        """All that was deleted lies in `place` of the Maildir, a pattern."""
        lost = self._gone.keys() - self._lying(place)
        assert not lost, f"deleted and not kept: {lost}"
        self._tally["messages kept"] += len(self._gone)

    def undelete(self) -> None:
        """Bring back what the last session has deleted. Nobody may have one now."""
        before = self._lying("new/*") | self._lying("cur/*")
        count = keeping.undelete(os.fsencode(self.account.maildir) + b"/")
        back = (self._lying("new/*") | self._lying("cur/*")) - before
        assert len(back) == count
        self._back |= {uidl: self._gone.pop(uidl) for uidl in back}
        self._tally["messages undeleted"] += count

    def _lying(self, place: str) -> set[bytes]:
        return {re.split("[,:]", path.name)[0].encode() for path in self.account.maildir.glob(place)}

    def settle(self) -> None:
        """No attempt is under way any more: those without an answer have made a copy by now, or never will."""
        with self._lock:
            for letter in self._letters.values():
                done = len(letter.found) - letter.answered
                self._tally["unanswered deliveries, done"] += done
                self._tally["unanswered deliveries, not done"] += letter.unanswered - done
                letter.answered += done
                letter.unanswered = 0

    def _meet(self, uidl: bytes, wire: bytes) -> None:
        trace = TRACE.match(wire)
        assert trace is not None, wire[:500]
        message = wire[trace.end() :]
        letter = self._letters.get(token(message))
        assert letter is not None, f"never sent to its end: {message[:200]!r}"
        assert message == canonical(letter.message), f"torn: {len(message)} octets of {len(canonical(letter.message))}"
        letter.found.add(uidl)
        most = letter.answered + letter.unanswered
        assert len(letter.found) <= most, f"{len(letter.found)} copies by {most} deliveries: {letter.found}"
        self.alive[uidl] = wire

    def _forget(self, uidls: AbstractSet[bytes]) -> None:
        self._gone |= {uidl: self.alive[uidl] for uidl in uidls if uidl in self.alive}
        super()._forget(uidls)


def token(message: bytes) -> bytes:
    """The random number in its subject, which no other message has."""
    found = re.search(rb"(?m)^Subject: (\d+)\r?$", message)
    assert found is not None, message[:200]
    return found[1]
