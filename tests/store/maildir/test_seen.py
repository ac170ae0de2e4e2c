"""The S flag, where the operator wants RETR to set it."""

from __future__ import annotations

from typing import ClassVar

from mailserver.store.maildir import settle
from mailserver.store.maildir.same import Target
from mailserver.testing.contracts.store import ONE, TWO
from tests.store.maildir.maildirs import LoggedCase

NAME = "1700000000.M1P1.host"


class Seen(LoggedCase):
    options: ClassVar = {"seen": "retr"}

    async def session(self, sent: tuple[int, ...], deleted: tuple[int, ...] | None = ()) -> None:
        maildrop = await self.open()
        for number in sent:
            maildrop.sent(number, maildrop.messages.octets[number - 1])
        if deleted is None:
            maildrop.release()
            await self.store.stop()
        else:
            await maildrop.commit(deleted)

    def names(self) -> list[str]:
        return [str(path.relative_to(self.root())) for path in self.files()]

    async def test_what_was_sent_moves_to_cur_with_its_flag(self) -> None:
        self.deliver("alice", ONE, f"new/{NAME}")
        await self.session((1,))
        assert self.names() == [f"cur/{NAME}:2,S"]

    async def test_release_marks_too(self) -> None:
        self.deliver("alice", ONE, f"new/{NAME}")
        await self.session((1,), None)
        assert self.names() == [f"cur/{NAME}:2,S"]

    async def test_other_flags_stay_and_are_sorted(self) -> None:
        self.deliver("alice", ONE, f"cur/{NAME},S={len(ONE)}:2,TF")
        await self.session((1,))
        assert self.names() == [f"cur/{NAME},S={len(ONE)}:2,FST"]

    async def test_what_was_not_sent_and_what_is_of_another_kind_stays(self) -> None:
        names = ["cur/1.a:2,FS", "cur/2.b:1,experimental", "new/3.c"]
        for name in names:
            self.deliver("alice", ONE, name)
        await self.session((1, 2))
        assert self.names() == sorted(names, reverse=True)[:1] + names[:2]

    async def test_a_deleted_message_is_not_marked(self) -> None:
        self.deliver("alice", ONE, "new/1.a")
        self.deliver("alice", TWO, "new/2.b")
        await self.session((1, 2), (1,))
        assert self.names() == ["cur/2.b:2,S"]

    async def test_a_message_moved_meanwhile_is_marked_where_it_is(self) -> None:
        path = self.deliver("alice", ONE, "new/1.a")
        maildrop = await self.open()
        maildrop.sent(1, len(ONE))
        path.rename(self.root() / "cur/1.a:2,F")
        await maildrop.commit([])
        await self.store.stop()
        assert self.names() == ["cur/1.a:2,FS"]

    async def test_a_name_that_is_taken_is_left_alone(self) -> None:
        self.deliver("alice", ONE, "cur/1.a:2,S")
        self.deliver("alice", ONE, "new/1.a")
        maildrop = await self.open()
        assert len(maildrop.messages) == 1
        maildrop.release()
        lesson = settle.Lesson()
        lesson.seen[Target(b"new/1.a", 0, len(ONE))] = b"new/1.a"
        assert settle.settle(self.octets(), lesson, frozenset(), lambda: 0) == []
        assert len(self.files()) == 2

    async def test_a_rename_that_fails_hinders_no_other(self) -> None:
        self.deliver("alice", ONE, "new/1.a")
        self.deliver("alice", ONE, "new/2." + "b" * 250)  # no room for a flag in its name
        self.deliver("alice", ONE, "new/3.c")
        await self.session((1, 2, 3))
        assert self.names() == ["new/2." + "b" * 250, "cur/1.a:2,S", "cur/3.c:2,S"]
        (told,) = self.told("store.note")
        assert "2.bbb" in told
        assert "File name too long" in told

    async def test_a_failure_is_told_and_the_session_ends_well(self) -> None:
        self.deliver("alice", ONE, "new/1.a")
        maildrop = await self.open()
        maildrop.sent(1, len(ONE) + 1)
        (self.root() / "cur").rmdir()
        (self.root() / "mailserver-index").unlink()
        await maildrop.commit([])
        await self.store.stop()
        assert len(self.told("store.note")) == 2

    async def test_a_damaged_index_is_not_mended(self) -> None:
        maildrop = await self.open("alice", ONE)
        maildrop.sent(1, len(ONE) + 1)
        (self.root() / "mailserver-index").write_bytes(b"damage")
        await maildrop.commit([])
        await self.store.stop()
        self.store = self.make()
        assert [octets for _, octets in await self.reopen()] == [len(ONE)]
