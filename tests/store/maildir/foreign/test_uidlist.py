"""Dovecot's list: what is read of it, and what is refused."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mailserver.store.maildir.foreign import lists, uidlist
from mailserver.store.maildir.foreign.uidlist import Record, Uidlist

GUID = "G0a0b0c0d0e0f00010203040506070809"


def written(folder: Path, text: str | bytes) -> bytes:
    path = folder / "dovecot-uidlist"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return os.fsencode(path)


def test_version_1_has_names_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "1 1700000000 9\n3 a.host\n8 b.host,S=3\n")
    assert uidlist.read(path) == Uidlist(1, 1700000000, 9, b"", [Record(3, b"a.host"), Record(8, b"b.host,S=3")])


def test_version_3_has_values_and_names_with_spaces_and_colons(tmp_path: Path) -> None:
    path = written(tmp_path, f"3 V7 N4 {GUID} Xnew\n1 :a\n2 W12 Pold-1 O3 :b :c:2,S\n3  S1   W2 : d\n")
    found = uidlist.read(path)
    assert found[:4] == (3, 7, 4, f"{GUID} Xnew".encode())
    assert found.records == [Record(1, b"a"), Record(2, b"b ", b"W12 Pold-1 O3"), Record(3, b" d", b"S1   W2")]
    assert [found.records[1].field(key) for key in (b"W", b"P", b"O", b"G")] == [b"12", b"old-1", b"3", None]


def test_an_empty_value_is_told_from_none() -> None:
    record = Record(1, b"a", b"W3 P")
    assert (record.field(b"P"), record.field(b"O")) == (b"", None)
    assert record.with_field(b"P", b"x").with_field(b"W", None) == Record(1, b"a", b"Px")


def test_of_several_records_of_a_name_the_last_is_left_in_the_order_of_uids(tmp_path: Path) -> None:
    path = written(tmp_path, "3 V7 N4\n1 :a\n2 :b\n3 :a:2,S\n")
    assert [record.uid for record in uidlist.read(path).records] == [2, 3]


def test_a_last_line_without_its_end_is_being_written_and_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, "3 V7 N2\n1 :a\n2 :b")
    assert [record.uid for record in uidlist.read(path).records] == [1]
    assert lists.torn(path)
    assert not lists.torn(written(tmp_path, "3 V7 N2\n"))


def test_the_next_uid_is_behind_the_last_also_where_the_first_line_is_older(tmp_path: Path) -> None:
    assert uidlist.read(written(tmp_path, "3 V7 N2\n1 :a\n5 :b\n")).next_uid == 6
    assert uidlist.read(written(tmp_path, "3 V7 N20\n1 :a\n")).next_uid == 20


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no version that is known"),
        ("2 7 3\n1 0 a\n", "no version that is known"),
        ("3 N2\n", "no UIDVALIDITY"),
        ("3 V7\n", "no next UID"),
        ("1 7\n", "no next UID"),
        ("3 V99999999999 N1\n", "no UIDVALIDITY"),
        ("3 V7 N2\n\n", "line 2 cannot"),
        ("3 V7 N2\n0 :a\n", "line 2 cannot"),
        ("3 V7 N2\nx :a\n", "line 2 cannot"),
        ("3 V7 N2\n1 a\n", "line 2 cannot"),
        ("3 V7 N2\n1 :\n", "line 2 cannot"),
        ("3 V7 N2\n1 ::2,S\n", "line 2 cannot"),
        ("3 V7 N2\n1 :../a\n", "line 2 cannot"),
        ("3 V7 N2\n2 :a\n2 :b\n", "line 3 has the UID 2 after 2"),
        ("3 V7 N2\n2 :a\n1 :b\n", "line 3 has the UID 1 after 2"),
        ("3 V7 N2\n4294967295 :a\n", "has the UID 4294967295"),
        ("3 V7 N2\n1 :" + "a" * 5000, "line 2 has more than 4096"),
        ("3 V7 N2\n1 :a\n2 :" + "a" * 5000 + "\n3 :b\n", "line 3 has more than 4096"),
    ],
)
def test_what_cannot_be_understood_is_told_with_its_line_and_the_remedy(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ValueError, match="clients fetch all messages again") as told:
        uidlist.read(written(tmp_path, text))
    assert why in str(told.value)


def test_links_and_pipes_are_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("3 V7 N2\n1 :a\n")
    (tmp_path / "link").symlink_to(secret)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name, why in (("link", "symlink"), ("fifo", "no regular file"), ("folder", "no regular file")):
        with pytest.raises(ValueError, match=why):
            uidlist.read(os.fsencode(tmp_path / name))
    with pytest.raises(FileNotFoundError):
        uidlist.read(os.fsencode(tmp_path / "none"))


@pytest.mark.parametrize("line", ["", "\\x00" * 60, "9" * 60])
def test_a_list_of_a_quarter_of_a_gigabyte_takes_little_memory(tmp_path: Path, line: str) -> None:
    path = tmp_path / "list"
    text = (line.replace("\\x00", "\0") + "\n").encode()
    with path.open("wb") as file:
        for _ in range(256):
            file.write(text * (2**20 // len(text)))
    code = f"""
from mailserver.store.maildir.foreign import lists, courier
try:
    courier.read({os.fsencode(path)!r})
except ValueError as error:
    assert "more than 1000000 lines" in str(error), error
else:
    raise AssertionError("it was read whole")
"""
    limit = 400 * 2**20
    done = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_list_that_is_larger_than_any_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "dovecot-uidlist"
    with path.open("wb") as file:
        file.truncate(lists.MOST_OCTETS + 1)
    with pytest.raises(ValueError, match="more than 268435456 octets"):
        uidlist.read(os.fsencode(path))


def test_a_list_is_appended_to_in_dovecots_form(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path) + b"/"
    path = written(tmp_path, f"3 V7 N3 {GUID}\n2 W3 :a\n")
    uidlist.append(root, uidlist.read(path), [Record(3, b"b"), Record(4, b"c", b"Px")])
    assert Path(os.fsdecode(path)).read_text() == f"3 V7 N3 {GUID}\n2 W3 :a\n3 :b\n4 Px :c\n"


@pytest.mark.parametrize("text", ["1 7 3\n2 a\n", f"3 V7 N3 {GUID}\n2 :a\n9 :tor"])
def test_an_old_or_torn_list_is_written_anew(tmp_path: Path, text: str) -> None:
    root = os.fsencode(tmp_path) + b"/"
    path = written(tmp_path, text)
    uidlist.append(root, uidlist.read(path), [Record(3, b"b")])
    found = uidlist.read(path)
    assert (found.version, found.validity, found.next_uid) == (3, 7, 4)
    assert found.header[:1] == b"G"
    assert len(found.header) == 33
    assert [record.name for record in found.records] == [b"a", b"b"]
    assert [path.name for path in tmp_path.iterdir()] == ["dovecot-uidlist"]
