"""What Courier's POP3 server has called the messages of a Maildir; `tests/old` asks a real one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailserver.store.maildir.foreign import courier
from mailserver.store.maildir.foreign.courier import Courier
from mailserver.store.maildir.former import Entry

LIST = "courierpop3dsizelist"


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    for name in ("new", "cur", "tmp"):
        (tmp_path / name).mkdir()
    return tmp_path


def root(folder: Path) -> bytes:
    return os.fsencode(folder) + b"/"


def entries(folder: Path, text: str) -> list[tuple[bytes, bytes]]:
    (folder / LIST).write_bytes(text.encode())
    return [tuple(entry) for entry in Courier().entries(root(folder)) or []]


@pytest.mark.parametrize("line", ["5.a:2,S 120 7:1600000000", "5.a 120 7:1600000000:1"])
def test_versions_2_and_3_have_a_number_and_a_validity(maildir: Path, line: str) -> None:
    version = 3 if line.endswith(":1") else 2
    assert entries(maildir, f"/{version} 8 1600000000\n{line}\n") == [(b"5.a", b"UID7-1600000000")]


def test_messages_of_versions_0_and_1_keep_their_unique_ids(maildir: Path) -> None:
    text = "/2 8 16\n5.a+b'c\"é d 120 0:0\n6.b:2, 120 3:0\n7.c 120 4:16\n"
    assert entries(maildir, text) == [
        (b"5.a+b'c\"\xc3\xa9 d", b"5.a+2Bb+27c+22+C3+A9+20d"),
        (b"6.b", b"UID3"),
        (b"7.c", b"UID4-16"),
    ]


def test_version_1_has_numbers_alone_and_version_0_names(maildir: Path) -> None:
    assert entries(maildir, "/1 8\n5.a 120 7\n") == [(b"5.a", b"UID7")]
    assert entries(maildir, "5.a 120\n6.b:2,S 3\n") == [(b"5.a", b"5.a"), (b"6.b", b"6.b")]


def test_the_order_is_that_of_the_times_and_names(maildir: Path) -> None:
    text = "/3 9 16\n100.b 1 1:16:0\n99.z 1 2:16:0\n100.a 1 3:16:0\nname 1 4:16:0\n"
    assert [uidl for _, uidl in entries(maildir, text)] == [b"UID4-16", b"UID2-16", b"UID3-16", b"UID1-16"]


def test_lines_that_courier_skips_are_skipped(maildir: Path) -> None:
    assert entries(maildir, "/3 9 16\n\njunk\n5.a x 1:16:0\n 1 1:16:0\n6.b 1 2:16:0\n7.c 1 3:16") == [
        (b"6.b", b"UID2-16")
    ]


@pytest.mark.parametrize("first", ["/4 9 16", "/x", "/"])
def test_an_unknown_version_is_told(maildir: Path, first: str) -> None:
    with pytest.raises(ValueError, match="clients fetch all messages again"):
        entries(maildir, f"{first}\n5.a 1 1:16:0\n")


@pytest.mark.parametrize(("version", "behind"), [(2, ""), (3, ":0")])
def test_new_messages_get_the_next_numbers_in_the_version_that_is_there(
    maildir: Path, version: int, behind: str
) -> None:
    (maildir / LIST).write_text(f"/{version} 8 16\n5.a:2,S 120 7:15{behind}\n")
    (maildir / "new" / "7.c").write_bytes(b"A: b\n\nx")
    (maildir / "cur" / "6.b:2,S").write_bytes(b"A: b\r\n\r\nx\r\n")
    assert Courier().extend(root(maildir), [b"7.c", b"6.b:2,S", b"5.a"]) == [
        Entry(b"5.a", b"UID7-15"),
        Entry(b"6.b", b"UID9-16"),
        Entry(b"7.c", b"UID8-16"),
    ]
    text = f"/{version} 10 16\n5.a:2,S 120 7:15{behind}\n6.b:2,S 14 9:16{behind}\n7.c:2, 11 8:16{behind}\n"
    assert (maildir / LIST).read_text() == text
    assert {path.name for path in maildir.iterdir()} == {"new", "cur", "tmp", LIST}


def test_a_header_that_is_not_ascii_is_marked_as_utf8(maildir: Path) -> None:
    (maildir / LIST).write_text("/3 8 16\n")
    (maildir / "new" / "7.c").write_bytes("A: é\n\nx\n".encode())
    (maildir / "new" / "8.d").write_bytes("A: e\n\né\n".encode() * 70_000)
    Courier().extend(root(maildir), [b"7.c", b"8.d"])
    assert (maildir / LIST).read_text().splitlines()[1:] == ["7.c:2, 12 8:16:1", "8.d:2, 840000 9:16:0"]


def test_a_file_in_cur_without_an_info_is_entered_as_courier_finds_it(maildir: Path) -> None:
    (maildir / "cur" / "7.c").write_bytes(b"")
    Courier().extend(root(maildir), [b"7.c"])
    assert (maildir / LIST).read_text().splitlines()[1].startswith("7.c 0 1:")


def test_a_list_is_begun_in_the_version_that_every_courier_reads(maildir: Path) -> None:
    (maildir / "new" / "7.c").write_bytes(b"")
    assert [entry.uidl[:5] for entry in Courier().extend(root(maildir), [b"7.c"])] == [b"UID1-"]
    assert (maildir / LIST).read_text()[:5] == "/2 2 "


@pytest.mark.parametrize("name", [b"7.a\n9.x", b"7.a\rx", b":2,S"])
def test_names_that_no_list_can_have_are_left_out(maildir: Path, name: bytes) -> None:
    (maildir / LIST).write_text("/2 8 16\n")
    for each in (name, b"8.d"):
        Path(os.fsdecode(root(maildir) + b"cur/" + each)).write_bytes(b"")
    assert Courier().extend(root(maildir), [name, b"8.d"]) == [Entry(b"8.d", b"UID8-16")]
    given = [Entry(name, b"UID20-16"), Entry(b"8.d", b"UID21-16")]
    assert tuple(Courier().give_back(root(maildir), given, False)) == (2, 1, 1)
    assert (maildir / LIST).read_text() == "/2 22 16\n8.d 0 21:16\n"


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError])
def test_a_file_that_cannot_be_opened_is_left_out(
    maildir: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    def refused(path: bytes) -> int:
        raise error(path)

    (maildir / "new" / "7.c").write_bytes(b"")
    monkeypatch.setattr(courier, "open_to_read", refused)
    assert Courier().extend(root(maildir), [b"7.c"]) == []


def test_nothing_is_written_through_links(maildir: Path) -> None:
    elsewhere = maildir / "elsewhere"
    elsewhere.mkdir()
    (maildir / "tmp").rmdir()
    (maildir / "tmp").symlink_to(elsewhere)
    (maildir / "new" / "7.c").write_bytes(b"")
    (maildir / f"{LIST}.tmp").symlink_to(elsewhere / "list")
    with pytest.raises(OSError, match="symbolic links"):
        Courier().extend(root(maildir), [b"7.c"])
    (maildir / f"{LIST}.tmp").unlink()
    Courier().extend(root(maildir), [b"7.c"])
    assert not list(elsewhere.iterdir())


def test_a_link_in_place_of_a_message_is_not_followed(maildir: Path) -> None:
    (maildir / "new" / "7.c").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic links"):
        Courier().extend(root(maildir), [b"7.c"])


def test_a_file_that_was_renamed_meanwhile_is_found_and_one_that_is_gone_is_left_out(maildir: Path) -> None:
    (maildir / LIST).write_text("/2 8 16\n")
    (maildir / "cur" / "7.c:2,RS").write_bytes(b"x\n")
    names = [b"7.c", b"8.d"]
    assert Courier().extend(root(maildir), names) == [Entry(b"7.c", b"UID8-16")]
    assert (maildir / LIST).read_text() == "/2 9 16\n7.c:2,RS 3 8:16\n"
    given = [Entry(name, b"UID%d-16" % number) for number, name in enumerate(names, 20)]
    assert tuple(Courier().give_back(root(maildir), given, False)) == (2, 1, 0)
    assert (maildir / LIST).read_text() == "/2 21 16\n7.c:2,RS 3 20:16\n"


def test_what_couriers_list_can_hold_goes_back(maildir: Path) -> None:
    (maildir / LIST).write_text("/3 8 16\n1.gone 9 1:16:0\n5.a:2,S 120 7:15:1\n6.b 3 6:16:0\n")
    (maildir / "cur" / "7.c:2,S").write_bytes(b"A: b\n\nx\n")
    (maildir / "new" / "8.d").write_bytes(b"")
    (maildir / "new" / "9.e,S=3").write_bytes(b"")
    ours = [
        (b"5.a", b"UID7-15"),
        (b"6.b:2,", b"UID9-16"),
        (b"7.c:2,S", b"7.c"),
        (b"8.d", b"UID3"),
        (b"9.e,S=3", b"9.e"),
    ]
    given = [Entry(*each) for each in ours]
    text = (maildir / LIST).read_text()
    assert tuple(Courier().give_back(root(maildir), given, True)) == (5, 3, 1)
    assert (maildir / LIST).read_text() == text
    assert tuple(Courier().give_back(root(maildir), given, False)) == (5, 3, 1)
    assert (maildir / LIST).read_text() == (
        "/3 10 16\n1.gone 9 1:16:0\n5.a:2,S 120 7:15:1\n6.b 3 9:16:0\n7.c:2,S 11 0:0:0\n8.d:2, 0 3:0:0\n"
    )
    assert tuple(Courier().give_back(root(maildir), given, False)) == (5, 0, 1)


@pytest.mark.parametrize(
    "uidl", [b"UID0-1", b"UID01-1", b"UID1-0", b"UID1-01", b"UID" + b"9" * 20, b"uid1-1", b"UID-1"]
)
def test_what_only_looks_like_couriers_cannot_go_back(maildir: Path, uidl: bytes) -> None:
    assert Courier().give_back(root(maildir), [Entry(b"5.a", uidl)], False).lost == 1
    assert not (maildir / LIST).exists()
