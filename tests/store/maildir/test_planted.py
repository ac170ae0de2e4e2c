"""What a user with a shell may plant in the own maildrop: links that lead elsewhere, and things of another kind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mailserver.store.maildir import journal, keeping, places
from tests.store.maildir.spools import Drops
from tests.store.maildir.test_journal import fill, messages, root, task

KEEP = b"mailserver-kept/1700000000000000000-7/"


@pytest.fixture
def maildrop(tmp_path: Path) -> Path:
    path = tmp_path / "maildrop"
    path.mkdir()
    fill(path)
    return path


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """Another user's directory, with what looks like deleted messages, and like messages."""
    path = tmp_path / "others"
    for name in ("1600000000000000000-7/secret", "cur/secret", "new/secret"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"Subject: secret\r\n\r\n")
    return path


def tree(path: Path) -> list[str]:
    return sorted(str(each.relative_to(path)) for each in path.rglob("*"))


@pytest.mark.parametrize("planted", ["mailserver-kept", "mailserver-kept/1600000000000000000-7"])
def test_what_others_have_deleted_is_neither_brought_back_nor_removed(
    maildrop: Path, others: Path, planted: str
) -> None:
    before, mine = tree(others), messages(maildrop)
    target = others if planted == "mailserver-kept" else others / "cur"
    (maildrop / planted).parent.mkdir(exist_ok=True)
    (maildrop / planted).symlink_to(target)
    for act in (keeping.kept, keeping.undelete, lambda path: keeping.tidy(path, time.time(), 30, 1)):
        try:
            assert not act(root(maildrop))
        except NotADirectoryError:
            assert planted == "mailserver-kept"
    assert tree(others) == before
    assert messages(maildrop) == mine


@pytest.mark.parametrize(
    ("planted", "place"),
    [
        ("mailserver-kept", KEEP),
        (os.fsdecode(KEEP[:-1]), KEEP),
        (".Trash", places.TRASH),
        (".Trash/cur", places.TRASH),
    ],
)
def test_nothing_is_put_where_a_link_leads(maildrop: Path, others: Path, planted: str, place: bytes) -> None:
    before = tree(others)
    (maildrop / planted).parent.mkdir(exist_ok=True)
    (maildrop / planted).symlink_to(others)
    removal = journal.commit(root(maildrop), task(maildrop, "new/1.a"), frozenset(), time.time_ns, place)
    assert removal.left == 1
    assert len(messages(maildrop)) == 3
    assert tree(others) == before


@pytest.mark.parametrize("planted", [".Trash", ".Trash/cur", ".Trash/new"])
def test_a_trash_that_leads_elsewhere_is_not_tidied(maildrop: Path, others: Path, planted: str) -> None:
    before = tree(others)
    (maildrop / planted).parent.mkdir(exist_ok=True)
    (maildrop / planted).symlink_to(others if planted == ".Trash" else others / "cur")
    keeping.tidy(root(maildrop), time.time() + 99 * 86_400, 30, 1)
    assert tree(others) == before


@pytest.mark.parametrize("planted", ["new", "cur"])
def test_undelete_leads_nowhere_else(maildrop: Path, others: Path, planted: str) -> None:
    before = tree(others)
    journal.commit(root(maildrop), task(maildrop, "new/1.a"), frozenset(), time.time_ns, KEEP)
    (maildrop / planted).rename(maildrop / "moved")
    (maildrop / planted).symlink_to(others / planted)
    with pytest.raises(NotADirectoryError):
        keeping.undelete(root(maildrop))
    assert tree(others) == before


@pytest.mark.parametrize("planted", ["tmp", "new"])
@pytest.mark.parametrize("users", [("alice",), ("bob", "alice")])
def test_a_link_that_comes_after_the_first_message_misleads_none(
    tmp_path: Path, others: Path, planted: str, users: tuple[str, ...]
) -> None:
    before = tree(others)
    drops = Drops(tmp_path, "alice", "bob")
    assert drops.deliver(b"first", *users) == [None] * len(users)
    (drops.root("alice") / planted).rename(tmp_path / "moved")
    (drops.root("alice") / planted).symlink_to(others / "cur")
    *well, error = drops.deliver(b"second", *users)
    assert well == [None] * (len(users) - 1)
    assert "not links" in str(error)
    assert tree(others) == before
    assert drops.tmp("bob") == []


@pytest.mark.parametrize("kind", ["link", "directory", "fifo"])
def test_a_maildirsize_of_another_kind_keeps_no_mail_out(tmp_path: Path, kind: str) -> None:
    drops = Drops(tmp_path, "alice")
    assert drops.deliver(b"first", "alice") == [None]
    path = drops.root("alice") / "maildirsize"
    if kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    passwd = Path("/etc/passwd").read_bytes()
    assert drops.deliver(b"second", "alice") == [None]
    assert drops.stored("alice") == [b"first", b"second"]
    assert Path("/etc/passwd").read_bytes() == passwd
