"""Files with one unique part: one message or several, and whose unique-id stays."""

from __future__ import annotations

import os
from hashlib import sha256
from itertools import permutations
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mailserver.store.maildir import filenames as names
from mailserver.store.maildir import twins
from mailserver.store.maildir.rows import Row
from mailserver.testing.contracts.store import ONE, THREE, TWO, contents
from tests.store.maildir.maildirs import LoggedCase

X = "1700000000.M1P1.host"


def hashed(text: str) -> bytes:
    return b"," + sha256(text.encode()).hexdigest().encode()


class Twins(LoggedCase):
    async def uidls(self) -> dict[bytes, bytes]:
        """The messages by their unique-ids, as the next session has them."""
        self.settle_down()
        maildrop = await self.open()
        bodies = [await contents(maildrop.fetch(at + 1)) for at in range(len(maildrop.messages))]
        maildrop.release()
        assert len(set(bodies)) == len(bodies)
        return dict(zip(maildrop.messages.uidls, bodies, strict=True))

    def lose_the_index(self) -> None:
        (self.root() / "mailserver-index").unlink()

    async def delete(self, uidl: bytes) -> None:
        maildrop = await self.open()
        assert await maildrop.commit([list(maildrop.messages.uidls).index(uidl) + 1]) == 0

    async def test_colons_that_begin_no_info_part_no_messages(self) -> None:
        for hour, message in (("10:00:00", ONE), ("10:30:00", TWO)):
            self.deliver("alice", message, f"cur/2024-01-01T{hour}.eml")
        self.deliver("alice", THREE, "new/2024-01-01T10:45:00.eml")
        assert await self.uidls() == {
            b"2024-01-01T10:00:00.eml": ONE, b"2024-01-01T10:30:00.eml": TWO, b"2024-01-01T10:45:00.eml": THREE,
        }  # fmt: skip
        await self.delete(b"2024-01-01T10:00:00.eml")
        assert sorted(self.stored("alice")) == sorted([TWO, THREE])

    async def test_one_base_with_different_contents_is_two_messages_for_good(self) -> None:
        self.deliver("alice", ONE, f"cur/{X}:2,S")
        os.utime(self.root() / f"cur/{X}:2,S", (1, 1))
        self.deliver("alice", TWO, f"new/{X}")
        second = names.unique_id_of_contents(X.encode(), sha256(TWO).digest())
        expected = {X.encode(): ONE, second: TWO}
        assert await self.uidls() == expected
        (self.root() / f"new/{X}").rename(self.root() / f"cur/{X}:2,F")
        assert await self.uidls() == expected
        self.lose_the_index()
        assert await self.uidls() == expected
        await self.delete(X.encode())
        assert self.stored("alice") == [TWO]
        assert await self.uidls() == {second: TWO}, "the other one has gone, and takes no unique-id along"

    async def test_the_second_is_deleted_alone_as_well(self) -> None:
        self.deliver("alice", ONE, f"cur/{X}:2,S")
        self.deliver("alice", TWO, f"cur/{X}:2,F")
        found = await self.uidls()
        for uidl in found.keys() - {X.encode()}:
            await self.delete(uidl)
        assert self.stored("alice") == [found[X.encode()]]

    async def test_who_is_known_keeps_his_unique_id_whoever_comes_and_goes(self) -> None:
        path = self.deliver("alice", ONE, f"cur/{X},S={len(ONE)}:2,S")
        known = await self.uidls()
        assert known == {X.encode(): ONE}
        copy = self.deliver("alice", TWO, f"cur/{X}:2,")
        os.utime(copy, (1, 1))  # older than what is known, and known is what counts
        assert await self.uidls() == {**known, hashed(f"{X}:"): TWO}
        path.unlink()
        assert await self.uidls() == {hashed(f"{X}:"): TWO}
        self.deliver("alice", THREE, f"new/{X},S={len(THREE)},W={len(THREE)}")
        assert (await self.uidls())[hashed(f"{X}:")] == TWO
        assert X.encode() not in await self.uidls(), "a client that saw its first message must not take another for it"

    async def test_without_an_index_the_oldest_file_has_the_unique_part(self) -> None:
        for age, name, message in ((3, f"cur/{X}:2,", ONE), (1, f"cur/{X},S=1:2,", TWO), (2, f"new/{X},U=1", THREE)):
            os.utime(self.deliver("alice", message, name), (age, age))
        maildrop = await self.open()
        expected = [X.encode(), hashed(f"{X}:"), hashed(f"{X},U=1:")]
        assert sorted(maildrop.messages.uidls) == sorted(expected)
        maildrop.release()

    async def test_hard_links_of_one_file_are_one_message_and_go_together(self) -> None:
        path = self.deliver("alice", ONE, f"new/{X}")
        os.link(path, self.root() / f"cur/{X},S={len(ONE)}:2,S")
        assert await self.uidls() == {X.encode(): ONE}
        await self.delete(X.encode())
        assert self.stored("alice") == []

    async def test_a_link_from_elsewhere_hinders_nothing(self) -> None:
        path = self.deliver("alice", ONE, f"new/{X}")
        os.link(path, self.homes / "backup")
        await self.delete(X.encode())
        assert self.stored("alice") == []
        assert (self.homes / "backup").exists()

    async def test_hashes_of_before_stay(self) -> None:
        one, two = hashed(f"{X},S=1:"), hashed(f"{X}:")
        self.deliver("alice", ONE, f"cur/{X},S=1:2,")
        self.deliver("alice", TWO, f"cur/{X}:2,")
        rows = [Row(1, f"cur/{X},S=1:2,".encode(), one, 1, 1, 0), Row(1, f"cur/{X}:2,".encode(), two, 1, 1, 0)]
        files = {row.name: 10 + at for at, row in enumerate(rows)}
        found = list(twins.identify(self.octets(), files, rows))
        assert {each.path: each.uidl for each in found} == {row.name: row.uidl for row in rows}

    async def test_a_restored_maildrop_keeps_all_unique_ids(self) -> None:
        self.deliver("alice", ONE, f"cur/{X},S={len(ONE)}:2,S")
        await self.uidls()
        self.deliver("alice", TWO, f"cur/{X}:2,S")
        self.deliver("alice", THREE, "new/odd name")
        before = await self.uidls()
        for path in self.files():
            message = path.read_bytes()
            path.rename(self.homes / "old")  # so that the inode is not free
            path.write_bytes(message)
            (self.homes / "old").rename(self.homes / path.name)
        assert await self.uidls() == before

    async def test_another_file_in_the_place_of_a_known_one_is_measured(self) -> None:
        self.deliver("alice", ONE, f"cur/{X}:2,S")
        await self.uidls()
        (self.root() / f"cur/{X}:2,S").rename(self.homes / "old")
        self.deliver("alice", TWO, f"cur/{X}:2,S")
        assert await self.uidls() == {X.encode(): TWO}

    async def test_a_file_that_cannot_be_read_is_no_copy_of_another(self) -> None:
        if not os.geteuid():  # root reads everything
            self.homes.chmod(0o777)
            os.seteuid(65534)
            self.addCleanup(os.seteuid, 0)
        self.deliver("alice", ONE, f"cur/{X}:2,S").chmod(0)
        self.deliver("alice", ONE, f"new/{X}").chmod(0)
        maildrop = await self.open()
        assert len(set(maildrop.messages.uidls)) == 2
        assert await maildrop.commit([1]) == 0
        assert len(self.files()) == 1


NAMES = st.lists(
    st.sampled_from([b"a", b"b", b",", b":", b";2,", b":2,", b":2,S", b",S=1", b" ", b"x" * 71, b"\xff"]),
    min_size=1, max_size=4,
).map(b"".join)  # fmt: skip
PATHS = st.builds(bytes.__add__, st.sampled_from([b"new/", b"cur/"]), NAMES)
NOWHERE = bytes(Path("/nowhere")) + b"/"


@given(st.dictionaries(PATHS, st.integers(0, 6)))
def test_unique_ids_are_unique_and_allowed_whatever_lies_there(files: dict[bytes, int]) -> None:
    found = list(twins.identify(NOWHERE, files, ()))
    assert len({each.uidl for each in found}) == len(found)
    assert all(1 <= len(each.uidl) <= 70 and all(0x21 <= octet <= 0x7E for octet in each.uidl) for each in found)
    assert {names.unique_part(each.path[4:]) for each in found} == {names.unique_part(path[4:]) for path in files}


@given(st.dictionaries(PATHS, st.integers(1, 6)), st.dictionaries(PATHS, st.integers(1, 6)))
def test_what_is_known_keeps_its_unique_id_whatever_comes_or_goes(
    before: dict[bytes, int], after: dict[bytes, int]
) -> None:
    rows = [Row(1, each.path, each.uidl, 1, 1, 0, each.inode) for each in twins.identify(NOWHERE, before, ())]
    old = {(names.unique_part(row.name[4:]), row.inode): row.uidl for row in rows}
    found = list(twins.identify(NOWHERE, after, rows))
    assert len({each.uidl for each in found}) == len(found)
    for each in found:
        identity = names.unique_part(each.path[4:]), each.inode
        assert each.uidl == old.get(identity, each.uidl)


def test_the_order_of_a_listing_changes_no_unique_id() -> None:
    paths = [b"new/1.a,S=1", b"cur/1.a,S=2:2,", b"cur/1.a", b"new/2.b"]
    results = {
        frozenset(
            (each.path, each.uidl) for each in twins.identify(NOWHERE, dict(zip(order, range(9), strict=False)), ())
        )
        for order in permutations(paths)
    }
    assert len(results) == 1
