"""A maildrop for those who only look: as a session sees it, beside one, and without a trace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from zope.interface.verify import verifyObject

from mailserver.answers import awaited
from mailserver.errors import MaildropUnavailable
from mailserver.interfaces import Account, IMaildrop, User
from mailserver.names import Names
from mailserver.store import SharedStore
from mailserver.upkeep import IFiled, IUpkeep
from tests.store.maildir.maildirs import LoggedCase

ONE, TWO = b"Subject: one\r\n\r\n", b"Subject: two\n\n.two"


def traces(root: Path) -> dict[str, tuple[int, bytes]]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


class ViewCase(LoggedCase):
    async def test_it_is_what_a_session_sees_and_leaves_no_trace_beside_it(self) -> None:
        assert verifyObject(IUpkeep, self.store)
        maildrop = await self.open("alice", ONE, TWO)
        before = traces(self.root())
        view = await self.store.view(self.user("alice"))
        assert verifyObject(IMaildrop, view)
        assert verifyObject(IFiled, view)
        assert list(view.messages) == list(maildrop.messages)
        assert list(view.messages.arrivals) == list(maildrop.messages.arrivals)
        body = await awaited(view.fetch(2))
        assert body.read(99) == TWO
        assert view.file(1) == f"new/{self.files()[0].name}"
        with pytest.raises(MaildropUnavailable):
            await view.commit([1])
        view.release()
        assert traces(self.root()) == before
        maildrop.release()

    async def test_a_message_that_is_renamed_meanwhile_is_found_and_the_session_s_time_stays(self) -> None:
        maildrop = await self.open("alice", ONE)
        view = await self.store.view(self.user("alice"))
        lock = os.stat(self.octets() + b"mailserver-lock").st_mtime_ns  # noqa: PTH116 - octets
        (path,) = self.files()
        path.rename(self.root() / "cur" / f"{path.name}:2,S")
        assert (await awaited(view.fetch(1))).read(99) == ONE
        assert os.stat(self.octets() + b"mailserver-lock").st_mtime_ns == lock  # noqa: PTH116
        maildrop.release()

    async def test_what_is_not_there_is_not_made(self) -> None:
        assert len((await self.store.view(self.user("nobody"))).messages) == 0
        assert not self.root("nobody").exists()

    async def test_a_user_of_an_account_has_the_share_and_no_envelopes_are_written(self) -> None:
        for user in ("zoe", "bob", "zoe"):
            self.deliver("vision25", f"Return-Path: <a@b.c>\nDelivered-To: {user}@x.org\n\n{user}\n".encode())
        store = SharedStore(self.store, Names(accounts={"vision25": "x.org"}))
        view = await store.view(User("vision25", account=Account("x.org", "zoe")))
        names = [f"new/{path.name}" for path in self.files("vision25")]
        assert [view.file(number) for number in range(1, len(view.messages) + 1)] == [names[0], names[2]]
        assert not list(self.root("vision25").glob("mailserver-*"))
