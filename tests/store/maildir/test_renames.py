"""Other programs rename messages while directories are read: nothing comes back, and nothing is missed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from twisted.internet.defer import maybeDeferred

from mailserver.errors import MessageGone, OutcomeUnknown
from mailserver.store.maildir import index, journal, listing, locking, opening, promise, removal, scan
from mailserver.store.maildir import maildrop as drop
from mailserver.store.maildir.rows import Rows
from mailserver.store.maildir.same import Target
from mailserver.testing.contracts.store import ONE, TWO, contents
from tests.store.maildir.maildirs import LoggedCase
from tests.store.maildir.renames import Renames

MOVES = {
    "from cur to new": ("cur/1700000002.b:2,", "new/1700000002.b"),
    "from new to cur": ("new/1700000002.b", "cur/1700000002.b:2,"),
    "another flag": ("cur/1700000002.b:2,", "cur/1700000002.b:2,S"),
    "with sizes": ("cur/1700000002.b:2,", "cur/1700000002.b,S=24:2,"),
}
OTHERS = ["new/1700000001.a", "cur/1700000003.c:2,", "new/1700000004.d", "cur/1700000005.e:2,S"]
UIDLS = [b"1700000001.a", b"1700000002.b", b"1700000003.c", b"1700000004.d", b"1700000005.e"]


@pytest.fixture(params=MOVES.values(), ids=MOVES)
def move(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


class Mail:
    """A maildrop with five messages, of which another program renames the second."""

    def __init__(self, path: Path, first: str) -> None:
        self.path = path
        self.root = os.fsencode(path) + b"/"
        shutil.rmtree(path, ignore_errors=True)
        for name in ("new", "cur"):
            (path / name).mkdir(parents=True)
        (path / "mailserver-lock").touch()
        for name in (first, *OTHERS):
            (path / name).write_bytes(name.encode())
        self.clock = partial(locking.now, self.root)
        self.rows = scan.scan(self.root, Rows(), self.clock).rows
        self.since = self.clock()

    def task(self) -> tuple[list[Target], frozenset[int]]:
        """To delete the second and the fourth, as a session listed them; and the inodes of the others."""
        targets = [Target(row.name, row.inode, row.size, self.since) for row in self.rows]
        return [targets[1], targets[3]], frozenset(row.inode for row in (*self.rows[::2],))

    def second(self) -> Path:
        """Where the second message is."""
        found = [self.path / name / file for name in ("new", "cur") for file in os.listdir(self.path / name)]  # noqa: PTH208 - what it is in front of is os.scandir
        return next(file for file in found if file.name.startswith("1700000002.b"))

    def left(self) -> list[bytes]:
        return [row.uidl for row in scan.scan(self.root, Rows(), self.clock).rows]


def at_each_point(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, move: tuple[str, str], work: Callable[[Mail], object]
) -> None:
    """Do the work again and again, with the rename at each point of its listings at which it can fall."""
    old, new = move
    for point in count(1):
        mail = Mail(tmp_path / "Maildir", old)

        def rename(now: int, mail: Mail = mail, point: int = point) -> None:
            if now == point and (mail.path / old).exists():
                (mail.path / old).rename(mail.path / new)

        renames = Renames(rename)
        with monkeypatch.context() as patched:
            patched.setattr(os, "scandir", renames.scandir)
            work(mail)
        if renames.points < point:
            break
    assert point > 9  # two directories, their ends, and five entries


@pytest.mark.parametrize("others", [0, 1])
def test_a_deleted_message_does_not_come_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, move: tuple[str, str], others: int
) -> None:
    def work(mail: Mail) -> None:
        targets, rest = mail.task()
        assert journal.commit(mail.root, targets[: 1 + others], rest, mail.clock) == (0, [])
        assert mail.left() == [UIDLS[0], UIDLS[2], *UIDLS[3 + others :]]

    at_each_point(monkeypatch, tmp_path, move, work)


@pytest.mark.parametrize("others", [0, 1])
def test_a_deletion_that_was_cut_short_is_finished(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, move: tuple[str, str], others: int
) -> None:
    def work(mail: Mail) -> None:
        (mail.path / "mailserver-journal").write_bytes(promise.encode(mail.task()[0][: 1 + others]))
        opened = opening.thoroughly(mail.root, mail.root, "me", None, locking.now)
        os.close(opened.lock)
        assert opened.found.snapshot.uidls[:] == [UIDLS[0], UIDLS[2], *UIDLS[3 + others :]]

    at_each_point(monkeypatch, tmp_path, move, work)


@pytest.mark.parametrize("known", [True, False])
def test_a_login_misses_no_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, move: tuple[str, str], known: bool
) -> None:
    def work(mail: Mail) -> None:
        found = scan.scan(mail.root, mail.rows if known else Rows(), mail.clock)
        assert [row.uidl for row in found.rows] == UIDLS
        assert {row.inode for row in found.rows} == {row.inode for row in mail.rows}

    at_each_point(monkeypatch, tmp_path, move, work)


@pytest.mark.parametrize("inodes", [True, False])
def test_a_storm_without_end_hides_no_message_from_a_login(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, inodes: bool
) -> None:
    monkeypatch.setattr(listing, "pause", lambda _passes, _longest: None)
    mail = Mail(tmp_path / "Maildir", "cur/1700000002.b:2,")
    if not inodes:
        monkeypatch.setattr(listing, "_NO_INODE", {row.inode for row in mail.rows})
    flags = count()

    def rename(now: int) -> None:
        path = mail.second()
        path.rename(mail.path / ("new/1700000002.b" if now % 3 else f"cur/1700000002.b:2,{next(flags)}"))

    monkeypatch.setattr(os, "scandir", Renames(rename).scandir)
    for known in (Rows(), mail.rows):
        found = scan.scan(mail.root, known, mail.clock)
        assert {row.uidl for row in found.rows} == set(UIDLS)
        assert (found.new_time, found.cur_time) == (index.UNTRUSTED, index.UNTRUSTED)


def test_a_message_that_is_renamed_whenever_it_is_looked_at_is_missed_by_no_login(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mail = Mail(tmp_path / "Maildir", "cur/1700000002.b:2,")
    flags, lstat = iter(range(10)), os.lstat

    def flee(path: bytes) -> os.stat_result:
        if b"1700000002.b" in path and (flag := next(flags, None)) is not None:
            mail.second().rename(mail.path / (f"cur/1700000002.b:2,{flag}" if flag % 3 else "new/1700000002.b"))
        return lstat(path)

    monkeypatch.setattr(os, "lstat", flee)
    assert [row.uidl for row in scan.scan(mail.root, Rows(), mail.clock).rows] == UIDLS
    assert next(flags, None) is None


@pytest.mark.parametrize("known", [True, False])
def test_a_login_in_a_storm_lists_three_times_when_nothing_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, known: bool
) -> None:
    monkeypatch.setattr(listing, "pause", lambda _passes, _longest: None)
    mail = Mail(tmp_path / "Maildir", "cur/1700000002.b:2,")
    busy = Renames(lambda _: [(mail.path / "new/.busy").touch(), (mail.path / "new/.busy").unlink()])
    monkeypatch.setattr(os, "scandir", busy.scandir)
    scan.scan(mail.root, mail.rows if known else Rows(), mail.clock)
    assert busy.points == 3 * (2 * len(listing.DIRECTORIES) + len(UIDLS))


def test_what_one_listing_showed_is_there_though_the_next_ones_hide_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(listing, "pause", lambda _passes, _longest: None)
    mail = Mail(tmp_path / "Maildir", "cur/1700000002.b:2,")

    def rename(now: int) -> None:
        if now <= 9:  # the first listing
            (mail.path / f"new/.{now}").touch()
        else:
            mail.second().rename(mail.path / f"cur/1700000002.b:2,{now}")

    monkeypatch.setattr(os, "scandir", Renames(rename).scandir)
    found = listing.look_until_complete(mail.root, (), mail.clock)
    assert not found.complete
    assert {path[4:16] for path in found.files} == {uidl[:12] for uidl in UIDLS}


def test_what_an_earlier_session_knew_and_no_listing_shows_has_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(listing, "pause", lambda _passes, _longest: None)
    mail = Mail(tmp_path / "Maildir", "cur/1700000002.b:2,")
    (mail.path / "cur/1700000002.b:2,").unlink()
    busy = Renames(lambda now: (mail.path / f"new/{now}").touch() or (mail.path / f"new/{now}").unlink())
    monkeypatch.setattr(os, "scandir", busy.scandir)
    assert [row.uidl for row in scan.scan(mail.root, mail.rows, mail.clock).rows] == [UIDLS[0], *UIDLS[2:]]


def test_a_storm_that_hides_a_message_leaves_the_outcome_open_and_the_next_login_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(removal, "PASSES", 5)
    mail = Mail(tmp_path / "Maildir", "cur/1700000002.b:2,")
    flags = count()

    def rename(_: int) -> None:
        mail.second().rename(mail.path / f"cur/1700000002.b:2,{next(flags)}")

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", Renames(rename).scandir)
        with pytest.raises(OutcomeUnknown, match="wait for the next login"):
            journal.commit(mail.root, *mail.task(), mail.clock)
        with pytest.raises(OSError, match="faster"):
            journal.recover(mail.root, mail.clock)
    assert mail.left() == [UIDLS[0], UIDLS[1], UIDLS[2], UIDLS[4]]
    assert journal.recover(mail.root, mail.clock) == ["finished the deletions of an earlier session: 2 of 2 files"]
    assert mail.left() == UIDLS[::2]


def test_a_listing_is_complete_only_when_nothing_can_have_changed(tmp_path: Path) -> None:
    mail = Mail(tmp_path / "Maildir", "new/1700000002.b")
    for now, times, complete in (
        ([10], (9, 9), True),
        ([10, 11], (9, 10), False),  # a rename in the same tick would show no other time
        ([10, 11], (11, 9), False),
        ([10, 11], (12, 9), True),  # from the future: any change would set it back
    ):
        for name, mtime in zip(("new", "cur"), times, strict=True):
            os.utime(mail.path / name, ns=(mtime, mtime))
        assert listing.look(mail.root, iter(now).__next__).complete is complete, (now, times)


class Searched(LoggedCase):
    async def test_a_message_that_is_renamed_while_it_is_searched_is_retrieved(self) -> None:
        for old, new in MOVES.values():
            point, last = 1, 1
            while point <= last:
                for path in self.files() if point > 1 else ():
                    path.unlink()
                self.deliver("alice", TWO, old)
                self.deliver("alice", ONE, "cur/1700000003.c:2,")
                maildrop = await self.open()
                away = self.root() / f"{old.partition(':')[0]}:2,R"
                (self.root() / old).rename(away)  # so that it has to be searched
                renames = self.renaming(point, away, self.root() / new)
                assert await contents(await maybeDeferred(maildrop.fetch, 1)) == TWO
                renames.end()
                maildrop.release()
                point, last = point + 1, renames.points
            for path in self.files():
                path.unlink()

    async def test_one_that_moves_without_end_is_refused_and_the_session_goes_on(self) -> None:
        self.patch(drop, "PASSES", 5)
        self.deliver("alice", TWO, "cur/1.a:2,")
        maildrop = await self.open()
        flags = count()

        def rename(_: int) -> None:
            (name,) = os.listdir(self.root() / "cur")  # noqa: PTH208 - as above
            (self.root() / "cur" / name).rename(self.root() / f"cur/1.a:2,{next(flags)}")

        rename(0)
        renames = Renames(rename)
        self.patch(os, "scandir", renames.scandir)
        with pytest.raises(MessageGone, match="moves faster"):
            await maybeDeferred(maildrop.fetch, 1)
        renames.end()
        assert await contents(await maybeDeferred(maildrop.fetch, 1)) == TWO
        maildrop.release()

    def renaming(self, point: int, old: Path, new: Path) -> Renames:
        renames = Renames(lambda now: old.rename(new) if now == point else None)
        self.patch(os, "scandir", renames.scandir)
        return renames
