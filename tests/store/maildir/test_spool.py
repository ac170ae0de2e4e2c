"""A delivery in its thread: what is durable before it is answered, what goes wrong, and for whom."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mailserver.errors import MaildropUnavailable, QuotaExceeded, StoreError, StoreFull
from mailserver.interfaces import Quota
from mailserver.store.maildir import contents, counting, maildirsize, making, spool
from mailserver.store.maildir import files as store_files
from mailserver.testing.contracts.store import ONE, TWO
from tests.store.maildir.spools import Calls, Drops
from tests.store.maildir.test_leaving import open_files

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
OTHERS = (errno.EACCES, errno.EROFS, errno.EIO, errno.EMFILE)
LINKLESS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS)
LARGE = b"0123456789abcde\n" * 200_000


@pytest.fixture
def drops(tmp_path: Path) -> Drops:
    return Drops(tmp_path, "alice", "bob", "carol")


def failing(error: int, *calls: str, path: str, times: int = 1_000_000) -> Callable[[int, str, bytes], int | None]:
    """The first `times` of these calls fail whose path has this part."""
    left = times

    def fault(_number: int, call: str, on: bytes) -> int | None:
        nonlocal left
        if call in calls and os.fsencode(path) in on and left:
            left -= 1
            return error
        return None

    return fault


def only(last: int, error: int) -> Callable[[int, str, bytes], int | None]:
    """The call of this number fails."""
    return lambda at, _call, _path: error if at == last else None


# What is delivered, and how.


def test_the_file_has_its_sizes_in_its_name_and_is_its_owners_alone(drops: Drops) -> None:
    assert drops.deliver(ONE, "alice") == [None]
    (path,) = drops.files("alice")
    assert path.parent.name == "new"
    assert path.name.endswith(f".host,S={len(ONE)},W={len(ONE)}")
    assert path.read_bytes() == ONE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_nlink == 1
    assert drops.tmp("alice") == []


def test_a_maildrop_is_made_for_its_owner_alone(drops: Drops) -> None:
    assert drops.deliver(ONE, "alice") == [None]
    root = drops.root("alice")
    assert sorted(path.name for path in root.iterdir()) == ["cur", "new", "tmp"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (root, *root.iterdir())} == {0o700}


def test_no_home_is_made(drops: Drops) -> None:
    (outcome,) = drops.deliver(ONE, "nobody")
    assert isinstance(outcome, MaildropUnavailable)
    assert "create the directory" in str(outcome)
    assert not (drops.directory / "nobody").exists()


def test_a_delivery_is_durable_before_it_is_visible_and_before_it_is_answered(drops: Drops) -> None:
    drops.deliver(ONE, "alice")
    with Calls(drops.directory).watched() as calls:
        assert drops.deliver(TWO, "alice") == [None]
    steps = [(call, path.split("/")[2] if call != "lstat" else path) for call, path in calls.made]
    assert steps == [
        ("lstat", "alice/Maildir/new"),
        ("lstat", "alice/Maildir/cur"),
        ("lstat", "alice/Maildir/tmp"),
        ("open", "tmp"),
        ("write", "tmp"),
        ("fsync", "tmp"),
        ("lstat", "alice/Maildir/maildirsize"),
        ("link", "new"),
        ("open", "new"),
        ("fsync", "new"),
        ("unlink", "tmp"),
    ], "and nothing more: this is what a delivery costs"


def test_the_directories_of_a_new_maildrop_are_durable(drops: Drops) -> None:
    with Calls(drops.directory).watched() as calls:
        assert drops.deliver(ONE, "alice") == [None]
    made = [path.rstrip("/") for call, path in calls.made if call == "mkdir"]
    synced = [path.rstrip("/") for call, path in calls.made if call == "fsync"]
    assert {"alice/Maildir", "alice/Maildir/new"} <= set(made)
    assert {"alice", "alice/Maildir"} <= set(synced[:-2])


def test_the_directories_that_another_process_has_made_are_durable_too(drops: Drops) -> None:
    drops.deliver(ONE, "alice")
    drops.making = making.Making()
    with Calls(drops.directory).watched() as calls:
        assert drops.deliver(ONE, "alice") == [None]
    assert [path.rstrip("/") for call, path in calls.made if call == "fsync"][:2] == ["alice/Maildir", "alice"]


def test_users_share_one_file(drops: Drops) -> None:
    with Calls(drops.directory).watched() as calls:
        assert drops.deliver(ONE, "alice", "bob", "carol") == [None] * 3
    assert len({path.stat().st_ino for user in ("alice", "bob", "carol") for path in drops.files(user)}) == 1
    assert [call for call, _ in calls.made].count("write") == 1
    syncs = [path for call, path in calls.made if call == "fsync" and "/new" in path]
    links = [at for at, (call, _) in enumerate(calls.made) if call == "link"]
    assert len(syncs) == 3
    assert calls.made.index(("fsync", syncs[0])) > links[-1], "one commit of the journal serves all"
    assert drops.tmp("alice", "bob", "carol") == []


def test_two_users_of_one_maildrop_get_a_message_each(drops: Drops) -> None:
    assert drops.deliver(ONE, "alice", "bob", "alice") == [None] * 3
    assert drops.stored("alice") == [ONE] * 2
    assert len({path.stat().st_ino for path in drops.files("alice")}) == 2
    assert drops.tmp("alice", "bob") == []


def test_a_login_measures_no_deposit(drops: Drops, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.store.maildir.crash import login

    drops.deliver(ONE, "alice")
    monkeypatch.setattr(contents, "measured", None)
    assert len(login(os.fsencode(drops.root("alice")) + b"/")) == 1


# What other programs do.


def test_a_maildrop_that_vanished_is_made_again(drops: Drops) -> None:
    drops.deliver(ONE, "alice", "bob")
    for directory in ("tmp", "new"):
        for user in ("alice", "bob"):
            for path in drops.files(user, directory):
                path.unlink()
            (drops.root(user) / directory).rmdir()
        assert drops.deliver(TWO, "alice", "bob") == [None] * 2
    assert drops.stored("alice") == drops.stored("bob") == [TWO]


def test_a_directory_that_is_a_link_is_refused(drops: Drops) -> None:
    drops.deliver(ONE, "bob")
    for directory in ("new", "tmp"):
        root = drops.root("alice")
        drops.deliver(ONE, "alice")
        (root / directory).rename(root / "aside")
        (root / directory).symlink_to(drops.root("bob") / directory)
        drops.making = making.Making()
        (outcome,) = drops.deliver(TWO, "alice")
        assert isinstance(outcome, MaildropUnavailable)
        assert "not links" in str(outcome)
        (root / directory).unlink()
        (root / "aside").rename(root / directory)
    assert TWO not in drops.stored("bob")


def test_files_that_died_long_ago_in_tmp_are_removed(drops: Drops) -> None:
    drops.deliver(ONE, "alice")
    old, young, read = (drops.root("alice") / "tmp" / name for name in ("1.old", "2.young", "3.read"))
    now = time.time()
    for path in (old, young, read):
        path.write_bytes(ONE)
    os.utime(old, (now - 40 * 3600, now - 40 * 3600))
    os.utime(read, (now - 60, now - 40 * 3600))
    (drops.root("alice") / "tmp" / "folder").mkdir()
    later = now + 37 * 3600  # the time of a file's last change cannot be set
    drops.making = making.Making()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making.time, "time", lambda: later)
        os.utime(read, (later - 60, now))
        drops.deliver(TWO, "alice")
    assert not old.exists()
    assert not young.exists(), "it is 37 hours old then"
    assert read.exists()
    drops.making = making.Making()
    young.write_bytes(ONE)
    drops.deliver(TWO, "alice")
    assert young.exists()
    assert (drops.root("alice") / "tmp" / "folder").exists()


def test_a_visit_to_tmp_is_bounded(drops: Drops, monkeypatch: pytest.MonkeyPatch) -> None:
    drops.deliver(ONE, "alice")
    for number in range(30):
        (drops.root("alice") / "tmp" / f"{number}").write_bytes(b"")
    monkeypatch.setattr(making, "_SWEPT", 10)
    monkeypatch.setattr(making, "_ABANDONED", -1)
    drops.making = making.Making()
    drops.deliver(ONE, "alice")
    assert len(drops.tmp("alice")) == 20


# Where links do not serve.


@pytest.mark.parametrize("error", LINKLESS)
def test_where_links_do_not_serve_there_are_copies(drops: Drops, error: int) -> None:
    with Calls(drops.directory, failing(error, "link", path="")).watched() as calls:
        assert drops.deliver(LARGE[:5], "alice", "bob", "carol", before=[LARGE, LARGE]) == [None] * 3
    whole = LARGE + LARGE + LARGE[:5]
    assert [drops.stored(user) for user in ("alice", "bob", "carol")] == [[whole]] * 3
    assert len({path.stat().st_ino for user in ("alice", "bob", "carol") for path in drops.files(user)}) == 3
    assert drops.tmp("alice", "bob", "carol") == []
    synced = [path for call, path in calls.made if call == "fsync" and "tmp/" in path]
    assert len(synced) == 3, "each copy is durable before it has its name"
    assert all(calls.made.index(("fsync", path)) < calls.made.index(("rename", path)) for path in synced)


def test_another_file_system_for_one_user_is_a_copy_for_him(drops: Drops) -> None:
    fault = failing(errno.EXDEV, "link", path="bob/Maildir/new", times=1)
    with Calls(drops.directory, fault).watched():
        assert drops.deliver(ONE, "alice", "bob", "carol") == [None] * 3
    inodes = {user: drops.files(user)[0].stat().st_ino for user in ("alice", "bob", "carol")}
    assert len(set(inodes.values())) == 2
    assert [drops.stored(user) for user in inodes] == [[ONE]] * 3


def test_where_only_the_first_has_no_links_the_others_have(drops: Drops) -> None:
    with Calls(drops.directory, failing(errno.EMLINK, "link", path="alice/Maildir/new")).watched() as calls:
        assert drops.deliver(ONE, "alice", "bob", "carol") == [None] * 3
    assert [drops.stored(user) for user in ("alice", "bob", "carol")] == [[ONE]] * 3
    assert [call for call, _ in calls.made].count("write") == 1


def test_a_copy_needs_no_system_call_for_copies(drops: Drops, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise OSError(errno.EXDEV, "no")

    for function in (refused, lambda *_: 0):
        monkeypatch.setattr(os, "copy_file_range", function)
        assert drops.deliver(b"end\r\n", "alice", "alice", before=[LARGE]) == [None] * 2
    assert drops.stored("alice") == [LARGE + b"end\r\n"] * 4


# What goes wrong.


@pytest.mark.parametrize("before", [(), (TWO * 9, TWO)], ids=["small", "large"])
def test_whatever_fails_only_this_user_fails_and_nothing_is_left(drops: Drops, before: tuple[bytes, ...]) -> None:
    """Each call on the first user's maildrop fails once, in each way; also those of his quota."""
    quota = Quota(octets=10**9)
    files = open_files()
    for error in (*NO_ROOM, *OTHERS):
        number = 0
        while True:
            number += 1
            kept = {user: drops.stored(user) for user in ("alice", "bob")}
            calls = Calls(drops.directory / "alice", only(number, error))
            with calls.watched():
                first, second = drops.deliver(ONE, "alice", "bob", quota=quota, before=before)
            told = error, calls.made[number - 1 :][:1]
            assert open_files() == files, told
            assert second is None, told
            assert drops.stored("bob") == [*kept["bob"], b"".join(before) + ONE]
            assert len(drops.stored("alice")) == len(kept["alice"]) + (first is None), told
            if told[1] and told[1][0][0] != "unlink":
                assert drops.tmp("alice", "bob") == [], told
            for path in drops.tmp("alice", "bob"):
                path.unlink()
            if first is not None:
                assert isinstance(first, StoreFull if error in NO_ROOM else MaildropUnavailable), told
            for user in ("alice", "bob"):
                root = os.fsencode(drops.root(user)) + b"/"
                assert maildirsize.usage(root, quota) == counting.count(root)[0], told
                for path in drops.files(user):
                    path.unlink()
                maildirsize.forget(root)
            if len(calls.made) < number:
                break
        assert number > 12


def test_a_full_disk_of_one_user_in_the_midst_of_a_message_is_no_others(drops: Drops) -> None:
    with Calls(drops.directory, failing(errno.ENOSPC, "write", path="alice/Maildir/tmp")).watched():
        first, *others = drops.deliver(LARGE, "alice", "bob", "carol", before=[ONE, TWO])
    assert isinstance(first, StoreFull)
    assert others == [None, None]
    assert drops.stored("alice") == []
    assert drops.stored("bob") == drops.stored("carol") == [ONE + TWO + LARGE]
    assert drops.tmp("alice", "bob", "carol") == []


def test_a_write_that_came_half_is_not_in_the_copy_of_the_next(drops: Drops, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(descriptor: int, data: bytes) -> None:
        os.write(descriptor, data[: len(data) // 2])
        monkeypatch.undo()
        raise OSError(errno.ENOSPC, "full")

    work = drops.spool("alice", "bob")
    work.write(ONE)
    monkeypatch.setattr(spool, "write_all", half)
    work.write(TWO)
    first, second = work.deliver(ONE, [drops.names.name(), drops.names.name()], b"new/")
    assert isinstance(first, StoreFull)
    assert str(drops.root("alice")) in str(first), "though the error named no file"
    assert second is None
    assert drops.stored("bob") == [ONE + TWO + ONE]


def test_a_disk_that_is_full_for_all_is_told_to_all(drops: Drops) -> None:
    with Calls(drops.directory, failing(errno.ENOSPC, "write", "fsync", path="tmp/")).watched():
        outcomes = drops.deliver(ONE, "alice", "bob", "carol", before=[TWO])
    assert all(isinstance(outcome, StoreFull) for outcome in outcomes)
    assert all("make room on its disk" in str(outcome) for outcome in outcomes)
    assert drops.tmp("alice", "bob", "carol") == []


@pytest.mark.parametrize("error", OTHERS[:3])
def test_a_maildrop_that_cannot_be_written_is_told_with_its_remedy(drops: Drops, error: int) -> None:
    drops.deliver(ONE, "alice")
    with Calls(drops.directory, failing(error, "open", path="tmp/")).watched():
        (outcome,) = drops.deliver(TWO, "alice")
    assert isinstance(outcome, MaildropUnavailable)
    assert not isinstance(outcome, StoreFull)
    remedy = {errno.EACCES: "must belong to uid", errno.EROFS: "writable", errno.EIO: "disk is sound"}[error]
    assert remedy in str(outcome)
    assert str(drops.root("alice")) in str(outcome)


def test_a_name_that_did_not_become_durable_is_taken_back(drops: Drops) -> None:
    quota = Quota(messages=5)
    drops.deliver(ONE, "alice", quota=quota)
    with Calls(drops.directory, failing(errno.EIO, "fsync", path="alice/Maildir/new")).watched():
        first, second = drops.deliver(TWO, "alice", "bob", quota=quota)
    assert isinstance(first, MaildropUnavailable)
    assert second is None
    assert drops.stored("alice") == [ONE]
    root = os.fsencode(drops.root("alice")) + b"/"
    assert maildirsize.glance(root, quota) == (1, len(ONE))


def test_a_discarded_message_is_never_delivered(drops: Drops) -> None:
    work = drops.spool("alice", "bob")
    work.write(ONE)
    assert len(drops.tmp("alice")) == 1
    work.discard()
    work.discard()
    outcomes = work.deliver(TWO, [drops.names.name(), drops.names.name()], b"new/")
    assert None not in outcomes
    assert drops.files("alice", "tmp", "new", "cur") == drops.files("bob") == []


def test_a_file_system_without_fsync_takes_messages_and_is_told_once(
    drops: Drops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_files, "_unable", {})
    with Calls(drops.directory, failing(errno.EINVAL, "fsync", path="")).watched():
        assert [drops.deliver(ONE, "alice", "bob") for _ in range(2)] == [[None, None]] * 2
    (note,) = store_files.unsynced()
    assert "lose new ones" in note


def test_over_quota_nothing_is_left(drops: Drops) -> None:
    for before in ((), (LARGE,)):
        (outcome,) = drops.deliver(ONE, "alice", quota=Quota(octets=10), before=before)
        assert isinstance(outcome, QuotaExceeded)
        assert "exceeds the quota of 10S" in str(outcome)
        assert drops.files("alice", "tmp", "new", "cur") == []


def test_errors_are_those_of_stores(drops: Drops) -> None:
    with Calls(drops.directory, failing(errno.EEXIST, "link", path="")).watched():
        (outcome,) = drops.deliver(ONE, "alice")
    assert isinstance(outcome, StoreError)


def test_a_second_full_disk_is_told_too_and_the_third_has_the_whole(drops: Drops) -> None:
    pieces = [0]

    def fault(_number: int, call: str, path: bytes) -> int | None:
        if call != "write" or b"/carol/" in path:
            return None
        pieces[0] += b"/alice/" in path
        return errno.ENOSPC if pieces[0] > 1 else None  # the first piece came

    with pytest.MonkeyPatch.context() as patch, Calls(drops.directory, fault).watched():
        patch.setattr(os, "copy_file_range", refused_copies)
        first, second, third = drops.deliver(LARGE[:99], "alice", "bob", "carol", before=[ONE])
    assert isinstance(first, StoreFull)
    assert isinstance(second, StoreFull)
    assert third is None
    assert drops.stored("carol") == [ONE + LARGE[:99]]
    assert drops.tmp("alice", "bob", "carol") == drops.files("alice") == drops.files("bob") == []


def refused_copies(*_: object) -> int:
    raise OSError(errno.EXDEV, "no")


def test_a_file_that_another_program_cut_is_not_copied(drops: Drops) -> None:
    work = drops.spool("alice", "alice")
    work.write(LARGE)
    (path,) = drops.tmp("alice")
    os.truncate(path, 99)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "copy_file_range", refused_copies)
        _, second = work.deliver(b"", [drops.names.name(), drops.names.name()], b"new/")
    assert isinstance(second, MaildropUnavailable)
    assert "made shorter" in str(second)


def test_only_so_many_maildrops_are_remembered(drops: Drops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "_REMEMBERED", 2)
    for _ in range(2):
        assert drops.deliver(ONE, "alice", "bob", "carol") == [None] * 3
    assert len(drops.making._made) <= 2
