"""A Maildir as a source."""

import os

import pytest

from mailserver.migration.source import SourceError, Unreadable
from tests.corpus import SMALL
from tests.migration.spools import Names, contents, opened


class List(Names):
    """A server with a list."""

    def __init__(self, *entries):
        self.listed = entries

    def entries(self, root):
        assert root.endswith(b"/")
        if isinstance(self.listed[0], Exception):
            raise self.listed[0]
        return self.listed


@pytest.fixture
def root(tmp_path):
    for each in ("cur", "new", "tmp"):
        (tmp_path / each).mkdir()
    return tmp_path


def add(root, name, message=b"Subject: x\n\n"):
    (root / name).write_bytes(message)


def uidls(source):
    return [each.uidl for each in source.messages()]


def test_each_nasty_message_comes_out_as_it_is_in_its_file(root):
    for number, message in enumerate(SMALL.values()):
        add(root, f"{('cur', 'new')[number % 2]}/{1_700_000_000 + number}.x:2,", message)
    assert contents(opened(f"maildir:{root}")) == list(SMALL.values())


def test_facts_come_from_the_name_or_else_from_the_file(root):
    add(root, "cur/1700000000.M250000P1.host,S=12,W=14:2,FS")
    add(root, "new/1700000001.x;2,T")
    add(root, "new/x")
    os.utime(root / "new/x", (1_700_000_002, 1_700_000_002))
    found = opened(f"maildir:{root}").messages()
    assert sorted(each[1:] for each in found) == [
        (b"1700000000.M250000P1.host", 1_700_000_000.25, True, 14),
        (b"1700000001.x;2", 1_700_000_001, False, None),
        (b"x", 1_700_000_002, False, None),
    ]


def test_listed_messages_come_first_in_their_order_and_lost_ones_are_none(root):
    for number in range(1, 6):
        add(root, f"cur/{number}.x:2,S")
    listed = List((b"4.x:2,", b"four"), (b"9.x", b"gone"), (b"2.x", b"two"), (b"2.x", b"again"))
    assert uidls(opened(f"maildir:{root}", former=listed)) == [b"four", b"two", b"1.x", b"3.x", b"5.x"]


def test_a_list_may_cut_a_name_at_its_first_colon_where_that_is_one_file(root):
    for name in ("2024-01-01T10:00:00.eml", "2024-01-02T10:00:00.eml:2,S", "a:1", "a:2"):
        add(root, f"cur/{name}")
    listed = List((b"2024-01-02T10", b"two"), (b"2024-01-01T10", b"one"), (b"a", b"either"))
    assert uidls(opened(f"maildir:{root}", former=listed)) == [b"two", b"one", b"a", b""]


def test_of_two_claims_on_one_unique_id_the_first_keeps_it(root):
    for name in ("1.x,S=1", "1.x,S=2", "2.x"):
        add(root, f"cur/{name}")
    source = opened(f"maildir:{root}")
    assert uidls(source) == [b"1.x", b"", b"2.x"]
    assert "1.x,S=2" in source.notes[0]


def test_a_message_in_both_directories_is_one(root):
    add(root, "cur/1.x:2,S")
    add(root, "new/1.x")
    (found,) = opened(f"maildir:{root}").messages()
    assert found.seen


def test_a_message_that_gets_flags_meanwhile_is_followed_and_one_that_goes_is_told(root):
    for name in ("new/1.x", "cur/2.x:2,"):
        add(root, name, name.encode())
    source = opened(f"maildir:{root}")
    one, two = source.messages()
    (root / "new/1.x").rename(root / "cur/1.x:2,S")
    (root / "cur/2.x:2,").unlink()
    assert b"".join(source.read(one)) == b"new/1.x"
    with pytest.raises(Unreadable, match="No such file"):
        list(source.read(two))


def test_what_is_no_message_is_left_out(root):
    (root / "cur/1.x").symlink_to("/etc/passwd")
    os.mkfifo(root / "cur/2.x")
    (root / "cur/3.x").mkdir()
    add(root, "cur/.nfs0001")
    add(root, "new/4.x")
    source = opened(f"maildir:{root}")
    assert uidls(source) == [b"4.x"]
    assert len(source.notes) == 3


@pytest.mark.parametrize(
    ("error", "said"),
    [(ValueError("line 3 is damaged"), "line 3 is damaged"), (PermissionError(13, "denied"), "denied")],
)
def test_a_list_that_cannot_be_read_leaves_the_maildir_alone(root, error, said):
    with pytest.raises(SourceError, match=said):
        opened(f"maildir:{root}", former=List(error)).messages()


def test_what_is_no_maildir_is_said(tmp_path):
    with pytest.raises(SourceError, match="is it a Maildir"):
        opened(f"maildir:{tmp_path}").messages()
