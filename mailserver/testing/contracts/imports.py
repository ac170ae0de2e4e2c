"""What every store keeps that mail moves into: mix `ImportContract` in, in the place of `DepositContract`."""

from __future__ import annotations

from typing import Any

from zope.interface.verify import verifyObject

from mailserver.errors import NoMaildrop
from mailserver.incoming import IMarks, IReserves, Kept
from mailserver.interfaces import User
from mailserver.testing.contracts.deposits import DepositContract
from mailserver.testing.contracts.store import ONE, TWO


class ImportContract(DepositContract):
    """The contract of a store with IReserves, whose IDeposits keep what messages had elsewhere, and whose maildrops provide IMarks."""

    async def test_it_provides_the_interface_of_moves(self) -> None:
        assert verifyObject(IReserves, self.store)

    async def imported(self, message: bytes, kept: Kept, *names: str) -> None:
        deposit = await self.begin(*(names or ("alice",)), kept=kept)
        deposit.write(message)
        assert await deposit.commit() == [None] * max(1, len(names))

    async def listed(self, name: str = "alice") -> dict[bytes, bytes]:
        """The messages in their order, by unique-id."""
        maildrop = await self.open(name)
        try:
            return {uidl: await self.whole(maildrop, at) for at, uidl in enumerate(maildrop.messages.uidls, 1)}
        finally:
            maildrop.release()

    async def test_an_import_keeps_its_unique_id_and_its_time(self) -> None:
        kept = {
            b"000001a54a0c1b2d": 1_600_000_002.5,
            b"!": 1_600_000_001.0,
            b"/a:b,c=d~" * 7: 1_600_000_003.25,
            b"," + b"9" * 69: 1_600_000_004.0,
            b"new.1,U=1:2,S": 1_600_000_005.0,
        }
        for uidl, received in kept.items():
            await self.imported(b"%b\r\n" % uidl, Kept(uidl, received, seen=uidl == b"!"), "alice", "bob")
        await self.deposit(TWO)
        order = sorted(kept, key=kept.__getitem__)
        for _ in range(2):
            maildrop = await self.open()
            assert list(maildrop.messages.uidls)[:-1] == order
            assert list(maildrop.messages.arrivals)[:-1] == [int(kept[uidl] * 1_000_000) for uidl in order]
            maildrop.release()
        assert await self.listed("bob") == {uidl: b"%b\r\n" % uidl for uidl in order}

    async def marks(self) -> list[bool]:
        """Which of the messages are marked as seen."""
        maildrop = await self.open()
        try:
            assert verifyObject(IMarks, maildrop)
            return [IMarks(maildrop).seen(number) for number in range(1, len(maildrop.messages) + 1)]
        finally:
            maildrop.release()

    async def test_an_import_keeps_whether_it_was_seen(self) -> None:
        await self.imported(ONE, Kept(b"X", 1_600_000_001.0, seen=True))
        await self.imported(TWO, Kept(b"Y", 1_600_000_002.0, seen=False))
        await self.imported(TWO, Kept(b"Y", 1_600_000_003.0, seen=True))
        await self.deposit(ONE)
        assert await self.marks() == [True, False, True, False]
        maildrop = await self.open()
        assert await maildrop.commit([1]) == 0
        await self.imported(ONE, Kept(b"X", 1_600_000_001.0, seen=False))
        assert await self.marks() == [False, False, True, False]

    async def test_an_import_without_a_unique_id_gets_its_own(self) -> None:
        for message in (ONE, TWO):
            await self.imported(message, Kept(b"", 1_600_000_000.0, seen=False))
        assert list((await self.listed()).values()) == [ONE, TWO]

    async def test_a_unique_id_that_is_taken_stays_with_its_message(self) -> None:
        await self.imported(ONE, Kept(b"X", 1_600_000_009.0, seen=False))
        assert await self.listed() == {b"X": ONE}
        await self.imported(TWO, Kept(b"X", 1_600_000_001.0, seen=False))
        after = await self.listed()
        assert after.pop(b"X") == ONE
        assert list(after.values()) == [TWO]

    async def test_a_unique_id_that_pop3_does_not_allow_is_no_import(self) -> None:
        for uidl in (b"a b", b"x" * 71, b"\xe9", b"a\n"):
            await self.refused(ValueError, self.imported, ONE, Kept(uidl, 1.0, seen=False))

    async def test_moves_into_a_maildrop_wait_for_each_other_and_nothing_else_does(self) -> None:
        end = await self.store.reserve(self.user("alice"), "me")
        begun: list[Any] = []
        second = self.store.reserve(self.user("alice"), "me").addCallback(begun.append)
        assert await self.deposit(ONE) == [None]
        assert await self.messages() == [ONE]
        (await self.store.reserve(self.user("bob"), "me"))()
        (await self.store.reserve(self.user("alice"), "me", True))()
        assert begun == []
        end()
        await second
        begun.pop()()

    async def test_a_move_for_a_user_of_another_store_is_refused(self) -> None:
        for dry_run in (False, True):
            await self.refused(NoMaildrop, self.store.reserve, User("bob", mail="none:of ours"), "me", dry_run)
