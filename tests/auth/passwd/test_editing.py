"""Changes of a passwd-file: one line, in one step, and nothing else of it."""

import os
import stat
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.auth.passwd import editing
from mailserver.auth.passwd.editing import Line, Unchanged
from mailserver.errors import ConfigError
from mailserver.names import Names

OTHERS = b"# my users\n\nbob:{PLAIN}x:1:2:Bob, the builder:/home/bob:/bin/sh:allow_nets=10.0.0.0/8\r\nbroken\n"
NO_COLON = "no field, nor a password that is stored as it is, may hold a colon or a line end"
BOB_COULD_NOT = "'bob' could not log in: the scheme NO-SUCH is not supported"


@pytest.fixture
def path(tmp_path):
    made = tmp_path / "users"
    made.write_bytes(OTHERS)
    made.chmod(0o640)
    return made


def line(name, secret=b"{PLAIN}s", extra=b""):
    return Line(name, secret, b"", b"", b"", b"", b"", extra)


def test_a_user_comes_in_at_the_end_and_all_else_stays(path):
    entry = editing.add(str(path), line(b"alice"))
    assert (entry.user.name, entry.user.denied, entry.trouble) == ("alice", "", "")
    assert path.read_bytes() == OTHERS + b"alice:{PLAIN}s\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [each.name for each in path.parent.iterdir()] == ["users"]


def test_a_file_without_a_last_line_end_gets_it(path):
    path.write_bytes(b"bob:{PLAIN}x")
    editing.add(str(path), line(b"alice"))
    assert path.read_bytes() == b"bob:{PLAIN}x\nalice:{PLAIN}s\n"


def test_a_change_keeps_the_fields_that_it_does_not_name_and_the_line_s_end(path):
    editing.edit(
        str(path), b"bob", lambda each: each._replace(secret=b"{PLAIN}y").with_extra({"nologin": ""}, frozenset())
    )
    assert path.read_bytes() == OTHERS.replace(b"{PLAIN}x", b"{PLAIN}y").replace(b"10.0.0.0/8", b"10.0.0.0/8 nologin")


def test_a_user_goes_and_the_others_stay(path):
    editing.remove(str(path), b"bob")
    assert path.read_bytes() == b"# my users\n\nbroken\n"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda path: editing.add(path, line(b"bob")), "'bob' is there already"),
        (lambda path: editing.remove(path, b"carol"), "there is no 'carol'"),
        (lambda path: editing.edit(path, b"# my users", lambda each: each), "there is no '# my users'"),
        (lambda path: editing.add(path, line(b"a:b")), "'a:b' cannot be a user's name"),
        (lambda path: editing.add(path, line(b"a/b")), "'a/b' cannot be a user's name"),
        (lambda path: editing.add(path, line(b"#a")), "'#a' cannot be a user's name"),
        (lambda path: editing.add(path, line(b"a\nroot")), "'a\\nroot' cannot be a user's name"),
        (
            lambda path: editing.add(path, line(b"alice", b"{NO-SUCH}s")),
            "'alice' could not log in: the scheme NO-SUCH is not supported",
        ),
        (lambda path: editing.add(path, line(b"alice", b"")), "'alice' could not log in: there is no password"),
        (lambda path: editing.add(path, line(b"alice", b"{PLAIN}a:b")), NO_COLON),
        (lambda path: editing.add(path, line(b"alice")._replace(home=b"/a:b")), NO_COLON),
        (lambda path: editing.add(path, line(b"alice")._replace(home=b"/a\nroot:{PLAIN}x")), NO_COLON),
        (lambda path: editing.edit(path, b"bob", lambda each: each._replace(secret=b"{PLAIN}a:b")), NO_COLON),
        (lambda path: editing.edit(path, b"bob", lambda each: each._replace(secret=b"{NO-SUCH}s")), BOB_COULD_NOT),
    ],
)
def test_what_the_server_could_not_read_is_not_written(path, change, why):
    with pytest.raises(Unchanged) as raised:
        change(str(path))
    assert str(raised.value) == why
    assert path.read_bytes() == OTHERS
    assert [each.name for each in path.parent.iterdir()] == ["users"]


def test_in_the_file_of_a_domain_a_name_is_the_same_with_it_and_without(path):
    with pytest.raises(Unchanged, match=r"'bob@example\.org' is there already"):
        editing.add(str(path), line(b"bob@example.org"), "example.org")
    editing.edit(str(path), b"bob@example.org", lambda each: each._replace(home=b"/new"), "example.org")
    assert b":/new:" in path.read_bytes()
    with pytest.raises(Unchanged, match="the user's domain is not the file's"):
        editing.add(str(path), line(b"alice@example.net"), "example.org")
    editing.remove(str(path), b"bob@example.org", "example.org")
    assert path.read_bytes() == b"# my users\n\nbroken\n"


def test_names_are_those_that_the_server_reads(path):
    names = Names(case="lower", tag_separators="+")
    with pytest.raises(Unchanged, match="'Bob' is there already, as 'bob'"):
        editing.add(str(path), line(b"Bob"), names=names)
    with pytest.raises(Unchanged, match=r"would not read the line of 'a\+b': nobody can log in with it"):
        editing.add(str(path), line(b"a+b"), names=names)
    assert path.read_bytes() == OTHERS
    assert editing.add(str(path), line(b"Bob")).user.name == "Bob"


def test_of_a_user_who_goes_no_second_line_is_left_that_would_count_from_now_on(path):
    path.write_bytes(OTHERS + b"bob:{PLAIN}old\n")
    editing.remove(str(path), b"bob")
    assert path.read_bytes() == b"# my users\n\nbroken\n"


def test_who_could_not_log_in_before_can_be_changed_and_that_is_told(path):
    entry = editing.edit(str(path), b"broken", lambda each: each._replace(home=b"/home/broken"))
    assert entry.trouble == "there is no password"
    assert path.read_bytes().endswith(b"\nbroken:::::/home/broken\n")


def test_colons_at_the_end_of_an_extra_field_stay(path):
    path.write_bytes(b"bob:{PLAIN}x::::::userdb_mail=maildir:~/mail:\n")
    editing.edit(str(path), b"bob", lambda each: each._replace(secret=b"{PLAIN}y"))
    assert path.read_bytes() == b"bob:{PLAIN}y::::::userdb_mail=maildir:~/mail:\n"


def test_the_group_stays_where_new_files_get_the_folder_s(path):
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to another group")
    os.chown(path.parent, -1, 54_321)
    path.parent.chmod(0o2755)
    group = path.stat().st_gid
    editing.add(str(path), line(b"alice"))
    assert path.stat().st_gid == group


def test_the_access_list_stays(path):
    name, entries = "system.posix_acl_access", ((1, 6), (2, 4, 12_345), (4, 4), (16, 4), (32, 0))
    packed = [struct.pack("<HHI", tag, rights, *(who or [0xFFFFFFFF])) for tag, rights, *who in entries]
    os.setxattr(path, name, struct.pack("<I", 2) + b"".join(packed))
    before = os.getxattr(path, name)
    editing.add(str(path), line(b"alice"))
    assert os.getxattr(path, name) == before


def test_it_says_that_the_user_cannot_log_in_with_such_a_line(path):
    assert editing.add(str(path), line(b"alice", extra=b"nologin")).user.denied


def test_a_link_stays_a_link(path, tmp_path):
    (tmp_path / "link").symlink_to("users")
    editing.add(str(tmp_path / "link"), line(b"alice"))
    assert (tmp_path / "link").is_symlink()
    assert path.read_bytes() == OTHERS + b"alice:{PLAIN}s\n"


def test_a_disk_without_room_leaves_the_old_file(path, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        editing.add(str(path), line(b"alice"))
    assert path.read_bytes() == OTHERS
    assert [each.name for each in path.parent.iterdir()] == ["users"]


def test_of_changes_at_the_same_time_none_is_lost(path):
    names = [b"user%d" % number for number in range(20)]
    threads = [threading.Thread(target=editing.add, args=(str(path), line(name))) for name in names]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    added = path.read_bytes().removeprefix(OTHERS).splitlines()
    assert sorted(added) == sorted(name + b":{PLAIN}s" for name in names)


@given(st.lists(st.text("abc:=@ x", max_size=12).map(str.encode), max_size=8))
def test_a_line_that_is_read_and_written_means_the_same(fields):
    text = b":".join([b"alice", b"s", *fields])
    again = Line.read(Line.read(text).written())
    assert again == Line.read(text)


def test_the_file_is_that_of_the_settings():
    assert editing.place_of(("pam:x", "passwd-file:/a:domain=example.org")) == ("/a", "example.org")
    for checkers in ((), ("passwd-file:/a", "passwd-file:/b")):
        with pytest.raises(ConfigError, match="name one by --file"):
            editing.place_of(checkers)
