"""A look at a Maildir shows what the next login will, and changes nothing."""

from __future__ import annotations

import os
import time
from hashlib import sha256
from pathlib import Path

import pytest

from mailserver.store.maildir import index, journal, promise, uidls
from mailserver.store.maildir.ours import Ours
from mailserver.store.maildir.same import Target
from tests.store.maildir.listed import Listed
from tests.store.maildir.test_naming import NamedCase, field


def state(root: Path) -> dict[str, tuple[int, ...]]:
    found = {}
    for path in root.rglob("*"):
        status = path.stat()
        found[str(path)] = status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return found


class Looks(NamedCase):
    async def test_it_shows_what_the_next_login_does_and_changes_nothing(self) -> None:
        former = Listed({"3.c": "three", "0.gone": "x", "1.a": "one"})
        for name in ("1.a", f"2.b{field(b'X')}", "3.c", f"4.d{field(b'X')}"):
            self.put(name)
        (self.root() / "new/3.c").rename(self.root() / "cur/3.c:2,S")
        self.settle_down()
        for lost in ((), (index.NAME,), (uidls.NAME,)):
            for name in lost:
                (self.root() / os.fsdecode(name)).unlink()
            before = state(self.root())
            shown = {entry.name.decode(): entry.uidl for entry in Ours(former).entries(self.octets())}
            assert state(self.root()) == before
            assert shown == {"3.c:2,S": b"three", "1.a": b"one", f"2.b{field(b'X')}": b"X", f"4.d{field(b'X')}": b"4.d"}
            self.store = self.make(former=former)
            assert list(shown.values()) == list((await self.uidls()).values())
            former.list = None

    async def test_where_a_login_would_be_refused_it_tells_why_and_leaves_it(self) -> None:
        self.put("1.a")
        (self.root() / os.fsdecode(uidls.NAME)).write_bytes(b"?")
        with pytest.raises(ValueError, match="damaged"):
            Ours().entries(self.octets())
        assert (self.root() / os.fsdecode(uidls.NAME)).read_bytes() == b"?"

    async def test_what_a_crash_has_left_of_promised_deletions_is_as_gone_as_the_next_login_makes_it(self) -> None:
        for name in ("1.a", "2.b", "3.c", "4.d"):
            self.put(name)
        targets = [self.target("new/1.a"), self.target("new/3.c"), self.target("new/4.d")]
        (self.root() / "new/3.c").rename(self.root() / "cur/3.c:2,S")
        (self.root() / "new/4.d").unlink()
        self.put("4.d")
        promised = promise.encode(targets)
        names = b"1.a\x003.c"
        first = b"\0".join([b"mailserver-journal 1", sha256(names).hexdigest().encode(), names])
        (self.root() / os.fsdecode(journal.NAME)).write_bytes(first)
        assert [entry.name for entry in Ours().entries(self.octets())] == [b"2.b", b"4.d"]
        for file, data in (
            (index.NAME, promised + b"\0\0the rest of an index"),
            (journal.NAME, promised[:-1]),
            (journal.NAME, promised),
        ):
            (self.root() / os.fsdecode(journal.NAME)).unlink(missing_ok=True)
            (self.root() / os.fsdecode(file)).write_bytes(data)
            before = state(self.root())
            shown = [entry.name for entry in Ours().entries(self.octets())]
            assert state(self.root()) == before
            assert shown == ([b"2.b", b"4.d"] if data != promised[:-1] else [b"1.a", b"2.b", b"3.c:2,S", b"4.d"])
        assert shown == [each.encode() for each in await self.uidls()]

    async def test_a_promise_of_another_version_refuses_as_the_login_does(self) -> None:
        self.put("1.a")
        (self.root() / os.fsdecode(journal.NAME)).write_bytes(b"mailserver-journal 9\0x\0y")
        with pytest.raises(ValueError, match="another version"):
            Ours().entries(self.octets())

    def target(self, path: str) -> Target:
        status = (self.root() / path).stat()
        return Target(path.encode(), status.st_ino, status.st_size, time.time_ns())

    def test_a_new_message_has_what_its_name_gives(self) -> None:
        assert Ours().unlisted(f"1.a{field(b'X')}:2,".encode()) == b"X"
        assert Ours().unlisted(b"1.a,S=3:2,") == b"1.a"
