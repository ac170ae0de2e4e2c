"""The journal, and commits that go wrong without a crash."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.errors import MaildropUnavailable, OutcomeUnknown
from mailserver.store import journal

KEYS = st.sets(st.binary(min_size=1).filter(lambda key: b"\0" not in key), min_size=1)


@pytest.fixture
def maildrop(tmp_path: Path) -> Path:
    for name in ("new", "cur"):
        (tmp_path / name).mkdir()
    for name in ("new/1.a", "cur/2.b:2,S", "cur/3.c:2,"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


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


def in_a_child(work: object) -> None:
    """Where limits and identities may be changed; its exception is ours."""
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user, whom the directory refuses")
def test_what_may_not_be_removed_is_counted_and_kept(maildrop: Path) -> None:
    (maildrop / "cur").chmod(0o755)
    maildrop.chmod(0o777)
    (maildrop / "new").chmod(0o777)
    for parent in maildrop.parents:
        if parent.stat().st_uid == os.geteuid() and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o011)

    def work() -> None:
        os.seteuid(65534)
        assert journal.commit(root(maildrop), {b"1.a", b"2.b", b"3.c"}) == 2

    in_a_child(work)
    assert messages(maildrop) == ["2.b:2,S", "3.c:2,"]
    assert not (maildrop / "mailserver-journal").exists()
