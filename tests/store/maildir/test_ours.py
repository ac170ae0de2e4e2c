"""A look at a Maildir shows what the next login will, and changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailserver.store.maildir import index, uidls
from mailserver.store.maildir.ours import Ours
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

    def test_a_new_message_has_what_its_name_gives(self) -> None:
        assert Ours().unlisted(f"1.a{field(b'X')}:2,".encode()) == b"X"
        assert Ours().unlisted(b"1.a,S=3:2,") == b"1.a"
