"""What Dovecot has called the messages of a Maildir; `tests/old` asks a real one."""

from __future__ import annotations

import os
from hashlib import md5
from pathlib import Path
from socket import gethostname

import pytest

from mailserver.store.maildir.foreign import dotlock, present, read_former, read_giving
from mailserver.store.maildir.former import Entry, Former
from tests.store.maildir.foreign.test_uidlist import GUID, written

DIGEST = md5(b"1.M2.host,S=3").hexdigest().encode()


def former(text: str) -> Former:
    found = read_former(text)
    assert found is not None
    return found


def root(folder: Path) -> bytes:
    return os.fsencode(folder) + b"/"


def uidls(folder: Path, text: str = "dovecot") -> list[bytes]:
    found = former(text).entries(root(folder))
    assert found is not None
    return [entry.uidl for entry in found]


def test_without_a_list_there_are_no_entries(tmp_path: Path) -> None:
    assert former("dovecot").entries(root(tmp_path)) is None
    assert former("courier").entries(root(tmp_path)) is None
    assert former("courier-imap:%v-%u").entries(root(tmp_path)) is None


@pytest.mark.parametrize(
    ("setting", "first", "second"),
    [
        ("dovecot", b"0000000100000007", b"0000001f00000007"),
        ("dovecot:%v.%u", b"7.1", b"7.31"),
        ("dovecot:%f", b"a,S=3", b"b"),
        ("dovecot:%g", b"guid", b"b"),
        ("dovecot:%{uid}-%{uidvalidity}", b"1-7", b"31-7"),
    ],
)
def test_unique_ids_are_made_by_the_format(tmp_path: Path, setting: str, first: bytes, second: bytes) -> None:
    written(tmp_path, "3 V7 N40\n1 Gguid :a,S=3\n31 W5 :b\n")
    assert former(setting).entries(root(tmp_path)) == [Entry(b"a,S=3", first), Entry(b"b", second)]


def test_a_records_own_unique_id_comes_before_the_format(tmp_path: Path) -> None:
    written(tmp_path, "3 V7 N40\n1 Pold.1 :a\n2 P :b\n3 :c\n")
    assert uidls(tmp_path, "dovecot:%u") == [b"old.1", b"b", b"3"]


def test_places_of_their_own_come_first_in_the_order(tmp_path: Path) -> None:
    written(tmp_path, f"3 V7 N40\n1 :a\n2 O9 :b\n3 Ox :c\n4 O08 :d\n5 O9 :e\n6 O4294967296 :f\n7 O{'9' * 21} :g\n")
    assert uidls(tmp_path, "dovecot:%u") == [b"4", b"2", b"5", b"1", b"3", b"7", b"6"]


def test_a_unique_id_that_pop3_does_not_permit_is_no_entry(tmp_path: Path) -> None:
    written(tmp_path, f"3 V7 N40\n1 P{'x' * 256} :a\n2 Pü :b\n3 Pgood :c\n4 :{'y' * 256}\n")
    assert uidls(tmp_path, "dovecot:%f") == [b"good"]
    assert former("dovecot:%f").unlisted(b"z" * 256) is None


@pytest.mark.parametrize(
    ("setting", "uidl"),
    [
        ("dovecot", None),
        ("dovecot:%f", b"1.M2.host,S=3"),
        ("dovecot:%g", b"1.M2.host,S=3"),
        ("dovecot:%Mf", DIGEST),
        ("courier", None),
        ("courier-imap:%u", None),
        ("qmail", b"1.M2.host,S=3"),
        ("teapop", DIGEST),
        ("tpop3d", DIGEST),
    ],
)
def test_a_file_that_no_list_has_gets_what_its_name_alone_tells(setting: str, uidl: bytes | None) -> None:
    assert former(setting).unlisted(b"1.M2.host,S=3:2,S") == uidl


def test_courierimapuiddb_is_read_by_a_format(tmp_path: Path) -> None:
    (tmp_path / "courierimapuiddb").write_text("1 700 12\n3 a\n11 b c\n")
    assert uidls(tmp_path, "courier-imap:%v-%u") == [b"700-3", b"700-11"]
    with pytest.raises(ValueError, match="Courier's alone"):
        former("courier-imap:%u").extend(root(tmp_path), [b"d"])


def test_signatures_differ_where_unique_ids_would() -> None:
    settings = ["dovecot", "dovecot:%v.%u", "courier", "courier-imap:%v.%u", "courier-imap:%u", "qmail", "tpop3d"]
    assert len({former(setting).signature for setting in settings}) == len(settings)
    assert former("dovecot").signature == former("dovecot:%08Xu%08Xv").signature


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("dovcot", "did you mean dovecot?"),
        ("exchange", "known are dovecot, courier, courier-imap, qmail, teapop, tpop3d"),
        ("dovecot:", "has no variable"),
        ("dovecot: rename-duplicates", "has no variable"),
        ("dovecot rename", "' rename', but no unique-id can have a space"),
        ("dovecot:%u renamed-duplicates", "can have a space"),
        ("courier rename-duplicates", "takes no format"),
        ("dovecot:%m", "mbox files alone"),
        ("courier:%u", "takes no format"),
        ("courier-imap", "needs the format"),
        ("courier-imap:%f", "more than %u and %v"),
    ],
)
def test_a_setting_that_is_none_is_told_with_the_remedy(setting: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as told:
        read_former(setting)
    assert why in str(told.value)


def test_no_setting_is_no_former_server() -> None:
    assert read_former("") is None


def test_new_messages_are_added_with_the_next_uids(tmp_path: Path) -> None:
    path = Path(os.fsdecode(written(tmp_path, f"3 V7 N9 {GUID}\n2 :a\n")))
    added = former("dovecot:%u").extend(root(tmp_path), [b"c,S=3:2,S", b"b"])
    assert added == [Entry(b"c,S=3", b"9"), Entry(b"b", b"10")]
    assert path.read_text() == f"3 V7 N9 {GUID}\n2 :a\n9 :c,S=3\n10 :b\n"
    assert former("dovecot:%u").extend(root(tmp_path), [b"d"]) == [Entry(b"d", b"11")]
    assert [path.name for path in tmp_path.iterdir()] == ["dovecot-uidlist"], "the lock is gone"


def test_what_dovecot_has_added_itself_meanwhile_keeps_its_uid(tmp_path: Path) -> None:
    path = Path(os.fsdecode(written(tmp_path, "3 V7 N9\n2 :a\n9 Pown :b\n")))
    assert former("dovecot:%u").extend(root(tmp_path), [b"b:2,S", b"c", b"c:2,"]) == [
        Entry(b"b", b"own"),
        Entry(b"c", b"10"),
    ]
    path.write_text(path.read_text() + "11 :tor")
    former("dovecot").extend(root(tmp_path), [b"b"])
    assert path.read_text().endswith("10 :c\n11 :tor"), "nothing new, nothing is written"


def test_new_messages_wait_for_dovecots_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dotlock, "PATIENCE", 0.0)
    path = Path(os.fsdecode(written(tmp_path, "3 V7 N9\n")))
    (tmp_path / "dovecot-uidlist.lock").write_text(f"{os.getppid()}:{gethostname()}")
    with pytest.raises(OSError, match="is locked"):
        former("dovecot").extend(root(tmp_path), [b"a"])
    assert path.read_text() == "3 V7 N9\n"


def test_a_list_is_begun_where_there_is_none(tmp_path: Path) -> None:
    added = former("dovecot:%u").extend(root(tmp_path), [b"a", b"b"])
    assert [entry.uidl for entry in added] == [b"1", b"2"]
    assert uidls(tmp_path, "dovecot:%u") == [b"1", b"2"]


def test_names_say_all_where_there_is_no_list(tmp_path: Path) -> None:
    assert former("qmail").extend(root(tmp_path), [b"a:2,S", b"b" * 256]) == [Entry(b"a", b"a")]
    assert former("qmail").entries(root(tmp_path)) is None
    assert not list(tmp_path.iterdir())


def given(folder: Path, text: str, entries: list[tuple[bytes, bytes]], dry_run: bool = False) -> tuple[int, int, int]:
    return tuple(read_giving(text).give_back(root(folder), [Entry(*each) for each in entries], dry_run))


def test_unique_ids_go_back_into_the_list_where_it_has_others(tmp_path: Path) -> None:
    path = Path(os.fsdecode(written(tmp_path, f"3 V7 N9 {GUID}\n1 :gone\n2 W5 :a\n3 Pb.old S2 :b\n4 :c\n")))
    ours = [(b"a:2,S", b"2"), (b"b", b"b.new"), (b"c", b"c.own"), (b"d,S=3:2,", b"d")]
    assert given(tmp_path, "dovecot:%u", ours) == (4, 3, 0)
    assert path.read_text() == f"3 V7 N10 {GUID}\n1 :gone\n2 W5 :a\n3 S2 Pb.new :b\n4 Pc.own :c\n9 Pd :d,S=3\n"
    assert list(former("dovecot:%u").entries(root(tmp_path)) or ())[1:] == [
        Entry(b"a", b"2"),
        Entry(b"b", b"b.new"),
        Entry(b"c", b"c.own"),
        Entry(b"d,S=3", b"d"),
    ]
    assert list(tmp_path.iterdir()) == [path]
    before = path.stat()
    assert given(tmp_path, "dovecot:%u", ours) == (4, 0, 0)
    assert path.stat() == before


def test_the_order_goes_back_as_well(tmp_path: Path) -> None:
    written(tmp_path, "3 V7 N9\n2 O1 :a\n3 :b\n4 :gone\n")
    assert given(tmp_path, "dovecot:%u", [(b"c", b"x"), (b"b", b"3"), (b"a", b"2")]) == (3, 3, 0)
    found = former("dovecot:%u").entries(root(tmp_path)) or ()
    assert [entry.uidl for entry in found] == [b"x", b"3", b"2", b"4"]


def test_a_dry_run_of_giving_back_writes_nothing(tmp_path: Path) -> None:
    assert given(tmp_path, "dovecot", [(b"a", b"x")], dry_run=True) == (1, 1, 0)
    assert not list(tmp_path.iterdir())


def test_giving_back_begins_a_list_that_dovecot_reads(tmp_path: Path) -> None:
    assert given(tmp_path, "dovecot", [(b"a", b"x"), (b"b", b"y")]) == (2, 2, 0)
    assert uidls(tmp_path) == [b"x", b"y"]
    assert (tmp_path / "dovecot-uidlist").read_bytes()[:3] == b"3 V"
    assert b" G" in (tmp_path / "dovecot-uidlist").read_bytes().partition(b"\n")[0]


def test_names_that_dovecot_takes_for_one_are_told(tmp_path: Path) -> None:
    assert given(tmp_path, "dovecot", [(b"2024T10:00", b"x"), (b"2024T10:30", b"y")]) == (2, 1, 1)
    assert uidls(tmp_path) == [b"x"]


@pytest.mark.parametrize("name", [b"1.a\n9 :x", b"1.a\rx", b":2,S"])
def test_names_that_no_list_can_have_are_left_out(tmp_path: Path, name: bytes) -> None:
    assert former("dovecot:%u").extend(root(tmp_path), [name, b"2.b"]) == [Entry(b"2.b", b"1")]
    assert uidls(tmp_path, "dovecot:%u") == [b"1"]
    assert given(tmp_path, "dovecot:%u", [(name, b"x"), (b"2.b", b"y")]) == (2, 1, 1)
    assert uidls(tmp_path) == [b"y"]


def test_giving_back_waits_for_dovecots_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dotlock, "PATIENCE", 0.0)
    (tmp_path / "dovecot-uidlist.lock").write_text(f"{os.getppid()}:{gethostname()}")
    with pytest.raises(OSError, match="is locked"):
        given(tmp_path, "dovecot", [(b"a", b"x")])
    assert given(tmp_path, "dovecot", [(b"a", b"x")], dry_run=True) == (1, 1, 0)


@pytest.mark.parametrize("text", ["", "qmail", "courier-imap:%u", "tpop3d"])
def test_what_has_no_list_is_given_nothing_back(text: str) -> None:
    with pytest.raises(ValueError, match="unique-ids go back to dovecot"):
        read_giving(text)


def test_duplicates_are_renamed_in_the_order_of_uids_among_those_that_are_there(tmp_path: Path) -> None:
    for folder in ("new", "cur"):
        (tmp_path / folder).mkdir()
    for name in ("cur/b:2,S", "new/c", "cur/d", "new/e", "new/f"):
        (tmp_path / name).touch()
    same = [
        f"{uid} Gsame{place} :{name}"
        for uid, (name, place) in enumerate(zip("abcd", ("", " O9", " O5", ""), strict=True), 1)
    ]
    written(tmp_path, "\n".join(["3 V7 N9", *same, "5 Psame-2 :e", "6 Gother :f"]) + "\n")
    assert former("dovecot:%g rename-duplicates").entries(root(tmp_path)) == [
        Entry(b"c", b"same-2"),
        Entry(b"b", b"same"),
        Entry(b"d", b"same-3"),
        Entry(b"e", b"same-2-2"),
        Entry(b"f", b"other"),
    ]
    assert uidls(tmp_path, "dovecot:%g") == [b"same", b"same", b"same", b"same", b"same-2", b"other"]
    (tmp_path / "new" / "g").touch()
    assert former("dovecot:%Lf rename-duplicates").extend(root(tmp_path), [b"g"]) == [Entry(b"g", b"g")]


@pytest.mark.parametrize(
    ("header", "uidl"),
    [
        (b"Subject: x\nX-UIDL: abc.1 \nX-UIDL: later\n\n", b"abc.1"),
        (b"x-uidl:\tabc.2\r\n\r\n", b"abc.2"),
        (b"Subject: x\nx-uidl: abc.3", b"abc.3"),
        (b"Subject: x\n\nX-UIDL: body\n", b"1"),
        (b"\nX-UIDL: body\n", b"1"),
        (b"Subject: x\n X-UIDL: folded\n\n", b"1"),
        (b"X-UIDL-more: x\n\n", b"1"),
        (b"", b"1"),
    ],
)
def test_x_uidl_comes_before_the_format_where_dovecot_reused_it(tmp_path: Path, header: bytes, uidl: bytes) -> None:
    for folder in ("new", "cur"):
        (tmp_path / folder).mkdir()
    written(tmp_path, "3 V7 N9\n1 :a\n2 Pown :b\n3 :gone\n")
    (tmp_path / "cur" / "a:2,S").write_bytes(header)
    (tmp_path / "new" / "b").write_bytes(header)
    assert uidls(tmp_path, "dovecot:%u reuse-xuidl") == [uidl, b"own", b"3"]
    assert uidls(tmp_path, "dovecot:%u") == [b"1", b"own", b"3"]
    assert given(tmp_path, "dovecot:%u reuse-xuidl", [(b"a:2,S", uidl), (b"b", b"own")]) == (2, 0, 0)


def test_a_renamed_duplicate_may_be_another_duplicate() -> None:
    given = {b"a": b"x", b"b": b"x-2", b"c": b"x", b"d": b"x", b"e": b"x-2"}
    assert list(present.renamed(given).values()) == [b"x", b"x-2", b"x-2-2", b"x-3", b"x-2-3"]


def test_each_word_is_for_itself(tmp_path: Path) -> None:
    for folder in ("new", "cur"):
        (tmp_path / folder).mkdir()
    for name in "ab":
        (tmp_path / "new" / name).write_bytes(b"X-UIDL: same\n\n")
    written(tmp_path, "3 V7 N9\n1 Gx :a\n2 Gx :b\n")
    assert uidls(tmp_path, "dovecot:%g reuse-xuidl") == [b"same", b"same"]
    assert uidls(tmp_path, "dovecot:%g rename-duplicates") == [b"x", b"x-2"]
    assert uidls(tmp_path, "dovecot:%g rename-duplicates reuse-xuidl") == [b"same", b"same-2"]


def test_a_folded_x_uidl_is_no_unique_id(tmp_path: Path) -> None:
    for folder in ("new", "cur"):
        (tmp_path / folder).mkdir()
    written(tmp_path, "3 V7 N9\n1 :a\n")
    (tmp_path / "new" / "a").write_bytes(b"X-UIDL:\n abc.3\nSubject: x\n")
    assert uidls(tmp_path, "dovecot:%u reuse-xuidl") == []


def test_x_uidl_of_a_link_is_not_read(tmp_path: Path) -> None:
    for folder in ("new", "cur"):
        (tmp_path / folder).mkdir()
    (tmp_path / "secret").write_text("X-UIDL: secret\n\n")
    (tmp_path / "new" / "a").symlink_to(tmp_path / "secret")
    written(tmp_path, "3 V7 N9\n1 :a\n")
    assert uidls(tmp_path, "dovecot:%u reuse-xuidl") == [b"1"]


def test_both_words_may_stand_behind_either_notation() -> None:
    for text in ("dovecot reuse-xuidl rename-duplicates", "dovecot:%{uid | hex(8)} rename-duplicates reuse-xuidl"):
        assert former(text).signature != former("dovecot").signature
