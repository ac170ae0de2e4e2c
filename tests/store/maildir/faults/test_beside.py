"""What goes on beside whoever looks at a maildrop or mends it: sessions, deliveries, mail programs, another repair."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mailserver.errors import MaildropInUse
from mailserver.interfaces import Quota
from mailserver.store.maildir import maildirsize
from mailserver.store.maildir.counting import count
from mailserver.store.maildir.faults import examine, frame, records
from mailserver.store.maildir.faults.fault import Fault
from mailserver.store.maildir.faults.files import Files
from mailserver.store.maildir.foreign import dotlock
from mailserver.store.maildir.locking import holds, lock, signature
from tests.store.maildir.crash import clock
from tests.store.maildir.faults.broken import OLD, Maildrop
from tests.store.maildir.faults.test_kinds import NAMES, half, promised, returning


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examine, "_PAUSE", 0)
    monkeypatch.setattr(dotlock, "_YOUNG", -1)


@pytest.fixture
def maildrop(tmp_path: Path) -> Maildrop:
    return Maildrop(tmp_path / "Maildir", NAMES)


def mending(maildrop: Maildrop, kind: str) -> Callable[[], object]:
    """The act that mends the fault of this kind, which is there."""
    faults: list[Fault] = [each for each in examine._faults(maildrop.root, None, time.time_ns) if each.kind == kind]
    (fault,) = faults
    assert fault.mend is not None
    return fault.mend


def test_who_looks_beside_a_session_does_not_take_its_journal_for_a_crash_s(maildrop: Maildrop) -> None:
    maildrop.log_in()
    maildrop.promise(NAMES[0])
    held = lock(maildrop.root, signature() + "pop3 127.0.0.1 x")
    assert maildrop.kinds() == []
    with pytest.raises(MaildropInUse):
        maildrop.repair()
    os.close(held)
    assert maildrop.kinds() == ["journal"]


def test_an_undelete_that_goes_on_is_not_taken_for_one_that_was_interrupted(maildrop: Maildrop) -> None:
    maildrop.log_in()
    returning(maildrop)
    held = lock(maildrop.root, signature() + "maildrop")
    assert maildrop.kinds() == []
    os.close(held)
    assert maildrop.kinds() == ["undelete"]


def test_a_session_that_begins_between_the_looks_counts_too(
    maildrop: Maildrop, monkeypatch: pytest.MonkeyPatch
) -> None:
    promised(maildrop)
    held: list[int] = []
    monkeypatch.setattr(examine.time, "sleep", lambda _: held.append(lock(maildrop.root, signature() + "pop3 x y")))
    assert maildrop.kinds() == []
    os.close(*held)


def test_a_message_that_came_before_the_index_was_written_is_not_missing_in_the_files(maildrop: Maildrop) -> None:
    maildrop.settle()
    files = Files(maildrop.root)
    maildrop.put("new/1700000009.M1P1.h")
    os.utime(maildrop.path / "new", (OLD + 9, OLD + 9))
    maildrop.log_in()
    assert list(records.faults(maildrop.root, files, clock)) == []


def test_the_sum_is_not_compared_with_what_comes_meanwhile(maildrop: Maildrop, monkeypatch: pytest.MonkeyPatch) -> None:
    maildirsize.usage(maildrop.root, Quota(octets=10_000))

    def beside_deliveries(root: bytes) -> object:
        maildirsize.charge(root, Quota(octets=10_000), 12, lambda: maildrop.put(f"new/{time.time_ns()}.M1P1.h"))
        return count(root)

    monkeypatch.setattr(records, "count", beside_deliveries)
    assert maildrop.kinds() == []


def test_what_is_left_is_looked_at_twice_too(maildrop: Maildrop, monkeypatch: pytest.MonkeyPatch) -> None:
    path = maildrop.put("new/1700000008.M1P1.h", b"\x1f\x8b nonsense")
    monkeypatch.setattr(examine.time, "sleep", lambda _: path.unlink())
    assert maildrop.repair() == ([], [])


def test_a_lock_that_another_repair_has_made_meanwhile_stays_in_its_place(maildrop: Maildrop) -> None:
    """It would be two locks, and two sessions."""
    path = maildrop.path / "mailserver-lock"
    path.mkdir()
    (fault,) = frame.of_locks(maildrop.root)
    path.rmdir()
    held = lock(maildrop.root, signature() + "repair")
    assert fault.mend is not None
    fault.mend()
    assert holds(held, maildrop.root)
    os.close(held)


def test_a_lock_of_dovecot_s_that_has_a_holder_again_is_not_removed(
    maildrop: Maildrop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dotlock, "_STALE", -1)
    half("dovecot-uidlist.lock")(maildrop)
    mend = mending(maildrop, "left")
    monkeypatch.setattr(dotlock, "_STALE", 120)
    path = maildrop.put("dovecot-uidlist.lock", b"another's")
    mend()
    assert path.exists()


def test_what_is_wrong_for_a_moment_only_is_not_told(maildrop: Maildrop, monkeypatch: pytest.MonkeyPatch) -> None:
    path = maildrop.put("new/1700000005.M1P1.h,S=3", b"four")
    monkeypatch.setattr(examine.time, "sleep", lambda _: path.rename(path.with_name("1700000007.M1P1.h,S=3")))
    maildrop.put("cur/1700000006.M1P1.h,S=3:2,", b"four")
    assert [each.file for each in maildrop.verify()] == ["cur/1700000006.M1P1.h,S=3:2,"]


def test_what_is_a_copy_no_more_is_not_removed(maildrop: Maildrop) -> None:
    copy = maildrop.put("cur/1700000001.M1P1.h:2,S", b"Subject: 0\n\nmessage 0\r\n")
    mend = mending(maildrop, "copy")
    copy.write_bytes(b"Subject: 0\n\nmessage 9\r\n")
    before = maildrop.stored()
    mend()
    assert maildrop.stored() == before


def test_the_last_of_two_copies_is_not_removed(maildrop: Maildrop) -> None:
    maildrop.put("cur/1700000001.M1P1.h:2,S", b"Subject: 0\n\nmessage 0\r\n")
    mend = mending(maildrop, "copy")
    (maildrop.path / "cur/1700000001.M1P1.h:2,S").unlink()
    before = maildrop.stored()
    mend()
    assert maildrop.stored() == before


def test_a_name_that_came_meanwhile_is_not_overwritten(maildrop: Maildrop) -> None:
    maildrop.put("new/1700000005.M1P1.h,S=3", b"four")
    mend = mending(maildrop, "sizes")
    maildrop.put("new/1700000005.M1P1.h", b"another")
    before = maildrop.stored()
    mend()
    assert maildrop.stored() == before
