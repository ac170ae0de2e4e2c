"""Cyrus' sasldb2, written by the real saslpasswd2 and read by the real db_dump."""

import shutil
import subprocess
from base64 import b64encode

import pytest

from mailserver.migration.users import sasldb
from mailserver.migration.users.converted import NoProgram, Unconvertible
from tests.interop.unpacked import unpacked
from tests.migration.users.verified import opens, table

PASSWORDS = {
    ("alice", "example.org"): b"wonderland",
    ("alice", "example.net"): b"other",
    ("bob", "mail.example.org"): b"with : and blanks ",
    ("Zoë", "example.org"): "pÄss\\wörd".encode(),
    ("carol", "example.org"): bytes(range(1, 256)).replace(b"\n", b"").replace(b"\r", b""),
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A sasldb2."""
    program = unpacked("usr/sbin/saslpasswd2", "sasl2-bin")
    path = tmp_path_factory.mktemp("sasl") / "sasldb2"
    for (name, realm), password in PASSWORDS.items():
        command = [program, "-p", "-c", "-f", path, "-u", realm, name]
        subprocess.run(command, input=password, check=True, timeout=60)
    return path


def test_each_user_logs_in_with_the_old_password(filled):
    converted = sasldb.read_sasldb(str(filled), frozenset({"mail.example.org"}))
    assert converted.remarks == []
    assert set(table(converted)) == {
        "alice@example.org",
        "alice@example.net",
        "bob",
        "Zoë@example.org",
        "carol@example.org",
    }
    for (name, realm), password in PASSWORDS.items():
        user = name if realm == "mail.example.org" else f"{name}@{realm}"
        assert opens(converted, user, password)
        assert not opens(converted, user, password + b"x")


def test_what_is_shown_has_no_password(filled):
    converted = sasldb.read_sasldb(str(filled))
    for password in PASSWORDS.values():
        for form in (password.decode("latin-1"), b64encode(password).decode()):
            assert form not in converted.shown
            assert form not in repr(converted)
    assert "alice@example.org:{PLAIN}...\n" in converted.shown


@pytest.mark.parametrize("options", [[], ["-p"]], ids=["bytevalue", "print"])
def test_a_dump_from_another_machine_is_as_good(filled, tmp_path, options):
    dump = tmp_path / "dump"
    dump.write_bytes(subprocess.run(["db_dump", *options, filled], capture_output=True, check=True).stdout)
    there, here = sasldb.read_sasldb(str(dump)), sasldb.read_sasldb(str(filled))
    assert there.text.partition("\n")[2] == here.text.partition("\n")[2]


def dump_of(tmp_path, pairs, head=b"VERSION=3\nformat=bytevalue\ntype=hash\nHEADER=END\n", tail=b"DATA=END\n"):
    path = tmp_path / "dump"
    path.write_bytes(head + b"".join(b" %b\n" % each.hex().encode() for pair in pairs for each in pair) + tail)
    return str(path)


def test_a_user_without_a_password_is_told_and_one_with_more_than_it_too(tmp_path):
    pairs = [(b"otto\0r\0cmusaslsecretOTP", b"x"), (b"eve\0r\0cmusaslsecretOTP", b"y"), (b"eve\0r\0userPassword", b"z")]
    converted = sasldb.read_sasldb(dump_of(tmp_path, pairs))
    assert set(table(converted)) == {"eve@r"}
    eve, otto = sorted(converted.remarks)
    assert (eve.about, eve.text.startswith("left out")) == ("eve@r", False)
    assert (otto.about, otto.text.startswith("left out")) == ("otto@r", True)


def test_a_name_that_no_line_can_hold_is_left_out_and_told(tmp_path):
    names = [b"a:b", b"#c", b"..", b"\xff", b"line\nend", b""]
    converted = sasldb.read_sasldb(dump_of(tmp_path, [(b"%b\0\0userPassword" % name, b"secret") for name in names]))
    assert table(converted) == {}
    assert len(converted.remarks) == len(names)
    assert all("left out" in each.text and "secret" not in each.text.partition(":")[2] for each in converted.remarks)


def test_two_realms_that_make_one_user_do_not_let_the_second_in(tmp_path):
    pairs = [(b"alice\0one\0userPassword", b"first"), (b"alice\0two\0userPassword", b"second")]
    converted = sasldb.read_sasldb(dump_of(tmp_path, pairs), frozenset({"one", "two"}))
    assert opens(converted, "alice", b"first")
    assert [each.about for each in converted.remarks] == ["alice"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pairs": [], "tail": b""}, "not whole"),
        ({"pairs": [(b"alice\0r\0userPassword",)]}, "broken"),
        ({"pairs": [(b"some", b"thing")]}, "no sasldb2"),
        ({"pairs": [], "tail": b" zz\n 00\nDATA=END\n"}, "broken"),
    ],
    ids=["cut", "odd", "another-database", "no-digits"],
)
def test_what_is_no_sasldb_is_refused_in_words(tmp_path, given, said):
    with pytest.raises(Unconvertible, match=said):
        sasldb.read_sasldb(dump_of(tmp_path, **given))


def test_a_file_of_another_kind_is_refused_in_words(tmp_path):
    (tmp_path / "text").write_text("no database\n")
    with pytest.raises(Unconvertible, match="no Berkeley DB"):
        sasldb.read_sasldb(str(tmp_path / "text"))
    with pytest.raises(Unconvertible, match="No such file"):
        sasldb.read_sasldb(str(tmp_path / "nothing"))


def test_without_db_dump_it_says_where_that_is_from(filled, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NoProgram, match="apt-get install db-util"):
        sasldb.read_sasldb(str(filled))


def test_the_second_name_of_db_dump_serves_too(filled, tmp_path, monkeypatch):
    (tmp_path / "db5.3_dump").symlink_to(shutil.which("db_dump"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "alice@example.org" in table(sasldb.read_sasldb(str(filled)))
