"""Changes of a passwd-file: one line, in one step, and nothing else of it."""

import os
import stat
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.auth.passwd import editing
from mailserver.auth.passwd.editing import Line, Unchanged
from mailserver.errors import ConfigError

OTHERS = b"# my users\n\nbob:{PLAIN}x:1:2:Bob, the builder:/home/bob:/bin/sh:allow_nets=10.0.0.0/8\r\nbroken\n"


@pytest.fixture
def path(tmp_path):
    made = tmp_path / "users"
    made.write_bytes(OTHERS)
    made.chmod(0o640)
    return made


def line(name, secret=b"{PLAIN}s", extra=b""):
    return Line(name, secret, b"", b"", b"", b"", b"", extra)


def test_a_user_comes_in_at_the_end_and_all_else_stays(path):
    assert editing.add(str(path), line(b"alice")) == ""
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
    ],
)
def test_what_the_server_could_not_read_is_not_written(path, change, why):
    with pytest.raises(Unchanged) as raised:
        change(str(path))
    assert str(raised.value) == why
    assert path.read_bytes() == OTHERS
    assert [each.name for each in path.parent.iterdir()] == ["users"]


def test_it_says_that_the_user_cannot_log_in_with_such_a_line(path):
    assert editing.add(str(path), line(b"alice", extra=b"nologin"))


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
    assert again == Line.read(text) or again.extra == Line.read(text).extra.rstrip(b":")


def test_the_file_is_that_of_the_settings():
    assert editing.place_of(("pam:x", "passwd-file:/a:domain=example.org")) == ("/a", "example.org")
    for checkers in ((), ("passwd-file:/a", "passwd-file:/b")):
        with pytest.raises(ConfigError, match="name one by --file"):
            editing.place_of(checkers)
