"""Each kind of fault: what is told of it, and that it is mended."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from mailserver.errors import MaildropUnavailable
from mailserver.interfaces import Quota
from mailserver.store.maildir import maildirsize, making, uidls
from mailserver.store.maildir.faults import examine
from mailserver.store.maildir.foreign import dotlock, read_formerly
from mailserver.store.maildir.index import CLAIMED
from tests.store.maildir.faults.broken import Maildrop

NAMES = ("new/1700000001.M1P1.h", "cur/1700000002.M1P1.h,S=23,W=25:2,S", "cur/1700000003.M1P1.h:2,F")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examine, "_PAUSE", 0)
    monkeypatch.setattr(making, "_ABANDONED", -1)
    monkeypatch.setattr(dotlock, "_YOUNG", -1)
    monkeypatch.setattr(dotlock, "_STALE", -1)


@pytest.fixture
def maildrop(tmp_path: Path) -> Maildrop:
    return Maildrop(tmp_path / "Maildir", NAMES)


def test_a_maildrop_that_is_well_has_no_fault_before_and_after_a_login(maildrop: Maildrop) -> None:
    assert maildrop.kinds() == []
    maildrop.settle()
    maildrop.log_in()
    assert maildrop.kinds() == []
    before = maildrop.shown()
    assert maildrop.repair() == ([], [])
    assert maildrop.shown() == before


def test_what_is_not_there_is_well_and_is_not_made(tmp_path: Path) -> None:
    nothing = os.fsencode(tmp_path / "Maildir") + b"/"
    assert examine.verify(nothing, None) == ()
    assert examine.repair(nothing, "test", lambda _: 0, None, examine.opening.ALONE) == ((), ())
    assert list(tmp_path.iterdir()) == []


def remove(path: Path) -> None:
    path.rmdir() if path.is_dir() else path.unlink()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def replaced(name: str, make: Callable[[Path], object]) -> Callable[[Maildrop], object]:
    def damage(maildrop: Maildrop) -> None:
        path = maildrop.path / name
        if path.exists():
            remove(path)
        make(path)

    return damage


def half(name: str) -> Callable[[Maildrop], object]:
    def damage(maildrop: Maildrop) -> None:
        maildrop.put(name, b"half")
        maildrop.age(name)

    return damage


def denied(name: str, mode: int) -> Callable[[Maildrop], object]:
    return lambda maildrop: (maildrop.path / name).chmod(mode)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def wrong_octets(maildrop: Maildrop) -> None:
    maildrop.log_in()
    maildrop.rewrite(lambda _, rows: rows.octets.__setitem__(0, 7))


def wrong_claim(maildrop: Maildrop) -> None:
    maildrop.log_in()

    def change(_: object, rows: object) -> None:
        rows.flags[1], rows.sizes[1] = CLAIMED, 5  # type: ignore[attr-defined]

    maildrop.rewrite(change)


def wrong_form(maildrop: Maildrop) -> None:
    maildrop.log_in()
    maildrop.rewrite(lambda _, rows: rows.flags.__setitem__(0, 1))


def behind(maildrop: Maildrop) -> None:
    """A file came, and the directory has its old time: as after a restored backup."""
    maildrop.settle()
    maildrop.log_in()
    maildrop.put("new/1700000009.M1P1.h")
    maildrop.settle()


def counted(text: bytes) -> Callable[[Maildrop], object]:
    return lambda maildrop: maildrop.put("maildirsize", text)


def mapped(maildrop: Maildrop) -> None:
    """Two messages whose names claim one unique-id, so that there is a map."""
    maildrop.put("new/1700000011.M1P1.h,U=YWI", b"a\n")
    maildrop.put("new/1700000012.M1P1.h,U=YWI", b"b\n")
    maildrop.log_in()
    assert uidls.there(maildrop.root)


def torn_map(maildrop: Maildrop) -> None:
    mapped(maildrop)
    path = maildrop.path / "mailserver-uidls"
    path.write_bytes(path.read_bytes()[:-3])


def gone_map(maildrop: Maildrop) -> None:
    mapped(maildrop)
    (maildrop.path / "mailserver-uidls").unlink()


def linked_map(maildrop: Maildrop) -> None:
    gone_map(maildrop)
    (maildrop.path / "mailserver-uidls").symlink_to("/dev/zero")


def returning(maildrop: Maildrop) -> None:
    maildrop.put("mailserver-kept/undelete-1700000000000000000-7/1700000007.M1P1.h", b"back\n")


def abandoned(maildrop: Maildrop) -> None:
    maildrop.put("tmp/1700000007.M1P1.h")
    maildrop.age("tmp/1700000007.M1P1.h")


def promised(maildrop: Maildrop) -> None:
    maildrop.log_in()
    maildrop.promise(NAMES[0])


def promised_on_a_full_disk(maildrop: Maildrop) -> None:
    promised(maildrop)
    journal = maildrop.path / "mailserver-journal"
    maildrop.put("mailserver-index", journal.read_bytes() + b"\0\0rest")
    journal.unlink()


def linked(maildrop: Maildrop) -> None:
    (maildrop.path / "cur/1700000001.M1P1.h:2,").hardlink_to(maildrop.path / NAMES[0])


DAMAGES: dict[str, tuple[Callable[[Maildrop], object], str]] = {
    "no tmp": (lambda maildrop: (maildrop.path / "tmp").rmdir(), "directory"),
    "tmp is a file": (replaced("tmp", Path.touch), "directory"),
    "kept is a file": (replaced("mailserver-kept", Path.touch), "directory"),
    "a directory that denies": (denied("cur", 0o500), "rights"),
    "a message that denies": (denied(NAMES[0], 0o000), "rights"),
    "a lock that denies": (replaced("mailserver-lock", lambda path: path.touch(0o400)), "rights"),
    "the lock is a directory": (replaced("mailserver-lock", Path.mkdir), "file"),
    "the index is a link": (replaced("mailserver-index", lambda path: path.symlink_to("/dev/zero")), "file"),
    "the journal is a directory": (replaced("mailserver-journal", Path.mkdir), "file"),
    "the quota is a FIFO": (replaced("maildirsize", fifo), "file"),
    "half an index": (half("mailserver-index.tmp"), "left"),
    "abandoned": (abandoned, "left"),
    "Dovecot's lock": (half("dovecot-uidlist.lock"), "left"),
    "a directory": (replaced("cur/folder", Path.mkdir), "foreign"),
    "a link": (replaced("new/link", lambda path: path.symlink_to("/etc/passwd")), "foreign"),
    "a FIFO": (replaced("new/fifo", fifo), "foreign"),
    "a socket": (replaced("new/socket", listening), "foreign"),
    "a wrong S": (lambda maildrop: maildrop.put("new/1700000005.M1P1.h,S=3", b"four"), "sizes"),
    "a wrong W": (lambda maildrop: maildrop.put("cur/1700000005.M1P1.h,S=5,W=5:2,RS", b"four\n"), "sizes"),
    "a hard link": (linked, "copy"),
    "a copy": (lambda maildrop: maildrop.put("cur/1700000001.M1P1.h:2,S", b"Subject: 0\n\nmessage 0\r\n"), "copy"),
    "a twin": (lambda maildrop: maildrop.put("cur/1700000001.M1P1.h:2,S", b"another\n"), "twin"),
    "a damaged index": (lambda maildrop: maildrop.put("mailserver-index", b"nonsense"), "index"),
    "wrong octets": (wrong_octets, "index"),
    "a wrong claim": (wrong_claim, "index"),
    "not in wire form": (wrong_form, "index"),
    "an index that is behind": (behind, "index"),
    "a promise": (promised, "journal"),
    "a promise over the index": (promised_on_a_full_disk, "journal"),
    "a damaged journal": (lambda maildrop: maildrop.put("mailserver-journal", b"mailserver-journal 3\0no"), "journal"),
    "a wrong sum": (counted(b"1000S\n5 1\n"), "quota"),
    "no sum": (counted(b"1000S\nnonsense\n"), "quota"),
    "a torn map": (torn_map, "unique-ids"),
    "no map": (gone_map, "unique-ids"),
    "the map is a link": (linked_map, "unique-ids"),
    "half an undelete": (returning, "undelete"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_it_is_found_and_mended_and_no_message_is_lost(maildrop: Maildrop, damage: str) -> None:
    act, kind = DAMAGES[damage]
    act(maildrop)
    before = maildrop.stored()
    (finding,) = maildrop.verify()
    assert (finding.kind, finding.mendable) == (kind, True)
    assert finding.text
    assert finding.remedy
    assert maildrop.verify() == [finding], "who looks changes nothing"
    done = maildrop.repair()
    kinds = [kind, "index"] if damage == "a promise over the index" else [kind]
    assert ([each.kind for each in done.mended], done.left) == (kinds, [])
    assert maildrop.kinds() == []
    assert maildrop.repair() == ([], [])
    after = maildrop.stored()
    assert {*before} - {*after} == ({b"Subject: 0\n\nmessage 0\r\n"} if damage.startswith("a promise") else set())


@pytest.mark.parametrize(
    "damage",
    [
        name
        for name, (_, kind) in DAMAGES.items()
        if kind in {"sizes", "copy", "twin", "index", "unique-ids"} and name != "the map is a link"
    ],
)
def test_each_message_keeps_its_unique_id(maildrop: Maildrop, damage: str) -> None:
    DAMAGES[damage][0](maildrop)
    before = maildrop.shown()
    maildrop.repair()
    assert maildrop.shown() == before
    (maildrop.path / "mailserver-index").unlink()
    assert maildrop.shown() == before, "and does not depend on the index"


def test_a_map_in_whose_place_a_link_is_comes_back_from_the_index(maildrop: Maildrop) -> None:
    mapped(maildrop)
    before = maildrop.shown()
    path = maildrop.path / "mailserver-uidls"
    path.unlink()
    path.symlink_to("/dev/zero")
    maildrop.repair()
    (maildrop.path / "mailserver-index").unlink()
    assert maildrop.shown() == before


def test_of_a_twin_and_its_copy_that_stays_which_the_index_knows(maildrop: Maildrop) -> None:
    twin = maildrop.path / NAMES[0]
    twin.rename(maildrop.path / "tmp/twin")
    maildrop.put("cur/1700000001.M1P1.h:2,S", b"another\n")
    maildrop.log_in()
    (maildrop.path / "tmp/twin").rename(twin)
    maildrop.log_in()
    before = maildrop.shown()
    assert before[b"another\n"] == {b"1700000001.M1P1.h"}
    maildrop.put("cur/1700000001.M1P1.h:2,T", b"another\n")
    assert sorted(maildrop.kinds()) == ["copy"]
    assert sorted(each.kind for each in maildrop.repair().mended) == ["copy", "twin"]
    assert maildrop.shown() == before
    assert len(maildrop.files()) == len(NAMES) + 1


def test_a_twin_of_another_keeps_what_a_client_knows_when_the_index_is_lost(maildrop: Maildrop) -> None:
    """The index knew who was first. Without it, and without the repair, the older file would be."""
    twin = maildrop.put("cur/1700000001.M1P1.h:2,S", b"another\n")
    maildrop.log_in()
    os.utime(twin, (1, 1))
    before = maildrop.shown()
    maildrop.repair()
    (maildrop.path / "mailserver-index").unlink()
    assert maildrop.shown() == before


def elsewhere(maildrop: Maildrop, name: str) -> None:
    """A link in the place of a directory, to another's, in which everything would be mended."""
    other = Maildrop(maildrop.path.parent / "other")
    (other.path / "cur/folder").mkdir()
    other.put("cur/1700000001.M1P1.h:2,", b"Subject: 0\n\nmessage 0\r\n")  # as one of ours
    other.put("cur/1700000004.M1P1.h,S=1:2,").chmod(0)
    for path in maildrop.path.glob(f"{name}/*"):
        path.rename(maildrop.path / ("new" if name == "cur" else "cur") / path.name)
    if (maildrop.path / name).exists():
        (maildrop.path / name).rmdir()
    (maildrop.path / name).symlink_to(other.path / "cur")


def everything(folder: Path) -> list[tuple[Path, int, int]]:
    return sorted((path, (status := path.lstat()).st_mode, status.st_ino) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lambda it: elsewhere(it, "tmp"), "directory"),
        (lambda it: elsewhere(it, "new"), "directory"),
        (lambda it: elsewhere(it, "cur"), "directory"),
        (lambda it: elsewhere(it, ".Trash"), "directory"),
        (lambda it: elsewhere(it, "mailserver-kept"), "directory"),
        (lambda it: it.put("mailserver-journal", b"mailserver-journal 99\0digest\0body"), "journal"),
        (lambda it: it.put("mailserver-uidls", b"nonsense"), "unique-ids"),
        (lambda it: it.put("new/1700000008.M1P1.h", b"\x1f\x8b nonsense"), "sealed"),
        (lambda it: it.put("new/1700000008.M1P1.h", b"CRYPTED\x03\x07 nonsense"), "sealed"),
    ],
)
def test_what_only_the_operator_can_mend_is_left_with_its_remedy(
    maildrop: Maildrop, damage: Callable[[Maildrop], object], kind: str
) -> None:
    damage(maildrop)
    before, others = maildrop.stored(), everything(maildrop.path.parent / "other")
    done = maildrop.repair()
    assert everything(maildrop.path.parent / "other") == others, "a link leads to what is not to be mended here"
    assert [(each.kind, each.mendable) for each in done.left] == [(kind, False)]
    assert done.left[0].remedy
    assert maildrop.stored() == before
    assert maildrop.kinds() == [kind]


def test_a_list_of_a_former_server_that_cannot_be_read_is_told(maildrop: Maildrop) -> None:
    maildrop.put("dovecot-uidlist", b"nonsense\n")
    former = read_formerly("dovecot", "own").former
    (finding,) = examine.verify(maildrop.root, former)
    assert finding.kind == "refused"
    assert "the list of the former server cannot be used" in finding.text


def test_a_twin_s_name_keeps_its_sizes_until_it_is_one_of_its_own(maildrop: Maildrop) -> None:
    """Without them it would have the name of the other, and as long as they are two, another unique-id."""
    maildrop.put("new/1700000005.M1P1.h", b"one\n")
    maildrop.put("new/1700000005.M1P1.h,S=1", b"two\n")
    maildrop.put("cur/1700000005.M1P1.h,S=1:2,", b"two\n")
    before = maildrop.shown()
    assert {each.kind for each in maildrop.repair().mended} == {"sizes", "copy", "twin"}
    assert maildrop.shown() == before


def test_what_belongs_to_another_user_is_told_once_with_the_command_for_root(
    maildrop: Maildrop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    (found,) = maildrop.verify()
    assert (found.kind, found.mendable) == ("owner", False)
    assert found.remedy == f"as root: chown -R 12345 {maildrop.path}/"
    assert "and 2 more" in found.text
    path = maildrop.path.rename(maildrop.path.with_name("Mail; reboot"))
    assert examine.verify(os.fsencode(path) + b"/", None)[0].remedy.endswith(f"12345 '{path}/'"), "it may be pasted"


def test_where_it_cannot_be_told_whether_there_is_a_maildrop_that_is_an_error(
    maildrop: Maildrop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a home that belongs to somebody else: nothing to find would be a lie."""
    monkeypatch.setattr(os, "stat", raising(PermissionError(errno.EACCES, "Permission denied", str(maildrop.path))))
    for act in (maildrop.verify, maildrop.repair):
        with pytest.raises(MaildropUnavailable, match="Permission denied"):
            act()


def raising(error: OSError) -> Callable[..., object]:
    def call(*_: object, **_options: object) -> object:
        raise error

    return call


def test_a_sum_that_is_right_is_no_fault(maildrop: Maildrop) -> None:
    maildirsize.usage(maildrop.root, Quota(octets=10_000))
    assert (maildrop.path / "maildirsize").exists()
    assert maildrop.kinds() == []


def test_a_disk_that_is_read_only_lets_nobody_in(maildrop: Maildrop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY))
    (found,) = maildrop.verify()
    assert (found.kind, found.mendable) == ("refused", False)
    assert "read-only" in found.text


def test_folders_belong_to_others_but_the_quota_must_be_able_to_count_them(maildrop: Maildrop) -> None:
    maildrop.put(".Sent/cur/1700000001.M1P1.h,S=9999:2,S")
    maildrop.put(".Sent/new/folder/x")
    assert maildrop.kinds() == []
    (maildrop.path / ".Old").mkdir()
    (maildrop.path / ".Old/cur").symlink_to("cur")  # to itself: as root, too, nobody can list it
    assert [*maildrop.verify(), *maildrop.verify(Quota())] == [], "without a quota nobody counts"
    (found,) = maildrop.verify(Quota(messages=100))
    assert (found.kind, found.file, found.mendable) == ("quota", ".Old/cur", False)
    assert found.text.startswith("the quota counts this folder, and it cannot be read: ")
    maildrop.put("maildirsize", b"100C\n0 0\n")  # another program's
    assert list(maildrop.verify()) == [found]


def test_what_moves_aside_stays_there_beside_what_was_there(maildrop: Maildrop) -> None:
    for _ in range(2):
        (maildrop.path / "cur/folder").mkdir()
        maildrop.repair()
    assert sorted(path.name for path in (maildrop.path / "mailserver-aside").iterdir()) == [
        "cur-folder",
        "cur-folder.1",
    ]
