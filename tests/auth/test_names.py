from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailserver.auth.names import user_name


@pytest.mark.parametrize(
    "name", ["alice", "Alice", "a.b", "alice@example.org", "jörg", "user+x", "a b", "用户", "{home}", "x" * 255]
)
def test_a_name_is_its_text(name: str) -> None:
    assert user_name(name) == user_name(name.encode("utf-8")) == name


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b".",
        b"..",
        b"../alice",
        b"a/b",
        b"/etc/passwd",
        b"a..b",
        b".alice",
        b"@example.org",
        b"alice@",
        b"alice@.",
        b"..@example.org",
        b"alice@..",
        b"a@@b",
        b"alice\0",
        b"alice\n",
        b"alice\r\n+OK",
        b"\x1b[2Jalice",
        b"alice\x7f",
        "ali\u202ece".encode(),
        "ali\u2028ce".encode(),
        "ali\x85ce".encode(),
        b"\xff\xfe",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"x" * 256,
        "ö".encode() * 128,
        "\udcff",
        (),
        None,
    ],
)
def test_what_could_climb_or_deceive_is_nobodys_name(name: object) -> None:
    assert user_name(name) is None


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_no_name_leaves_its_directory(name: bytes | str) -> None:
    text = user_name(name)
    if text is not None:
        assert 0 < len(text.encode("utf-8")) <= 255
        assert not {"/", "\0", "\n"} & set(text)
        assert not {"", ".", ".."} & set(text.split("@"))
