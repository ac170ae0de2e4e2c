"""The table of users who move."""

import pytest

from mailserver.migration.table import Master, Row, read_master, read_table


def table(tmp_path, text):
    path = tmp_path / "users"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_each_line_is_a_user_with_the_old_name_and_the_secret(tmp_path):
    path = table(tmp_path, "alice:alice@old.example:a:b: c \r\n\n  \n# carol\nbob::x\njörg\ndave:d\n")
    assert read_table(path) == [
        Row("alice", "alice@old.example", "a:b: c "),
        Row("bob", "bob", "x"),
        Row("jörg", "jörg", ""),
        Row("dave", "d", ""),
    ]


def test_a_secret_that_begins_with_a_number_sign_is_one(tmp_path):
    assert read_table(table(tmp_path, "alice::#1\n")) == [Row("alice", "alice", "#1")]


def test_all_that_is_wrong_is_told_with_its_line_and_without_a_secret(tmp_path):
    path = table(tmp_path, b"alice\n:b:sesame\nalice:x:sesame\n\xff::sesame\n")
    with pytest.raises(ValueError, match="wrong") as caught:
        read_table(path)
    assert str(caught.value).splitlines() == [
        f"{path}: 3 lines are wrong",
        f"{path}:2: there is no name before the first colon",
        f"{path}:3: alice has a line already",
        f"{path}:4: it is not UTF-8",
    ]
    assert caught.value.__context__ is None


def test_of_many_wrong_lines_the_first_are_told(tmp_path):
    with pytest.raises(ValueError, match="1000 lines") as caught:
        read_table(table(tmp_path, ":\n" * 1000))
    assert len(str(caught.value).splitlines()) == 11


def test_a_file_that_cannot_be_read_is_the_system_s_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "nowhere")


def test_the_secret_is_in_no_repr():
    assert "sesame" not in repr(Row("alice", "alice", "sesame"))


def test_a_master_user_and_the_secret_are_a_line(tmp_path):
    assert read_master(table(tmp_path, "master@example.org:a:b \r\n")) == Master("master@example.org", "a:b ")
    assert "sesame" not in repr(Master("m", "sesame"))


@pytest.mark.parametrize("text", ["", "master\n", ":sesame\n", "master:\n", "m:sesame\nn:sesame\n", b"\xff:sesame"])
def test_what_is_no_master_user_is_told_without_the_secret(tmp_path, text):
    path = table(tmp_path, text)
    with pytest.raises(ValueError, match="one line NAME:PASSWORD") as caught:
        read_master(path)
    assert str(path) in str(caught.value)
    assert "sesame" not in str(caught.value)
    assert caught.value.__context__ is None
