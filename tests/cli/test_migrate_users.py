"""``mailserver migrate users``: what it shows, what it writes, and what it never does."""

import errno
import json
import os
import stat
import subprocess

import pytest

from mailserver.cli import migrate_users, new_file, reading_back
from mailserver.migration.users import kinds
from mailserver.store.maildir import files
from tests.cli.running import run
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site

SECRETS = (b"wonderland", b"d29uZGVyOmxhbmQ=", b"wonder:land", b"W6ph5Mm5Pz8GgiULbPgzG37mj9g=")

USERDB = b"""\
alice\thome=/srv/alice|systempw={SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=
bob\thome=/srv/bob|pop3pw={CRYPT}wonder:land
carol\thome=/srv/carol|imappw=wonderland
"""


@pytest.fixture
def userdb(tmp_path):
    path = tmp_path / "userdb"
    path.write_bytes(USERDB)
    return path


def names(folder):
    """What is in a folder."""
    return sorted(each.name for each in folder.iterdir())


def test_a_dry_run_shows_the_file_without_secrets_and_says_what_is_lost(userdb, tmp_path):
    told = run("migrate", "users", "courier-userdb", str(userdb))
    assert told.returncode == 1
    assert told.stdout.decode() == f"# Users of {userdb}.\nalice:{{SHA}}...::::/srv/alice\ncarol:::::/srv/carol\n"
    lines = told.stderr.decode().splitlines()
    assert lines[0].startswith(f"mailserver: {userdb}:3: carol: there is no password for POP3")
    assert lines[1].startswith("mailserver: bob: left out: its secret has a character")
    assert lines[2] == "mailserver: the new file: line 3: carol cannot log in: there is no password"
    assert not any(secret in told.stdout + told.stderr for secret in SECRETS)
    assert names(tmp_path) == ["userdb"]


def test_each_kind_has_a_converter_and_what_it_becomes_a_reader():
    read = {*kinds.TEXTS, "courier-userdb", "dovecot-users", "sasldb", "sql"}
    assert set(migrate_users.KINDS) == set(kinds.BECOMES) == read
    assert set(kinds.BECOMES.values()) == set(reading_back.READERS)


def test_a_text_may_come_by_standard_input():
    told = run("migrate", "users", "courier-userdb", "-", stdin=USERDB)
    assert told.stdout.startswith(b"# Users of standard input.\nalice:")
    assert told.stderr.startswith(b"mailserver: standard input:3: carol: there is no password")


def test_programs_get_one_object_without_secrets(userdb):
    told = run("migrate", "users", "courier-userdb", str(userdb), "--json")
    assert (told.returncode, told.stderr) == (1, b"")
    facts = json.loads(told.stdout)
    assert facts["output"] is None
    assert facts["file"].endswith("carol:::::/srv/carol\n")
    assert [each["about"] for each in facts["remarks"]] == [f"{userdb}:3: carol", "bob", "the new file"]
    assert not any(secret in told.stdout for secret in SECRETS)


def test_no_name_in_a_remark_steers_the_terminal(userdb):
    userdb.write_bytes(b"car\x1b[2Jol\xff\thome=/srv/carol\n")
    told = run("migrate", "users", "courier-userdb", str(userdb))
    assert b"car\\x1b[2Jol\\udcff: there is no password" in told.stderr
    assert b"\x1b" not in told.stderr


def test_what_is_written_is_its_owner_s_alone_and_replaces_nothing(userdb, tmp_path):
    output = tmp_path / "users"
    arguments = ("migrate", "users", "courier-userdb", str(userdb), "--output", str(output))
    told = run(*arguments)
    assert (told.returncode, told.stdout) == (1, b"")
    assert output.stat().st_mode & 0o777 == 0o600
    written = output.read_bytes()
    assert b"alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=::::/srv/alice\n" in written
    userdb.write_bytes(b"dave\thome=/d|systempw=x\n")
    again = run(*arguments)
    assert again.returncode == os.EX_CANTCREAT
    assert b"it exists" in again.stderr
    assert output.read_bytes() == written
    assert names(tmp_path) == ["userdb", "users"]


def test_an_output_that_cannot_be_written_is_told(userdb, tmp_path):
    told = run("migrate", "users", "courier-userdb", str(userdb), "-o", str(tmp_path / "no/users"))
    assert told.returncode == os.EX_CANTCREAT
    assert b"cannot be written: No such file or directory" in told.stderr


def test_a_link_that_leads_nowhere_is_not_written_through(userdb, tmp_path):
    (tmp_path / "users").symlink_to(tmp_path / "elsewhere")
    told = run("migrate", "users", "courier-userdb", str(userdb), "-o", str(tmp_path / "users"))
    assert told.returncode == os.EX_CANTCREAT
    assert not (tmp_path / "elsewhere").exists()


def test_a_kill_at_any_call_leaves_the_whole_file_or_none(userdb, tmp_path, monkeypatch):
    """Each call in turn fails, as where the disk is full or the process gets a signal."""
    for name in ("fsync", "link"):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, _full)
            with pytest.raises(OSError, match="full"):
                new_file.write_new(str(tmp_path / "users"), b"data")
        assert names(tmp_path) == ["userdb"]
    new_file.write_new(str(tmp_path / "users"), b"data")
    assert (tmp_path / "users").read_bytes() == b"data"


def test_a_folder_that_cannot_be_made_durable_has_the_file_all_the_same(tmp_path, monkeypatch):
    """CIFS and FUSE do not know fsync of a directory."""
    fsync = os.fsync

    def unable(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", unable)
    monkeypatch.setattr(files, "_unable", {})
    new_file.write_new(str(tmp_path / "users"), b"data")
    assert (tmp_path / "users").read_bytes() == b"data"
    assert len(files.unsynced()) == 1


def _full(*_):
    raise OSError(28, "full")


def test_what_is_no_such_file_and_a_missing_program_have_their_statuses(tmp_path):
    (tmp_path / "text").write_text("text")
    told = run("migrate", "users", "sasldb", str(tmp_path / "text"))
    assert (told.returncode, told.stdout) == (os.EX_DATAERR, b"")
    assert b"no Berkeley DB" in told.stderr
    told = run("migrate", "users", "sasldb", str(tmp_path / "text"), PATH="/nowhere")
    assert told.returncode == os.EX_UNAVAILABLE
    assert b"apt-get install db-util" in told.stderr
    assert run("migrate", "users", "exchange", "x").returncode == os.EX_USAGE


def test_the_users_of_a_real_sasldb_log_in_to_the_server_with_what_is_written(tmp_path):
    from tests.interop.unpacked import unpacked

    program, path = unpacked("usr/sbin/saslpasswd2", "sasl2-bin"), tmp_path / "sasldb2"
    command = [program, "-p", "-c", "-f", path, "-u", "mail.example.org", "alice"]
    subprocess.run(command, input=b"wonder:land", check=True, timeout=60)
    with Site() as site:
        made = site.folder / "made"
        told = run("migrate", "users", "sasldb", str(path), "--realm", "mail.example.org", "-o", str(made))
        assert (told.returncode, told.stderr) == (0, b"")
        settings = {
            "auth": {"checkers": [f"passwd-file:{made}"], "cleartext": "loopback"},
            "store": {"url": f"maildir:{site.folder}/mail/{{user}}"},
        }
        (site.folder / "mail").mkdir()
        with Server(site, **settings) as server, RawPOP3(server.pop3_port) as client:
            client.login("alice", "wonder:land")
            client.quit()
