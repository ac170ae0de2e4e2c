"""What comes back from the trash: what went there last, as it was, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailserver.store.maildir import keeping
from tests.store.maildir.test_journal import fill, messages
from tests.store.maildir.test_places import delete, lying, root

TRASH = b".Trash/cur/"


@pytest.fixture
def maildrop(tmp_path: Path) -> Path:
    fill(tmp_path)
    return tmp_path


def test_what_a_session_deleted_comes_back_and_the_trash_keeps_the_rest(
    maildrop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = messages(maildrop)
    delete(maildrop, "cur/3.c:2,", place=TRASH)
    monkeypatch.setattr(keeping, "_MOMENT", 0.0)
    delete(maildrop, "cur/2.b:2,S", place=TRASH)
    assert keeping.kept(root(maildrop), trash=True) == 1
    assert keeping.undelete(root(maildrop), trash=True) == 1
    assert messages(maildrop) == ["1.a", "2.b:2,S"]
    assert lying(maildrop, TRASH) == ["3.c:2,"]
    assert keeping.undelete(root(maildrop), trash=True) == 1
    assert (messages(maildrop), lying(maildrop, TRASH)) == (before, [])
    assert keeping.undelete(root(maildrop), trash=True) == 0


def test_without_the_setting_nobody_s_trash_is_touched(maildrop: Path) -> None:
    delete(maildrop, "new/1.a", place=TRASH)
    assert keeping.undelete(root(maildrop)) == keeping.kept(root(maildrop)) == 0
    assert len(lying(maildrop, TRASH)) == 1


def test_what_a_program_has_marked_for_deletion_is_marked_no_more_and_keeps_its_other_flags(maildrop: Path) -> None:
    path = maildrop / ".Trash/cur/1700000077.M1P1.h,S=2:2,FST"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x\n")
    keeping.undelete(root(maildrop), trash=True)
    assert (maildrop / "cur/1700000077.M1P1.h,S=2:2,FS").read_bytes() == b"x\n"


def test_a_crash_between_leaves_the_message_in_both_places_and_another_call_ends_it(maildrop: Path) -> None:
    delete(maildrop, "new/1.a", place=TRASH)
    (thrown,) = lying(maildrop, TRASH)
    (maildrop / "cur" / thrown).hardlink_to(maildrop / ".Trash/cur" / thrown)
    before = messages(maildrop)
    assert keeping.undelete(root(maildrop), trash=True) == 1
    assert messages(maildrop) == before
    assert lying(maildrop, TRASH) == []


def test_what_has_a_name_that_is_taken_gets_another(maildrop: Path) -> None:
    path = maildrop / ".Trash/cur/1700000077.M1P1.h:2,"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x\n")
    (maildrop / "cur/1700000077.M1P1.h:2,").write_bytes(b"y\n")
    keeping.undelete(root(maildrop), trash=True)
    assert (maildrop / "cur/1700000077.M1P1.h_1:2,").read_bytes() == b"x\n"


def test_the_names_are_durable_before_those_in_the_trash_go(maildrop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    delete(maildrop, "new/1.a", "cur/2.b:2,S", place=TRASH)
    calls: list[str] = []

    def noting(call: str) -> None:
        really = getattr(os, call)

        def noted(*arguments: object, **options: object) -> object:
            calls.append(call)
            return really(*arguments, **options)

        monkeypatch.setattr(os, call, noted)

    for each in ("link", "fsync", "unlink"):
        noting(each)
    assert keeping.undelete(root(maildrop), trash=True) == 2
    assert calls.index("unlink") > calls.index("fsync") > len(calls) - 1 - calls[::-1].index("link")
