"""Unique-ids that names give: two claims on one id, names that change, and a lost index."""

from __future__ import annotations

import os

from mailserver.store.maildir import filenames as names
from mailserver.store.maildir import index, uidls
from mailserver.testing.contracts.store import contents
from tests.store.maildir.maildirs import LoggedCase


def field(uidl: bytes) -> str:
    return names.field_for(uidl).decode()


class NamedCase(LoggedCase):
    """Messages whose contents tell them apart, looked at by their unique-ids."""

    def put(self, name: str, age: int = 0) -> str:
        """A message that is its own unique part, and was written so many hours ago; the name as it is in the directory."""
        path = name if name[3:4] == "/" else f"new/{name}"
        there = self.deliver("alice", names.unique_part(path[4:].encode()), path)
        then = there.stat().st_mtime - 3600 * age
        os.utime(there, (then, then))
        return path

    async def uidls(self, *lost: bytes) -> dict[str, bytes]:
        """The messages and their unique-ids, in their order, when these files are lost."""
        self.settle_down()
        for name in lost:
            (self.root() / os.fsdecode(name)).unlink()
        maildrop = await self.open()
        try:
            return {
                (await contents(maildrop.fetch(at), 99)).decode().strip(): uidl
                for at, uidl in enumerate(maildrop.messages.uidls, 1)
            }
        finally:
            maildrop.release()

    async def same(self, *expected: tuple[str, bytes]) -> None:
        """These are the messages, for good: also when the index, or the map, is lost."""
        assert await self.uidls() == dict(expected)
        assert list(await self.uidls(index.NAME)) == [message for message, _ in expected]
        assert await self.uidls() == dict(expected)
        self.put("9.last")
        assert await self.uidls() == dict([*expected, ("9.last", b"9.last")])
        (self.root() / "new" / "9.last").unlink()
        assert await self.uidls(index.NAME) == dict(expected)

    def has_map(self) -> bool:
        return (self.root() / os.fsdecode(uidls.NAME)).exists()


class Names(NamedCase):
    async def test_the_name_gives_the_id_and_there_is_no_map(self) -> None:
        self.put(f"1.a,S=3{field(b'X')}")
        self.put("2.b")
        await self.same(("1.a", b"X"), ("2.b", b"2.b"))
        assert not self.has_map()

    async def test_of_new_claims_the_oldest_file_gets_the_id_and_then_the_first_in_order(self) -> None:
        for name, age in (("1.a", 1), ("3.c", 2), ("2.b", 2)):
            self.put(f"{name}{field(b'X')}", age)
            os.utime(self.root() / f"new/{name}{field(b'X')}", (age, 9 - age))
        await self.same(("1.a", b"1.a"), ("2.b", b"X"), ("3.c", b"3.c"))
        assert self.has_map()

    async def test_who_was_there_first_keeps_the_id_also_when_the_index_is_lost_as_the_other_comes(self) -> None:
        self.put(f"2.b{field(b'X')}", 2)
        self.put(f"5.e{field(b'4.d')}", 2)
        assert await self.uidls() == {"2.b": b"X", "5.e": b"4.d"}
        self.put(f"1.a{field(b'X')}")
        self.put("4.d")
        second = names.unique_id_of_base(b"4.d")
        expected = {"1.a": b"1.a", "2.b": b"X", "4.d": second, "5.e": b"4.d"}
        assert await self.uidls(index.NAME) == expected
        self.put(f"3.c{field(b'X')}", 9)
        assert await self.uidls(index.NAME) == {**expected, "3.c": b"3.c"}

    async def test_who_has_the_id_keeps_it_whoever_comes_before_in_order(self) -> None:
        self.put(f"2.b{field(b'X')}")
        assert await self.uidls() == {"2.b": b"X"}
        self.put(f"1.a{field(b'X')}")
        await self.same(("1.a", b"1.a"), ("2.b", b"X"))
        (self.root() / f"new/2.b{field(b'X')}").unlink()
        await self.same(("1.a", b"1.a"))

    async def test_a_claim_on_another_message_s_unique_part_fails(self) -> None:
        for path in (self.put(f"1.a{field(b'2.b')}"), self.put("2.b")):
            os.utime(self.root() / path, (1, 1))
        await self.same(("1.a", b"1.a"), ("2.b", b"2.b"))

    async def test_a_message_whose_unique_part_another_message_has_as_its_id_gets_a_hash(self) -> None:
        self.put(f"1.a{field(b'2.b')}")
        assert await self.uidls() == {"1.a": b"2.b"}
        self.put("2.b")
        second = names.unique_id_of_base(b"2.b")
        await self.same(("1.a", b"2.b"), ("2.b", second))
        os.utime(self.root() / "new/2.b", (1, 1))
        assert await self.uidls(index.NAME) == {"1.a": b"2.b", "2.b": second}

    async def test_who_lost_an_id_keeps_its_hash_when_first_the_map_is_lost_and_then_the_index(self) -> None:
        self.put(f"1.a{field(b'2.b')}")
        assert await self.uidls() == {"1.a": b"2.b"}
        self.put("2.b", 9)
        expected = {"1.a": b"2.b", "2.b": names.unique_id_of_base(b"2.b")}
        assert await self.uidls() == expected
        assert await self.uidls(uidls.NAME) == expected
        assert await self.uidls(index.NAME) == expected

    async def test_claims_in_a_circle_end(self) -> None:
        self.put(f"1.a{field(b'2.b')}")
        self.put(f"2.b{field(b'1.a')}")
        await self.same(("1.a", b"2.b"), ("2.b", b"1.a"))
        for number in range(3, 9):
            self.put(f"{number}.x{field(b'%d.x' % (number - 1))}")
        found = await self.uidls()
        assert len(set(found.values())) == 8
        assert await self.uidls(index.NAME) == found

    async def test_a_hash_of_our_own_is_an_id_as_any_other(self) -> None:
        taken = names.unique_id_of_base(b"2.b")
        self.put(f"1.a{field(taken)}")
        self.put(f"3.c{field(b'2.b')}")
        assert await self.uidls() == {"1.a": taken, "3.c": b"2.b"}
        self.put("2.b")
        found = await self.uidls()
        assert len(set(found.values())) == 3
        assert (found["1.a"], found["3.c"]) == (taken, b"2.b")
        assert await self.uidls(index.NAME) == found

    async def test_two_fields_are_none(self) -> None:
        self.put(f"1.a{field(b'X')}{field(b'X')}")
        self.put(f"2.b{field(b'X')}")
        await self.same(("1.a", b"1.a"), ("2.b", b"X"))

    async def test_a_message_keeps_its_id_when_its_name_gets_a_field(self) -> None:
        path = self.root() / self.put("1.a")
        assert await self.uidls() == {"1.a": b"1.a"}
        path.rename(self.root() / f"cur/1.a{field(b'X')}:2,S")
        await self.same(("1.a", b"1.a"))
        self.put(f"2.b{field(b'X')}")
        await self.same(("1.a", b"1.a"), ("2.b", b"X"))

    async def test_a_message_keeps_its_id_when_its_name_loses_the_field_or_gets_another(self) -> None:
        for end in ("", field(b"Y"), ",S=9"):
            path = self.root() / self.put(f"1.a{field(b'X')}")
            assert await self.uidls() == {"1.a": b"X"}
            path.rename(self.root() / f"cur/1.a{end}:2,S")
            await self.same(("1.a", b"X"))
            (self.root() / f"cur/1.a{end}:2,S").unlink()
            assert await self.uidls(uidls.NAME) == {}

    async def test_flags_and_sizes_change_nothing(self) -> None:
        path = self.root() / self.put(f"1.a{field(b'X')}")
        assert await self.uidls() == {"1.a": b"X"}
        path.rename(self.root() / f"cur/1.a,S=3{field(b'X')},W=5:2,FS")
        await self.same(("1.a", b"X"))
        assert not self.has_map()

    async def test_copies_of_an_import_are_twins(self) -> None:
        self.put(f"1.a{field(b'X')}")
        self.deliver("alice", b"other", f"cur/1.a{field(b'X')}:2,S")
        found = await self.uidls()
        assert found.pop("1.a") == b"X" or found["other"] == b"X"
        assert len({*found.values()}) == 1
        assert await self.uidls(index.NAME) == await self.uidls()
