"""A scan with an index looks only at what changed, and finds what a scan that looks at everything finds."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.store.maildir import contents, index, listing, scan, uidls
from mailserver.store.maildir.index import CLAIMED, DISTRUSTED, Index
from mailserver.store.maildir.rows import Row, Rows

MESSAGES = (b"", b"ab\n", b"ab\r\n", b"abc", b".\r\n", gzip.compress(b"From: a\n\nb\n", mtime=0))
INFOS = ("", ":2,", ":2,S")


def events_of(*stems: str) -> st.SearchStrategy[list[tuple[str, Any, Any]]]:
    """What happens in a Maildir whose files have these bases."""
    paths = st.builds("{}/{}{}".format, st.sampled_from(["new", "cur"]), st.sampled_from(stems), st.sampled_from(INFOS))
    which, scan = st.integers(0, 9), st.tuples(st.just("scan"), st.just(0), st.sampled_from([True, True, True, False]))
    return st.lists(
        st.one_of(
            scan,
            st.tuples(st.just("deliver"), paths, st.sampled_from(MESSAGES)),
            scan,
            st.tuples(st.just("overwrite"), which, st.sampled_from(MESSAGES)),
            st.tuples(st.just("replace"), which, st.sampled_from(MESSAGES)),
            st.tuples(st.just("rename"), which, paths),
            st.tuples(st.just("flag"), which, st.sampled_from(INFOS)),
            st.tuples(st.just("link"), which, paths),
            st.tuples(st.just("remove"), which, st.none()),
            st.tuples(st.just("distrust"), which, st.none()),
            st.tuples(st.just("correct"), which, st.integers(0, 9)),
            st.tuples(st.just("clock"), st.just(0), st.integers(0, 3)),
        ),
        min_size=8,
        max_size=30,
    )


class Mail:
    """A Maildir, its last index, and the other programs that work on it."""

    def __init__(self, path: Path, reuses_inodes: bool = True) -> None:
        self.path = path
        self.reuses_inodes = reuses_inodes
        self.root = os.fsencode(path) + b"/"
        for name in ("new", "cur", "tmp"):
            (path / name).mkdir()
        self.data = b""
        self.serial = count()

    def file(self, which: Any) -> Path | None:
        files = sorted(path for name in ("new", "cur") for path in (self.path / name).iterdir())
        return files[which % len(files)] if files else None

    def change(self, what: str, which: Any, how: Any) -> None:
        path = self.file(which) if isinstance(which, int) else self.path / which
        if path is not None:
            getattr(self, what)(path, how)

    def deliver(self, path: Path, message: bytes) -> None:
        temporary = self.path / "tmp" / str(next(self.serial))
        temporary.write_bytes(message)
        if not self.reuses_inodes:
            (self.path / f"kept {temporary.name}").hardlink_to(temporary)
        temporary.rename(path)

    replace = deliver

    def overwrite(self, path: Path, message: bytes) -> None:
        path.write_bytes(message)

    def rename(self, path: Path, name: str) -> None:
        path.rename(self.path / name)

    def flag(self, path: Path, info: str) -> None:
        path.rename(self.path / "cur" / (path.name.partition(":2,")[0].partition(":1,")[0] + info))

    def link(self, path: Path, name: str) -> None:
        if not (self.path / name).exists():
            (self.path / name).hardlink_to(path)

    def remove(self, path: Path, _: None) -> None:
        path.unlink()

    def distrust(self, path: Path, _: None) -> None:
        self.mend(path, lambda row: row._replace(flags=row.flags | DISTRUSTED))

    def correct(self, path: Path, octets: int) -> None:
        self.mend(path, lambda row: row._replace(octets=octets))

    def mend(self, path: Path, mended: Any) -> None:
        name = os.fsencode(path)[len(self.root) :]
        rows = index.decode_rows(self.data)
        self.data = index.encode([mended(row) if row.name == name else row for row in rows], 1, 2)

    def clock(self, path: Path, seconds: int) -> None:
        os.utime(path, (seconds, seconds))

    def scan(self, known: Rows, inodes: bool = True) -> bytes:
        with mock.patch.object(listing, "_NO_INODE", () if inodes else range(2**64)):
            found = scan.scan(self.root, known, lambda: 10**19)
        data = index.encode(*found[:3])
        assert as_data(Index.of(*found[:3])) == data
        decoded = index.decode(data)
        assert decoded is not None
        assert as_data(decoded) == data
        assert list(decoded.snapshot) == list(Index.of(*found[:3]).snapshot)
        return data

    def scan_all(self, inodes: bool) -> bytes:
        """A scan that identifies every row again."""
        with mock.patch.object(scan, "_changed", lambda _files, known: range(len(known))):
            return self.scan(index.decode_rows(self.data), inodes)


def as_data(found: Index) -> bytes:
    return index.encode(found.rows, found.new_time, found.cur_time)


@given(
    st.one_of(
        events_of("5.a"),
        events_of("5.a", "5.a,S=3", "5.a,S=3,W=9"),
        events_of("letter", "letter,U=1", "x" * 71, "x" * 71 + ",S=2", "5.b"),
        events_of("5.a", "5.b,U=NS5h", "6.c,U=NS5h", "7.d,U=WA", "8.e,U=WA", "X", "7.d"),
        events_of("5.a", "5.M7P1.c,W=4", "6.a", "10:00:00.eml", "odd name", ",S=1", "!", "5.a,S=3,W=9"),
    )
)
def test_it_is_the_scan_that_looks_at_everything_whatever_happened(events: list[tuple[str, Any, Any]]) -> None:
    with TemporaryDirectory() as directory:
        mail = Mail(Path(directory))
        for what, which, how in (*events, ("scan", 0, True)):
            if what == "scan":
                whole = mail.scan_all(how)
                mail.data = mail.scan(index.decode_rows(mail.data), how)
                assert mail.data == whole
            else:
                mail.change(what, which, how)


NEW = st.sampled_from(["{}.a", "7.M{}P1.h", "7.a{}", "{}.a,S=9", "{}.a,S=9,W=9", "letter {}"])
DAILY = st.one_of(
    st.tuples(st.just("deliver"), NEW, st.sampled_from(MESSAGES)),
    st.tuples(st.just("replace"), st.integers(0, 99), st.sampled_from(MESSAGES)),
    st.tuples(st.just("flag"), st.integers(0, 99), st.sampled_from([":2,", ":2,S", ":2,FS"])),
    st.tuples(st.just("remove"), st.integers(0, 99), st.none()),
    st.tuples(st.just("scan"), st.just(0), st.just(True)),
)


@given(st.lists(DAILY, max_size=40))
def test_it_is_the_scan_without_an_index_where_names_are_unique(events: list[tuple[str, Any, Any]]) -> None:
    with TemporaryDirectory() as directory:
        mail, serial = Mail(Path(directory), reuses_inodes=False), count()
        for what, which, how in (*events, ("scan", 0, True)):
            if what == "scan":
                mail.data = mail.scan(index.decode_rows(mail.data))
                assert mail.data == mail.scan(Rows())
            else:
                mail.change(what, f"new/{which.format(next(serial))}" if what == "deliver" else which, how)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The files that scans examine or read from now on."""
    seen: list[bytes] = []

    def counted(name: str, module: Any) -> None:
        call = getattr(module, name)

        def look(path: bytes, *args: Any) -> Any:
            if path[-4:] not in {b"/new", b"/cur"} and not path.endswith(uidls.NAME):
                seen.append(path)
            return call(path, *args)

        monkeypatch.setattr(module, name, look)

    counted("lstat", os)
    counted("open", os)
    return seen


@pytest.fixture
def identified(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[bytes], int]]:
    """The files that scans identify from now on, and with how many rows."""
    calls: list[tuple[list[bytes], int]] = []
    identify = scan.identify

    def noted(root: bytes, files: Mapping[bytes, int], rows: Iterator[Row]) -> Iterator[Any]:
        known = list(rows)
        calls.append((sorted(files), len(known)))
        return identify(root, files, known)

    monkeypatch.setattr(scan, "identify", noted)
    return calls


def test_only_what_changed_is_looked_at(
    tmp_path: Path, looks: list[bytes], identified: list[tuple[list[bytes], int]]
) -> None:
    mail = Mail(tmp_path)
    for number in range(1000):
        (tmp_path / "cur" / f"{number}.a:2,").write_bytes(b"a\n")
    mail.data = mail.scan(Rows())
    assert len(looks) == 2 * 1000
    looks.clear()
    identified.clear()
    (tmp_path / "new" / "500.b").write_bytes(b"b\n")
    (tmp_path / "new" / "1000.c,S=2,W=3").write_bytes(b"c\n")
    (tmp_path / "cur" / "7.a:2,").rename(tmp_path / "cur" / "7.a:2,S")
    (tmp_path / "cur" / "8.a:2,").unlink()
    mail.replace(tmp_path / "cur" / "9.a:2,", b"other\n")
    mail.scan(index.decode_rows(mail.data))
    assert sorted(looks) == 2 * [mail.root + b"cur/9.a:2,"] + 2 * [mail.root + b"new/500.b"]
    changed = [b"cur/7.a:2,S", b"cur/9.a:2,", b"new/1000.c,S=2,W=3", b"new/500.b"]
    assert identified == [(changed, 3)], "with the rows of 7, 8 and 9"


def test_a_claimed_size_is_measured_where_it_is_distrusted(tmp_path: Path, looks: list[bytes]) -> None:
    mail = Mail(tmp_path)
    path = tmp_path / "new" / "5.a,S=9,W=9"
    path.write_bytes(b"ab\n")
    mail.data = mail.scan(Rows())
    assert index.decode_rows(mail.data)[0].flags == CLAIMED
    assert looks == []
    mail.distrust(path, None)
    assert index.decode_rows(mail.scan(index.decode_rows(mail.data)))[0].octets == 4
    assert len(looks) == 2


def test_a_file_of_the_same_name_and_another_inode_is_measured(tmp_path: Path) -> None:
    mail = Mail(tmp_path)
    mail.deliver(tmp_path / "cur" / "5.a:2,", b"ab\n")
    mail.data = mail.scan(Rows())
    mail.replace(tmp_path / "cur" / "5.a:2,", b"abcdef\n")
    assert [row.octets for row in index.decode_rows(mail.scan(index.decode_rows(mail.data)))] == [8]
    assert contents.measured(mail.root + b"cur/5.a:2,").octets == 8
