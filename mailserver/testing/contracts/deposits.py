"""What every store keeps that takes messages: mix `DepositContract` in, in the place of `StoreContract`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, gatherResults, maybeDeferred
from zope.interface.verify import verifyObject

from mailserver.errors import NoMaildrop, QuotaExceeded
from mailserver.incoming import IDeposit, IDeposits, Kept, Usage
from mailserver.interfaces import Quota, User
from mailserver.testing.contracts.store import BARE, ONE, THREE, TWO, StoreContract, contents, installed_reactor
from mailserver.wireform import Canonical

NASTY = (
    b"", b"\n", b"\r", b"\r\n", b".", b".\r\n", b"no end", b"a\r\r\nb\n\rc", b"x\0\xff\n" * 9, b"\n.\n..\r\n.", BARE, THREE,
)  # fmt: skip
LARGE = b"Subject: large\n\n" + b"0123456789abcdef\n" * 60_000


def canonical(message: bytes) -> bytes:
    """As it is stored."""
    rule = Canonical()
    return rule.feed(message) + rule.end()


class DepositContract(StoreContract):
    """The contract of a store with IDeposits."""

    async def begin(self, *names: str, quota: Quota | None = None, kept: Kept | None = None) -> Any:
        return await self.store.deposit([replace(self.user(name), quota=quota) for name in names], None, kept)

    async def deposit(
        self, message: bytes, *names: str, quota: Quota | None = None, steps: Sequence[bytes] = ()
    ) -> Sequence[Exception | None]:
        deposit = await self.begin(*(names or ("alice",)), quota=quota)
        for chunk in steps or [message]:
            wait = deposit.write(chunk)
            if wait is not None:
                assert await wait is None
        return await deposit.commit()  # type: ignore[no-any-return]

    async def messages(self, name: str = "alice") -> list[bytes]:
        maildrop = await self.open(name)
        try:
            return [await self.whole(maildrop, number + 1) for number in range(len(maildrop.messages))]
        finally:
            maildrop.release()

    async def whole(self, maildrop: Any, number: int) -> bytes:
        return await contents(await maybeDeferred(maildrop.fetch, number), 1 << 20)

    async def used(self, name: str = "alice", quota: Quota | None = None) -> Usage:
        return await self.store.usage(replace(self.user(name), quota=quota))  # type: ignore[no-any-return]

    async def truth(self, name: str = "alice") -> Usage:
        stored = await self.messages(name)
        return Usage(len(stored), sum(map(len, stored)))

    async def test_it_provides_the_interfaces_of_deposits(self) -> None:
        assert verifyObject(IDeposits, self.store)
        deposit = await self.begin("alice")
        assert verifyObject(IDeposit, deposit)
        deposit.abort()

    async def test_a_message_is_canonical_and_its_octets_are_counted(self) -> None:
        for message in (*NASTY, ONE, LARGE):
            assert await self.deposit(message) == [None]
        maildrop = await self.open()
        assert list(maildrop.messages.octets) == [len(canonical(message)) for message in (*NASTY, ONE, LARGE)]
        maildrop.release()
        assert await self.messages() == [canonical(message) for message in (*NASTY, ONE, LARGE)]

    async def test_any_split_gives_the_same_octets(self) -> None:
        random, message = Random(1939), b"".join(NASTY)
        splits = [[message[:at], message[at:]] for at in range(0, len(message), 5)]
        splits.append([message[at : at + 1] for at in range(len(message))])
        for _ in range(10):
            cuts = sorted(random.choices(range(len(message)), k=random.randrange(9)))
            splits.append([message[a:b] for a, b in zip([0, *cuts], [*cuts, len(message)], strict=True)])
        outcomes = [await self.deposit(b"", "alice", steps=steps) for steps in splits]
        assert outcomes == [[None]] * len(splits)
        assert await self.messages() == [canonical(message)] * len(splits)

    async def test_a_large_message_comes_in_pieces_of_any_size(self) -> None:
        for size in (1000, 65_537, 700_000):
            steps = [LARGE[at : at + size] for at in range(0, len(LARGE), size)]
            assert await self.deposit(b"", steps=steps) == [None]
        assert await self.messages() == [canonical(LARGE)] * 3

    async def test_nothing_is_visible_before_the_commit(self) -> None:
        for message in (ONE, LARGE):
            deposit = await self.begin("alice")
            wait = deposit.write(message)
            if wait is not None:
                await wait
            assert await self.messages() == []
            assert self.stored("alice") == []
            deposit.abort()

    async def test_a_session_that_is_open_is_no_obstacle_and_does_not_see_it(self) -> None:
        maildrop = await self.open("alice", ONE)
        assert await self.deposit(TWO) == [None]
        assert len(maildrop.messages) == 1
        assert await maildrop.commit([1]) == 0
        assert await self.messages() == [TWO]

    async def test_messages_are_in_the_order_of_their_commits(self) -> None:
        begun = [await self.begin("alice") for _ in range(30)]
        for number, deposit in enumerate(begun):
            deposit.write(b"%d\r\n" % number)
        order = Random(5321).sample(range(30), 30)
        answers = await gatherResults([begun[number].commit() for number in order])
        assert answers == [[None]] * 30
        assert await self.messages() == [b"%d\r\n" % number for number in order]

    async def test_unique_ids_of_deposits_differ_and_stay(self) -> None:
        assert await gatherResults([(await self.begin("alice")).commit() for _ in range(20)]) == [[None]] * 20
        uidls = []
        for _ in range(2):
            maildrop = await self.open()
            uidls.append(list(maildrop.messages.uidls))
            maildrop.release()
        assert len(set(uidls[0])) == 20
        assert uidls[0] == uidls[1]

    async def test_an_abort_leaves_nothing(self) -> None:
        for message in (b"", ONE, LARGE):
            deposit = await self.begin("alice")
            deposit.write(message)  # LARGE: while it is written
            deposit.abort()
            deposit.abort()
            assert deposit.write(ONE) is None
        assert await self.deposit(TWO) == [None]
        assert await self.messages() == [TWO]

    async def test_an_abort_after_the_commit_is_harmless(self) -> None:
        deposit = await self.begin("alice")
        deposit.write(ONE)
        answer = deposit.commit()
        deposit.abort()
        assert await answer == [None]
        assert await self.messages() == [ONE]

    async def test_a_commit_cannot_be_cancelled(self) -> None:
        deposit = await self.begin("alice")
        deposit.write(ONE)
        answer = deposit.commit().addErrback(lambda failure: failure.trap(CancelledError))
        answer.cancel()
        await self.store.stop()
        await self.store.start(installed_reactor())
        assert await self.messages() == [ONE]

    async def test_several_users_get_the_same_octets(self) -> None:
        for message in (BARE, LARGE):
            assert await self.deposit(message, "alice", "bob", "carol") == [None] * 3
        for name in ("alice", "bob", "carol"):
            assert await self.messages(name) == [canonical(BARE), canonical(LARGE)]

    async def test_what_one_does_with_a_message_is_no_other_s(self) -> None:
        assert await self.deposit(ONE, "alice", "bob") == [None] * 2
        await (await self.open("alice")).commit([1])
        assert await self.messages("bob") == [ONE]

    async def test_a_user_without_a_maildrop_fails_alone(self) -> None:
        for message in (ONE, LARGE):
            deposit = await self.store.deposit(
                [self.user("alice"), User("bob", mail="none:of ours"), self.user("carol")], 9
            )
            wait = deposit.write(message)
            if wait is not None:
                await wait
            first, second, third = await deposit.commit()
            assert (first, third) == (None, None)
            assert isinstance(second, NoMaildrop)
        assert await self.messages("alice") == await self.messages("carol") == [ONE, canonical(LARGE)]
        deposit = await self.store.deposit([User("bob", mail="none:of ours")], 9)
        deposit.write(LARGE)
        (outcome,) = await deposit.commit()
        assert isinstance(outcome, NoMaildrop)

    async def test_usage_is_what_is_there(self) -> None:
        assert await self.used() == Usage(0, 0)
        await self.deposit(BARE)
        await self.deposit(TWO, "bob", "alice")
        self.deliver("alice", ONE)
        assert await self.used() == await self.truth() == Usage(3, len(canonical(BARE) + TWO + ONE))
        maildrop = await self.open()
        await maildrop.commit([1])
        assert await self.used() == await self.truth()
        assert await self.used("bob") == Usage(1, len(TWO))

    async def test_usage_of_a_user_of_another_store_is_refused(self) -> None:
        await self.refused(NoMaildrop, self.store.usage, User("bob", mail="none:of ours"))

    async def test_usage_needs_no_lock(self) -> None:
        maildrop = await self.open("alice", ONE)
        assert await self.used() == Usage(1, len(ONE))
        maildrop.release()

    async def test_what_fits_the_quota_exactly_comes_in(self) -> None:
        for quota in (Quota(octets=len(ONE + TWO)), Quota(messages=2), Quota(len(ONE + TWO), 2)):
            name = f"alice{quota.octets}-{quota.messages}"
            assert await self.deposit(ONE, name, quota=quota) == [None]
            assert await self.deposit(TWO, name, quota=quota) == [None]
            (outcome,) = await self.deposit(b"", name, quota=replace(quota, messages=2))
            assert isinstance(outcome, QuotaExceeded)
            assert await self.messages(name) == [ONE, TWO]

    async def test_one_octet_too_many_stays_out(self) -> None:
        (outcome,) = await self.deposit(ONE, quota=Quota(octets=len(ONE) - 1))
        assert isinstance(outcome, QuotaExceeded)
        assert await self.messages() == []
        assert await self.used(quota=Quota(octets=len(ONE) - 1)) == Usage(0, 0)

    async def test_a_quota_without_limits_is_none(self) -> None:
        assert await self.deposit(LARGE, quota=Quota()) == [None]
        assert await self.used(quota=Quota()) == await self.truth()

    async def test_a_quota_counts_canonical_octets(self) -> None:
        (outcome,) = await self.deposit(BARE, quota=Quota(octets=len(BARE)))
        assert isinstance(outcome, QuotaExceeded)
        assert await self.deposit(BARE, quota=Quota(octets=len(canonical(BARE)))) == [None]

    async def test_one_user_s_quota_is_no_other_s(self) -> None:
        users = [self.user("alice"), replace(self.user("bob"), quota=Quota(octets=9)), self.user("carol")]
        deposit = await self.store.deposit([users[1], users[0], users[2]], None)
        deposit.write(ONE)
        first, *others = await deposit.commit()
        assert isinstance(first, QuotaExceeded)
        assert others == [None, None]
        assert [await self.messages(name) for name in ("alice", "bob", "carol")] == [[ONE], [], [ONE]]

    async def test_of_many_at_the_edge_at_once_as_many_pass_as_fit(self) -> None:
        quota = Quota(octets=3 * len(ONE), messages=4)
        answers = await gatherResults([self.begun_at(quota) for _ in range(12)])
        passed = [answer for answer in answers if answer == [None]]
        assert len(passed) == 3
        assert all(isinstance(answer[0], QuotaExceeded) for answer in answers if answer != [None])
        assert await self.messages() == [ONE] * 3
        assert await self.used(quota=quota) == await self.truth()

    def begun_at(self, quota: Quota) -> Any:
        def commit(deposit: Any) -> Any:
            deposit.write(ONE)
            return deposit.commit()

        return self.store.deposit([replace(self.user("alice"), quota=quota)], None).addCallback(commit)

    async def test_deletions_make_room(self) -> None:
        quota = Quota(messages=2)
        for message in (ONE, TWO):
            assert await self.deposit(message, quota=quota) == [None]
        await (await self.open()).commit([1])
        assert await self.used(quota=quota) == Usage(1, len(TWO))
        assert await self.deposit(THREE, quota=quota) == [None]
        assert await self.messages() == [TWO, THREE]

    async def test_usage_is_true_after_any_mix(self) -> None:
        random, quota = Random(822), Quota(octets=2000, messages=30)
        for _ in range(120):
            act = random.randrange(4)
            if act < 3:
                await self.deposit(b"x" * random.randrange(200), quota=quota)
            else:
                maildrop = await self.open()
                count = len(maildrop.messages)
                await maildrop.commit(random.sample(range(1, count + 1), random.randrange(count + 1)))
            truth = await self.truth()
            assert await self.used(quota=quota) == truth
            assert await self.used() == truth
            assert truth.octets <= 2000
            assert truth.messages <= 30
