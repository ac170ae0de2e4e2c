"""What a scan makes of files whose names say little, and of those that go meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailserver.store.maildir import index, scan
from mailserver.store.maildir.index import CLAIMED, DISTRUSTED, WIRE
from mailserver.store.maildir.naming import Naming
from mailserver.store.maildir.rows import Row, Rows

WHEN = 1_600_000_000_000_005


@pytest.fixture
def maildrop(tmp_path: Path) -> Path:
    for name in ("new", "cur"):
        (tmp_path / name).mkdir()
    return tmp_path


def put(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    os.utime(path, ns=(0, WHEN * 1000))


def rows(maildrop: Path, *known: Row) -> list[Row]:
    found = scan.scan(os.fsencode(maildrop) + b"/", Rows(known), lambda: 10**19).rows
    return [row._replace(inode=0) for row in found]


def test_a_name_without_a_time_has_that_of_its_file(maildrop: Path) -> None:
    put(maildrop / "cur" / "letter:2,S", b"x\r\n")
    assert rows(maildrop) == [Row(WHEN, b"cur/letter:2,S", b"letter", 3, 3, WIRE)]


def test_a_file_older_than_the_epoch_comes_first(maildrop: Path) -> None:
    put(maildrop / "cur" / "letter", b"x\r\n")
    os.utime(maildrop / "cur" / "letter", (-5, -5))
    put(maildrop / "new" / "0.a", b"")
    found = rows(maildrop)
    assert [row.uidl for row in found] == [b"0.a", b"letter"]
    assert list(index.decode_rows(index.encode(found, 0, 0))) == found


def test_octets_in_the_name_save_the_reading(maildrop: Path) -> None:
    put(maildrop / "new" / "letter,W=77", b"x\r\n")
    put(maildrop / "new" / "other,S=9,W=78", b"x\r\n")
    assert rows(maildrop) == [
        Row(WHEN, b"new/letter,W=77", b"letter", 3, 77, CLAIMED),
        Row(WHEN, b"new/other,S=9,W=78", b"other", 9, 78, CLAIMED),
    ]


def test_both_sizes_and_the_time_in_the_name_save_every_look(maildrop: Path) -> None:
    (maildrop / "new" / "5.a,S=9,W=78").write_bytes(b"")
    assert rows(maildrop) == [Row(5_000_000, b"new/5.a,S=9,W=78", b"5.a", 9, 78, CLAIMED)]


def test_a_row_that_is_not_to_be_believed_is_measured_by_its_contents(maildrop: Path) -> None:
    (maildrop / "new" / "5.a,S=9,W=78").write_bytes(b"ab\n")
    (before,) = rows(maildrop)
    (after,) = rows(maildrop, before._replace(flags=DISTRUSTED))
    assert (after.size, after.octets) == (3, 4)


def test_what_is_known_keeps_its_row_under_another_name(maildrop: Path) -> None:
    put(maildrop / "cur" / "letter:2,FS", b"x\r\n")
    known = Row(WHEN, b"new/letter", b"letter", 999, 999, 0)
    assert rows(maildrop, known) == [known._replace(name=b"cur/letter:2,FS")]


def test_rows_stand_in_the_order_of_arrival_and_then_of_name(maildrop: Path) -> None:
    for name in ("new/7.M2P1.h", "cur/7.M1P9.h:2,S", "new/6.a", "cur/7.M2P0.h", "cur/letter", "new/10.a"):
        put(maildrop / name, b"")
    assert [row.uidl for row in rows(maildrop)] == [b"6.a", b"7.M1P9.h", b"7.M2P0.h", b"7.M2P1.h", b"10.a", b"letter"]


@pytest.mark.parametrize("name", [b"new/gone", b"new/link", b"new/fifo"])
def test_what_goes_or_turns_out_to_be_no_message_has_no_row(maildrop: Path, name: bytes) -> None:
    (maildrop / "new" / "link").symlink_to("/etc/passwd")
    os.mkfifo(maildrop / "new" / "fifo")
    root = os.fsencode(maildrop) + b"/"
    naming = Naming(root, index.NOTHING, None, extends=False)
    assert list(scan._rows(root, {name: 1}, Rows(), lambda: 10**19, naming)) == []
