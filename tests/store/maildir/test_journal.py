"""The journal, and commits that go wrong without a crash."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.errors import MaildropUnavailable, OutcomeUnknown
from mailserver.store.maildir import index, journal, locking, overwritten, promise, removal
from mailserver.store.maildir.promise import Kind
from mailserver.store.maildir.same import Target

NAMES = st.binary(min_size=1).filter(lambda name: not {0, 0x2F} & set(name) and name[0] != 0x2E).map(b"cur/".__add__)
NUMBERS = st.integers(0, 2**64 - 1)
TASKS = st.lists(st.builds(Target, NAMES, NUMBERS, NUMBERS, NUMBERS), min_size=1)


@pytest.fixture
def maildrop(tmp_path: Path) -> Path:
    fill(tmp_path)
    return tmp_path


def fill(path: Path) -> None:
    (path / "mailserver-lock").touch()
    for name in ("new", "cur"):
        (path / name).mkdir()
    for name in ("new/1.a", "cur/2.b:2,S", "cur/3.c:2,"):
        (path / name).write_bytes(b"x")


def root(path: Path) -> bytes:
    return os.fsencode(path) + b"/"


def messages(path: Path) -> list[str]:
    return sorted(file.name for directory in ("new", "cur") for file in (path / directory).iterdir())


def task(path: Path, *files: str) -> list[Target]:
    """To delete these, as a session listed them."""
    listed = [(file, (path / file).stat()) for file in files]
    return [Target(file.encode(), status.st_ino, status.st_size, time.time_ns()) for file, status in listed]


def commit(path: Path, *files: str, listed: list[Target] | None = None) -> removal.Removal:
    task_ = listed or task(path, *files)
    return journal.commit(root(path), task_, frozenset(), partial(locking.now, root(path)))


def recover(path: Path) -> list[str]:
    return journal.recover(root(path), partial(locking.now, root(path)))


@given(TASKS)
def test_what_was_written_is_read(promised: list[Target]) -> None:
    data = promise.encode(promised)
    assert promise.kind(data) is Kind.OURS
    assert promise.decode(data) == promised


@given(TASKS, st.integers(0), st.integers(1, 255))
def test_a_changed_octet_anywhere_is_never_taken_for_ours(promised: list[Target], position: int, change: int) -> None:
    data = bytearray(promise.encode(promised))
    data[position % len(data)] ^= change
    assert promise.kind(bytes(data)) is not Kind.OURS


@given(TASKS, st.integers(0))
def test_a_torn_journal_is_damage(promised: list[Target], length: int) -> None:
    data = promise.encode(promised)
    assert promise.kind(data[: length % len(data)]) is Kind.CORRUPT


def test_the_messages_are_deleted_and_no_trace_is_left(maildrop: Path) -> None:
    assert commit(maildrop, "new/1.a", "cur/3.c:2,") == (0, [])
    assert messages(maildrop) == ["2.b:2,S"]
    assert sorted(path.name for path in maildrop.iterdir()) == ["cur", "mailserver-lock", "new"]


def test_messages_are_deleted_wherever_they_are(maildrop: Path) -> None:
    listed = task(maildrop, "new/1.a", "cur/2.b:2,S", "cur/3.c:2,")
    (maildrop / "new/1.a").rename(maildrop / "cur/1.a:2,S")
    (maildrop / "cur/2.b:2,S").rename(maildrop / "new/2.b,S=1")
    (maildrop / "cur/3.c:2,").unlink()
    assert commit(maildrop, listed=listed) == (0, [])
    assert messages(maildrop) == []


def test_without_a_journal_nothing_is_to_be_done(maildrop: Path) -> None:
    assert recover(maildrop) == []
    assert len(messages(maildrop)) == 3


def test_a_damaged_journal_is_set_aside_and_told(maildrop: Path) -> None:
    for kept in (1, 2):
        (maildrop / "mailserver-journal").write_bytes(promise.encode(task(maildrop, "new/1.a"))[:-1])
        (told,) = recover(maildrop)
        assert "damaged" in told
        assert len(list(maildrop.glob("mailserver-journal.corrupt*"))) == kept
        assert not (maildrop / "mailserver-journal").exists()
    assert len(messages(maildrop)) == 3


@pytest.mark.parametrize("version", [b"2", b"5", b"10"])
@pytest.mark.parametrize("digest", [sha256(b"1.a").hexdigest().encode(), b"another"])
def test_a_journal_of_another_version_is_left_alone_and_told(maildrop: Path, version: bytes, digest: bytes) -> None:
    data = b"mailserver-journal " + version + b"\0" + digest + b"\x001.a"
    (maildrop / "mailserver-journal").write_bytes(data)
    with pytest.raises(MaildropUnavailable, match="another version"):
        recover(maildrop)
    assert (maildrop / "mailserver-journal").read_bytes() == data
    assert len(messages(maildrop)) == 3


def test_a_whole_journal_of_our_version_that_is_not_understood_is_left_alone(maildrop: Path) -> None:
    body = b"1 1 1 tmp/x"
    data = b"mailserver-journal 3\0" + sha256(body).hexdigest().encode() + b"\0" + body
    (maildrop / "mailserver-journal").write_bytes(data)
    with pytest.raises(MaildropUnavailable):
        recover(maildrop)


def first_version(*keys: bytes) -> bytes:
    body = b"\0".join(keys)
    return b"\0".join([b"mailserver-journal 1", sha256(body).hexdigest().encode(), body])


def test_a_journal_of_the_first_version_is_finished_where_its_names_mean_one_file(maildrop: Path) -> None:
    (maildrop / "new/4.d,S=1").write_bytes(b"x")
    (maildrop / "cur/4.d,S=2:2,").write_bytes(b"xy")
    os.link(maildrop / "new/1.a", maildrop / "cur/1.a:2,S")
    (maildrop / "mailserver-journal").write_bytes(first_version(b"1.a", b"3.c:", b"4.d,S=2:", b"9.z"))
    assert recover(maildrop) == ["finished the deletions of an earlier session: 3 of 3 files"]
    assert messages(maildrop) == ["2.b:2,S", "4.d,S=1"]


def test_a_name_of_the_first_version_that_could_mean_two_files_deletes_none(maildrop: Path) -> None:
    (maildrop / "cur/1.a:2,S").write_bytes(b"another")
    (maildrop / "mailserver-journal").write_bytes(first_version(b"1.a"))
    notes = recover(maildrop)
    assert "2 files could be" in notes[1]
    assert messages(maildrop) == ["1.a", "1.a:2,S", "2.b:2,S", "3.c:2,"]


def test_a_journal_of_ours_whose_version_was_damaged_is_no_first_version(maildrop: Path) -> None:
    data = promise.encode(task(maildrop, "new/1.a"))
    (maildrop / "mailserver-journal").write_bytes(data.replace(b"journal 3", b"journal 1", 1))
    assert "damaged" in recover(maildrop)[0]
    assert len(messages(maildrop)) == 3


def test_a_whole_journal_is_finished(maildrop: Path) -> None:
    (maildrop / "mailserver-journal").write_bytes(promise.encode(task(maildrop, "new/1.a", "cur/2.b:2,S")))
    assert recover(maildrop) == ["finished the deletions of an earlier session: 2 of 2 files"]
    assert messages(maildrop) == ["3.c:2,"]


def test_a_journal_is_durable_before_it_is_acted_on(maildrop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (maildrop / "mailserver-journal").write_bytes(promise.encode(task(maildrop, "new/1.a")))
    failing(monkeypatch, "fsync", errno.EIO, on=1)
    with pytest.raises(OSError, match="Input/output"):
        recover(maildrop)
    assert len(messages(maildrop)) == 3


def test_a_journal_that_cannot_be_written_deletes_nothing(maildrop: Path) -> None:
    (maildrop / "mailserver-journal.tmp").symlink_to(maildrop / "elsewhere")
    with pytest.raises(MaildropUnavailable, match="nothing was deleted"):
        commit(maildrop, "new/1.a")
    assert len(messages(maildrop)) == 3


def test_a_journal_that_cannot_be_withdrawn_leaves_the_outcome_open(maildrop: Path) -> None:
    (maildrop / "mailserver-journal").mkdir()
    with pytest.raises(OutcomeUnknown):
        commit(maildrop, "new/1.a")
    assert len(messages(maildrop)) == 3


def test_a_withdrawal_that_may_not_be_durable_leaves_the_outcome_open(
    maildrop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "fsync", errno.EIO, on={2, 3})
    with pytest.raises(OutcomeUnknown, match="cannot be withdrawn"):
        commit(maildrop, "new/1.a")
    assert len(messages(maildrop)) == 3


def test_a_failure_after_the_promise_leaves_it_to_the_next_login(
    maildrop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "fsync", errno.EIO, on=3)
    with pytest.raises(OutcomeUnknown, match="wait for the next login"):
        commit(maildrop, "new/1.a", "cur/3.c:2,")
    assert (maildrop / "mailserver-journal").exists()
    (maildrop / "new/4.d").write_bytes(b"x")
    assert recover(maildrop) == ["finished the deletions of an earlier session: 2 of 2 files"]
    assert messages(maildrop) == ["2.b:2,S", "4.d"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user, whom the directory refuses")
def test_what_may_not_be_removed_is_counted_and_kept() -> None:
    with TemporaryDirectory() as directory:
        fill(path := Path(directory))
        path.chmod(0o777)
        (path / "mailserver-lock").chmod(0o666)
        (path / "new").chmod(0o777)
        os.seteuid(65534)
        try:
            left, (told,) = commit(path, "new/1.a", "cur/2.b:2,S", "cur/3.c:2,")
        finally:
            os.seteuid(0)
        assert left == 2
        assert told == f"{path}/cur/2.b:2,S and 1 more cannot be removed: Permission denied"
        assert messages(path) == ["2.b:2,S", "3.c:2,"]
        assert not (path / "mailserver-journal").exists()


def failing(monkeypatch: pytest.MonkeyPatch, call: str, error: int, on: int | set[int]) -> None:
    """Let call number `on` of this system call fail."""
    fail = on if isinstance(on, set) else {on}
    function = getattr(os, call)
    calls = iter(range(1, 1000))

    def sometimes(*arguments: object, **options: object) -> object:
        if next(calls) in fail:
            raise OSError(error, os.strerror(error))
        return function(*arguments, **options)

    monkeypatch.setattr(os, call, sometimes)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("size", [10, 10_000])
def test_on_a_full_disk_the_promise_lies_over_the_index(
    maildrop: Path, monkeypatch: pytest.MonkeyPatch, error: int, size: int
) -> None:
    (maildrop / "mailserver-index").write_bytes(b"i" * size)
    failing(monkeypatch, "write", error, on=1)
    unlink, promised = os.unlink, []

    def watched(path: bytes) -> None:
        if path.endswith(b"/1.a"):
            promised.append((maildrop / "mailserver-index").read_bytes())
        unlink(path)

    monkeypatch.setattr(os, "unlink", watched)
    assert commit(maildrop, "new/1.a") == (0, [])
    assert messages(maildrop) == ["2.b:2,S", "3.c:2,"]
    (lay,) = promised
    assert lay.startswith(b"mailserver-journal 3\0")
    assert len(lay) != size  # whoever remembers the index sees that it is another
    assert recover(maildrop) == []  # it was made an end of
    assert (maildrop / "mailserver-index").stat().st_blocks  # and can hold the next
    assert not list(maildrop.glob("mailserver-journal*"))


def test_a_promise_exactly_as_long_as_the_index_makes_it_longer(maildrop: Path) -> None:
    data = promise.encode(task(maildrop, "new/1.a"))
    (maildrop / "mailserver-index").write_bytes(bytes(len(data) + 2))
    assert overwritten.write(root(maildrop), data)
    assert (maildrop / "mailserver-index").stat().st_size == len(data) + 3
    assert overwritten.read(root(maildrop)) == data


@pytest.mark.parametrize("length", [10, 30, -3])
def test_half_a_promise_over_the_index_is_none(maildrop: Path, length: int) -> None:
    data = promise.encode(task(maildrop, "new/1.a"))
    (maildrop / "mailserver-index").write_bytes(data[:length] + b"i" * 1000)
    assert recover(maildrop) == []
    assert len(messages(maildrop)) == 3


def test_an_index_that_cannot_be_read_is_made_an_end_of(maildrop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (maildrop / "mailserver-index").write_bytes(promise.encode(task(maildrop, "new/1.a")))
    failing(monkeypatch, "read", errno.EIO, on=1)
    assert recover(maildrop) == []
    assert recover(maildrop) == []
    assert len(messages(maildrop)) == 3


def test_an_index_for_which_there_is_no_descriptor_may_be_a_promise(
    maildrop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (maildrop / "mailserver-index").write_bytes(promise.encode(task(maildrop, "new/1.a")))
    failing(monkeypatch, "open", errno.EMFILE, on=2)
    with pytest.raises(OSError, match="Too many"):
        recover(maildrop)
    assert recover(maildrop) == ["finished the deletions of an earlier session: 1 of 1 files"]


def test_an_index_that_finds_no_room_takes_none(maildrop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "write", errno.ENOSPC, on=1)
    with pytest.raises(OSError, match="No space left"):
        index.write(root(maildrop), index.encode([], 0, 0))
    assert sorted(path.name for path in maildrop.iterdir()) == ["cur", "mailserver-lock", "new"]


def shared(path: Path) -> None:
    path.write_bytes(b"i" * 1000)
    path.with_name("backup").hardlink_to(path)


@pytest.mark.parametrize("index_is", [lambda _: None, Path.mkdir, os.mkfifo, shared])
def test_on_a_full_disk_without_an_index_messages_are_deleted_one_by_one(
    maildrop: Path, monkeypatch: pytest.MonkeyPatch, index_is: Callable[[Path], object]
) -> None:
    index_is(maildrop / "mailserver-index")
    failing(monkeypatch, "write", errno.ENOSPC, on=1)
    left, (told,) = commit(maildrop, "new/1.a", "cur/3.c:2,")
    assert left == 0
    assert "one by one" in told
    assert messages(maildrop) == ["2.b:2,S"]
    assert not list(maildrop.glob("mailserver-journal*"))


def test_on_a_full_disk_with_an_index_that_takes_no_more_messages_are_deleted_one_by_one(
    maildrop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (maildrop / "mailserver-index").write_bytes(b"i")
    failing(monkeypatch, "write", errno.ENOSPC, on={1, 2})
    left, (told,) = commit(maildrop, "new/1.a")
    assert left == 0
    assert "one by one" in told


def test_deletions_on_a_full_disk_that_fail_are_not_said_to_be_promised(
    maildrop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "write", errno.ENOSPC, on=1)
    failing(monkeypatch, "fsync", errno.EIO, on=1)
    with pytest.raises(OutcomeUnknown, match="not promised"):
        commit(maildrop, "new/1.a")


@pytest.mark.parametrize("failed", [{1}, {1, 2}])
def test_a_promise_over_the_index_that_is_not_durable_is_withdrawn(
    maildrop: Path, monkeypatch: pytest.MonkeyPatch, failed: set[int]
) -> None:
    (maildrop / "mailserver-index").write_bytes(b"i" * 1000)
    failing(monkeypatch, "write", errno.ENOSPC, on=1)
    failing(monkeypatch, "fsync", errno.EIO, on=failed)
    with pytest.raises(MaildropUnavailable if len(failed) == 1 else OutcomeUnknown):
        commit(maildrop, "new/1.a")
    assert len(messages(maildrop)) == 3


@pytest.mark.parametrize("call", [1, 2])
def test_a_promise_that_is_not_durable_is_withdrawn(maildrop: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    failing(monkeypatch, "fsync", errno.EIO, on=call)
    with pytest.raises(MaildropUnavailable):
        commit(maildrop, "new/1.a")
    assert len(messages(maildrop)) == 3
    assert sorted(path.name for path in maildrop.iterdir()) == ["cur", "mailserver-lock", "new"]


@pytest.mark.parametrize("call", [3, 4, 5])
def test_deletions_that_are_not_durable_leave_the_outcome_open(
    maildrop: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    failing(monkeypatch, "fsync", errno.EIO, on=call)
    with pytest.raises(OutcomeUnknown):
        commit(maildrop, "new/1.a")
    assert messages(maildrop) == ["2.b:2,S", "3.c:2,"]


def test_a_file_that_moves_under_the_commit_is_followed(maildrop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink = os.unlink

    def late(path: bytes) -> None:
        if path.endswith(b"/1.a"):
            (maildrop / "new" / "1.a").rename(maildrop / "cur" / "1.a:2,S")
        unlink(path)

    monkeypatch.setattr(os, "unlink", late)
    assert commit(maildrop, "new/1.a") == (0, [])
    assert messages(maildrop) == ["2.b:2,S", "3.c:2,"]


def test_a_maildrop_that_never_rests_leaves_the_outcome_open(maildrop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink = os.unlink

    def again(path: bytes) -> None:
        if b"1.a" in path:
            Path(os.fsdecode(path)).rename(maildrop / "cur" / f"1.a:2,{next(flags)}")
        unlink(path)

    flags = map(str, count())
    monkeypatch.setattr(os, "unlink", again)
    with pytest.raises(OutcomeUnknown, match="faster"):
        commit(maildrop, "new/1.a")


def test_on_a_file_system_that_became_read_only_nothing_is_deleted(
    maildrop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "open", errno.EROFS, on=1)
    failing(monkeypatch, "unlink", errno.EROFS, on=2)
    with pytest.raises(MaildropUnavailable):
        commit(maildrop, "new/1.a")
    assert len(messages(maildrop)) == 3
