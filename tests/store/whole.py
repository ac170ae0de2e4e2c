"""The contract of our own stores, which take messages, and keep what their sessions delete."""

from __future__ import annotations

from mailserver.incoming import Kept
from mailserver.testing.contracts.imports import ImportContract
from mailserver.testing.contracts.keeping import KeepContract
from mailserver.testing.contracts.store import ONE, TWO


class WholeContract(ImportContract, KeepContract):
    """Both, and what is so where they meet."""

    async def test_arrivals_are_known(self) -> None:
        maildrop = await self.open("alice", ONE, TWO)
        assert len(maildrop.messages.arrivals) == 2
        maildrop.release()

    async def test_what_was_kept_comes_back_as_seen_as_it_was(self) -> None:
        self.store = self.make_deleting("keep 7 days")
        await self.imported(ONE, Kept(b"X", 1_600_000_001.0, seen=True))
        await self.imported(TWO, Kept(b"Y", 1_600_000_002.0, seen=False))
        assert await (await self.open()).commit([1, 2]) == 0
        assert await self.store.undelete(self.user("alice")) == 2
        assert await self.marks() == [True, False]
