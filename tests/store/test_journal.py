"""The journal, and commits that go wrong without a crash."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.errors import MaildropUnavailable, OutcomeUnknown
from mailserver.store import index, journal

KEYS = st.sets(st.binary(min_size=1).filter(lambda key: b"\0" not in key), min_size=1)


@pytest.fixture
def maildrop(tmp_path: Path) -> Path:
    fill(tmp_path)
    return tmp_path


def fill(path: Path) -> None:
    for name in ("new", "cur"):
        (path / name).mkdir()
    for name in ("new/1.a", "cur/2.b:2,S", "cur/3.c:2,"):
        (path / name).write_bytes(b"x")


def root(path: Path) -> bytes:
    return os.fsencode(path) + b"/"


def messages(path: Path) -> list[str]:
    return sorted(file.name for directory in ("new", "cur") for file in (path / directory).iterdir())


@given(KEYS)
def test_what_was_written_is_read(keys: set[bytes]) -> None:
    assert journal.decode(journal.encode(keys)) == keys


@given(KEYS, st.integers(0), st.integers(1, 255))
def test_a_changed_octet_anywhere_is_damage(keys: set[bytes], position: int, change: int) -> None:
    data = bytearray(journal.encode(keys))
    data[position % len(data)] ^= change
    assert journal.decode(bytes(data)) is None


@given(KEYS, st.integers(0))
def test_a_torn_journal_is_damage(keys: set[bytes], length: int) -> None:
    data = journal.encode(keys)
    assert journal.decode(data[: length % len(data)]) is None


def test_messages_are_deleted_by_their_keys_wherever_they_are(maildrop: Path) -> None:
    assert journal.commit(root(maildrop), {b"1.a", b"3.c:", b"9.z"}) == 0
    assert messages(maildrop) == ["2.b:2,S"]
    assert sorted(path.name for path in maildrop.iterdir()) == ["cur", "new"]


def test_without_a_journal_nothing_is_to_be_done(maildrop: Path) -> None:
    assert journal.recover(root(maildrop)) is None
    assert len(messages(maildrop)) == 3


def test_a_torn_journal_promised_nothing(maildrop: Path) -> None:
    (maildrop / "mailserver-journal").write_bytes(journal.encode({b"1.a"})[:-1])
    assert journal.recover(root(maildrop)) is None
    assert len(messages(maildrop)) == 3
    assert not (maildrop / "mailserver-journal").exists()


def test_a_whole_journal_is_finished(maildrop: Path) -> None:
    (maildrop / "mailserver-journal").write_bytes(journal.encode({b"1.a", b"2.b"}))
    assert journal.recover(root(maildrop)) == 0
    assert messages(maildrop) == ["3.c:2,"]


def test_a_journal_that_cannot_be_written_deletes_nothing(maildrop: Path) -> None:
    (maildrop / "mailserver-journal.tmp").symlink_to(maildrop / "elsewhere")
    with pytest.raises(MaildropUnavailable, match="nothing was deleted"):
        journal.commit(root(maildrop), {b"1.a"})
    assert len(messages(maildrop)) == 3


def test_a_journal_that_cannot_be_withdrawn_leaves_the_outcome_open(maildrop: Path) -> None:
    (maildrop / "mailserver-journal").mkdir()
    with pytest.raises(OutcomeUnknown):
        journal.commit(root(maildrop), {b"1.a"})
    assert len(messages(maildrop)) == 3


def test_a_failure_after_the_promise_leaves_it_to_the_next_login(maildrop: Path) -> None:
    (maildrop / "new").rename(maildrop / "away")
    with pytest.raises(OutcomeUnknown, match="wait for the next login"):
        journal.commit(root(maildrop), {b"1.a", b"3.c"})
    assert (maildrop / "mailserver-journal").exists()
    (maildrop / "away").rename(maildrop / "new")
    assert journal.recover(root(maildrop)) == 0
    assert messages(maildrop) == ["2.b:2,S"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user, whom the directory refuses")
def test_what_may_not_be_removed_is_counted_and_kept() -> None:
    with TemporaryDirectory() as directory:
        fill(path := Path(directory))
        path.chmod(0o777)
        (path / "new").chmod(0o777)
        os.seteuid(65534)
        try:
            left = journal.commit(root(path), {b"1.a", b"2.b", b"3.c"})
        finally:
            os.seteuid(0)
        assert left == 2
        assert messages(path) == ["2.b:2,S", "3.c:2,"]
        assert not (path / "mailserver-journal").exists()


def failing(monkeypatch: pytest.MonkeyPatch, call: str, error: int, on: int) -> None:
    """Let call number `on` of this system call fail."""
    function = getattr(os, call)
    calls = iter(range(1, 1000))

    def sometimes(*arguments: object) -> object:
        if next(calls) == on:
            raise OSError(error, os.strerror(error))
        return function(*arguments)

    monkeypatch.setattr(os, call, sometimes)


@pytest.mark.parametrize("name", ["mailserver-index", "mailserver-index.tmp"])
def test_on_a_full_disk_the_index_makes_room(maildrop: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (maildrop / name).write_bytes(b"a cache")
    failing(monkeypatch, "write", errno.ENOSPC, on=1)
    assert journal.commit(root(maildrop), {b"1.a"}) == 0
    assert messages(maildrop) == ["2.b:2,S", "3.c:2,"]
    assert not (maildrop / name).exists()


def test_an_index_that_finds_no_room_takes_none(maildrop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "write", errno.ENOSPC, on=1)
    with pytest.raises(OSError, match="No space left"):
        index.write(root(maildrop), index.encode([], 0, 0))
    assert sorted(path.name for path in maildrop.iterdir()) == ["cur", "new"]


def test_on_a_full_disk_without_an_index_nothing_is_deleted(maildrop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "write", errno.ENOSPC, on=1)
    with pytest.raises(MaildropUnavailable):
        journal.commit(root(maildrop), {b"1.a"})
    assert len(messages(maildrop)) == 3
    assert sorted(path.name for path in maildrop.iterdir()) == ["cur", "new"]


@pytest.mark.parametrize("call", [1, 2])
def test_a_promise_that_is_not_durable_is_withdrawn(maildrop: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    failing(monkeypatch, "fsync", errno.EIO, on=call)
    with pytest.raises(MaildropUnavailable):
        journal.commit(root(maildrop), {b"1.a"})
    assert len(messages(maildrop)) == 3
    assert sorted(path.name for path in maildrop.iterdir()) == ["cur", "new"]


@pytest.mark.parametrize("call", [3, 4, 5])
def test_deletions_that_are_not_durable_leave_the_outcome_open(
    maildrop: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    failing(monkeypatch, "fsync", errno.EIO, on=call)
    with pytest.raises(OutcomeUnknown):
        journal.commit(root(maildrop), {b"1.a"})
    assert messages(maildrop) == ["2.b:2,S", "3.c:2,"]


def test_a_file_that_moves_under_the_commit_is_followed(maildrop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink = os.unlink

    def late(path: bytes) -> None:
        if path.endswith(b"/1.a"):
            (maildrop / "new" / "1.a").rename(maildrop / "cur" / "1.a:2,S")
        unlink(path)

    monkeypatch.setattr(os, "unlink", late)
    assert journal.commit(root(maildrop), {b"1.a"}) == 0
    assert messages(maildrop) == ["2.b:2,S", "3.c:2,"]


def test_a_maildrop_that_never_rests_leaves_the_outcome_open(maildrop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink = os.unlink

    def again(path: bytes) -> None:
        unlink(path)
        Path(os.fsdecode(path)).write_bytes(b"x")

    monkeypatch.setattr(os, "unlink", again)
    with pytest.raises(OutcomeUnknown, match="faster"):
        journal.commit(root(maildrop), {b"1.a"})


def test_on_a_file_system_that_became_read_only_nothing_is_deleted(
    maildrop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "open", errno.EROFS, on=1)
    failing(monkeypatch, "unlink", errno.EROFS, on=2)
    with pytest.raises(MaildropUnavailable):
        journal.commit(root(maildrop), {b"1.a"})
    assert len(messages(maildrop)) == 3
