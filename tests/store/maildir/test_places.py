"""Where deleted messages lie: names and flags there, what other programs make of it, and odd maildrops."""

from __future__ import annotations

import errno
import os
import time
from hashlib import sha256
from pathlib import Path

import pytest

from mailserver.errors import MaildropUnavailable
from mailserver.incoming import Usage
from mailserver.interfaces import Quota
from mailserver.store.deleting import EXPUNGE, Deleting, read_deleting
from mailserver.store.maildir import journal, keeping, maildirsize, places, promise, removal
from tests.store.maildir.test_journal import commit, fill, messages, root, task

KEEP = b"mailserver-kept/1800000000000000000-7/"


@pytest.fixture
def maildrop(tmp_path: Path) -> Path:
    fill(tmp_path)
    return tmp_path


def delete(path: Path, *files: str, place: bytes = KEEP) -> removal.Removal:
    where = root(path)
    return journal.commit(where, task(path, *files), frozenset(), time.time_ns, place)


def lying(path: Path, place: bytes = KEEP) -> list[str]:
    return sorted(file.name for file in (path / os.fsdecode(place)).iterdir())


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("expunge", EXPUNGE),
        ("trash", Deleting("trash", 30)),
        ("trash 14 days", Deleting("trash", 14)),
        ("keep 1 day", Deleting("keep", 1)),
        ("keep 7 days", Deleting("keep", 7)),
    ],
)
def test_the_setting_is_read(text: str, meaning: Deleting) -> None:
    assert read_deleting(text) == meaning


@pytest.mark.parametrize(
    "text", ["", "keep", "keep 0 days", "keep 3651 days", "keep -1 days", "Trash", "trash 99999 days"]
)
def test_a_setting_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="days"):
        read_deleting(text)


def test_the_trash_is_a_folder_of_maildir_plus_plus(maildrop: Path) -> None:
    assert delete(maildrop, "new/1.a", "cur/2.b:2,S", place=places.TRASH) == (0, [])
    assert messages(maildrop) == ["3.c:2,"]
    assert sorted(path.name for path in (maildrop / ".Trash").iterdir()) == ["cur", "maildirfolder", "new", "tmp"]
    assert lying(maildrop, places.TRASH) == ["1.a:2,", "2.b:2,S"], "in cur a name has flags; none is added"
    assert (maildrop / ".Trash").stat().st_mode & 0o777 == 0o700


def test_a_trash_of_another_program_stays_as_it_is(maildrop: Path) -> None:
    (maildrop / ".Trash" / "cur").mkdir(parents=True)
    (maildrop / ".Trash" / "maildirfolder").write_bytes(b"theirs")
    assert delete(maildrop, "new/1.a", place=places.TRASH).left == 0
    assert (maildrop / ".Trash" / "maildirfolder").read_bytes() == b"theirs"


def test_what_is_kept_keeps_its_name(maildrop: Path) -> None:
    assert delete(maildrop, "new/1.a", "cur/2.b:2,S") == (0, [])
    assert lying(maildrop) == ["1.a", "2.b:2,S"]
    assert keeping.undelete(root(maildrop)) == 2
    assert (maildrop / "new/1.a").exists()
    assert (maildrop / "cur/2.b:2,S").exists()


def test_a_file_is_not_copied(maildrop: Path) -> None:
    inode = (maildrop / "new/1.a").stat().st_ino
    delete(maildrop, "new/1.a")
    assert (maildrop / os.fsdecode(KEEP) / "1.a").stat().st_ino == inode


def test_a_file_system_without_links_moves_it(maildrop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    assert delete(maildrop, "new/1.a", "cur/2.b:2,S") == (0, [])
    assert lying(maildrop) == ["1.a", "2.b:2,S"]
    assert keeping.undelete(root(maildrop)) == 2
    assert messages(maildrop) == ["1.a", "2.b:2,S", "3.c:2,"]


@pytest.mark.parametrize("call", ["link", "mkdir"])
def test_what_cannot_be_kept_is_not_deleted(maildrop: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    left, notes = delete(maildrop, "new/1.a", "cur/2.b:2,S")
    assert left == 2
    assert "No space left" in notes[0]
    assert messages(maildrop) == ["1.a", "2.b:2,S", "3.c:2,"]
    assert not (maildrop / "mailserver-journal").exists(), "the next login is not in its way"


def test_two_files_of_one_name_are_both_kept(maildrop: Path) -> None:
    (maildrop / "new/9.x").write_bytes(b"one")
    (maildrop / "cur/9.x").write_bytes(b"other")
    assert delete(maildrop, "new/9.x", "cur/9.x").left == 0
    assert lying(maildrop) == ["9.x", "9.x_1"]
    assert keeping.undelete(root(maildrop)) == 2
    assert sorted((maildrop / "new" / name).read_bytes() for name in ("9.x", "9.x_1")) == [b"one", b"other"]


def test_the_last_session_stays_the_last_when_the_clock_goes_back(maildrop: Path) -> None:
    later = places.place_for(Deleting("keep", 7), root(maildrop), lambda: 2_000)
    delete(maildrop, "new/1.a", place=later)
    earlier = places.place_for(Deleting("keep", 7), root(maildrop), lambda: 1_000)
    delete(maildrop, "cur/2.b:2,S", place=earlier)
    keeping.undelete(root(maildrop))
    assert messages(maildrop) == ["2.b:2,S", "3.c:2,"]


@pytest.mark.parametrize(
    "place", [b"../", b"new/", b".Trash/cur", b"mailserver-kept/../../", b"mailserver-kept/x-1/", b""]
)
def test_a_journal_leads_to_no_other_place(maildrop: Path, place: bytes) -> None:
    body = b"\0".join([place, b"%d 1 0 new/1.a" % (maildrop / "new/1.a").stat().st_ino])
    digest = sha256(body).hexdigest().encode()
    (maildrop / "mailserver-journal").write_bytes(b"\0".join([b"mailserver-journal 4", digest, body]))
    with pytest.raises(MaildropUnavailable, match="another version"):
        journal.recover(root(maildrop), time.time_ns)
    assert len(messages(maildrop)) == 3


def test_a_promise_to_keep_is_read_as_it_was_written(maildrop: Path) -> None:
    targets = task(maildrop, "new/1.a")
    data = promise.encode(targets, KEEP)
    assert promise.kind(data) is promise.Kind.OURS
    assert (promise.decode(data), promise.place(data)) == (targets, KEEP)
    assert promise.place(promise.encode(targets)) == b""


def test_without_a_place_the_journal_is_as_before(maildrop: Path) -> None:
    assert promise.encode(task(maildrop, "new/1.a")).startswith(b"mailserver-journal 3\0")
    assert commit(maildrop, "new/1.a").left == 0
    assert sorted(path.name for path in maildrop.iterdir()) == ["cur", "mailserver-lock", "new"]


def test_what_is_no_kept_session_is_left_alone(maildrop: Path) -> None:
    delete(maildrop, "new/1.a")
    (maildrop / "mailserver-kept" / "notes").mkdir()
    keeping.tidy(root(maildrop), 3e9, 0, 1)
    assert sorted(path.name for path in (maildrop / "mailserver-kept").iterdir()) == ["notes"]


def test_the_trash_is_tidied_by_the_time_of_the_move(maildrop: Path) -> None:
    delete(maildrop, "new/1.a", place=places.TRASH)  # by its name it came in 1970
    now = time.time()
    keeping.tidy(root(maildrop), now, 30, None)
    assert lying(maildrop, places.TRASH) == ["1.a:2,"]
    keeping.tidy(root(maildrop), now + 31 * 86_400, 30, None)
    assert lying(maildrop, places.TRASH) == []


def test_a_number_in_a_name_is_no_age_in_the_trash(maildrop: Path) -> None:
    old = f"{int(time.time()) - 9 * 86_400}.M1P1.h"
    (maildrop / "new" / old).write_bytes(b"x")
    delete(maildrop, "new/1.a", f"new/{old}", place=places.TRASH)
    keeping.tidy(root(maildrop), time.time(), 30, 7)
    assert lying(maildrop, places.TRASH) == ["1.a:2,"]


def test_a_time_before_there_was_mail_is_no_age_in_the_trash(maildrop: Path) -> None:
    (maildrop / "new" / "plain").write_bytes(b"x")
    os.utime(maildrop / "new" / "plain", (0, 0))  # as a restored backup without times
    delete(maildrop, "new/plain", place=places.TRASH)
    keeping.tidy(root(maildrop), time.time(), 30, 7)
    assert lying(maildrop, places.TRASH) == ["plain:2,"]


def test_what_a_user_wants_back_is_not_removed_when_its_days_are_over(maildrop: Path) -> None:
    delete(maildrop, "new/1.a")
    (maildrop / os.fsdecode(KEEP)).rename(maildrop / "mailserver-kept/undelete-1800000000000000000-7")  # and a crash
    keeping.tidy(root(maildrop), 3e9, 0, 1)
    assert keeping.undelete(root(maildrop)) == 1
    assert len(messages(maildrop)) == 3


def test_what_comes_back_counts_for_the_quota(maildrop: Path) -> None:
    quota = Quota(octets=1000)
    delete(maildrop, "new/1.a")
    (maildrop / "tmp").mkdir()
    assert maildirsize.usage(root(maildrop), quota) == Usage(2, 2)
    assert keeping.undelete(root(maildrop)) == 1
    assert maildirsize.usage(root(maildrop), quota) == Usage(3, 3)


def test_what_another_session_had_promised_counts_no_more(maildrop: Path) -> None:
    quota = Quota(octets=1000)
    (maildrop / "tmp").mkdir()
    assert maildirsize.usage(root(maildrop), quota) == Usage(3, 3)
    (maildrop / "mailserver-journal").write_bytes(promise.encode(task(maildrop, "new/1.a")))
    journal.recover(root(maildrop), time.time_ns)
    assert maildirsize.usage(root(maildrop), quota) == Usage(2, 2)


def test_without_the_mode_the_trash_is_nobody_s_affair(maildrop: Path) -> None:
    delete(maildrop, "new/1.a", place=places.TRASH)
    keeping.tidy(root(maildrop), time.time() + 999 * 86_400, 0, 1)
    assert lying(maildrop, places.TRASH) == ["1.a:2,"]


def test_a_trash_that_is_a_file_keeps_the_messages(maildrop: Path) -> None:
    (maildrop / ".Trash").write_bytes(b"")
    left, notes = delete(maildrop, "new/1.a", place=places.TRASH)
    assert left == 1
    assert ".Trash" in notes[0]
    assert len(messages(maildrop)) == 3
