"""Which reader an option ``former=`` names."""

from __future__ import annotations

import pytest

from mailserver.cli.formers import formers
from mailserver.store.maildir.ours import Ours


@pytest.fixture
def root(tmp_path):
    for folder in ("new", "cur", "tmp"):
        (tmp_path / folder).mkdir()
    for name in ("1700000000.a.host", "1700000001.b.host"):
        (tmp_path / "new" / name).touch()
    (tmp_path / "dovecot-uidlist").write_bytes(b"3 V7 N2\n1 :1700000000.a.host\n")
    return bytes(tmp_path) + b"/"


@pytest.mark.parametrize(
    ("text", "uidls"),
    [
        ("", [b"1700000000.a.host", b"1700000001.b.host"]),
        ("dovecot:%v.%u", [b"7.1"]),
        ("ours:dovecot:%v.%u", [b"7.1", b"1700000001.b.host"]),
        ("ours:", [b"1700000000.a.host", b"1700000001.b.host"]),
    ],
)
def test_the_reader_shows_what_that_server_does(root, text, uidls):
    assert [entry.uidl for entry in formers(text).entries(root)] == uidls


def test_nothing_is_written(root, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    formers("ours:dovecot").entries(root)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("text", ["dovcot", "ours:dovcot", "ours"])
def test_what_is_no_server_is_told(text):
    with pytest.raises(ValueError, match="dovecot"):
        formers(text)


def test_without_a_name_it_is_this_server():
    assert isinstance(formers(""), Ours)
