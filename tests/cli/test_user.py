"""``mailserver user`` and ``mailserver password``: an operator makes users, and they log in."""

import json
import os

import pytest

from tests.cli.running import run
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site, toml


@pytest.fixture
def site():
    with Site() as made:
        made.account("alice")
        yield made


def settings(site):
    path = site.folder / "settings.toml"
    path.write_text(toml({"listen": {"pop3": ["tcp:110"]}, "auth": {"checkers": [f"passwd-file:{site.users}"]}}))
    return ["--config", str(path)]


def test_a_user_is_added_changed_and_removed_while_the_server_runs(site):
    config = settings(site)
    (site.folder / "bob").mkdir()
    with Server(site) as server:
        told = run("user", "add", "bob", "--home", str(site.folder / "bob"), *config, stdin=b"first of bob\n")
        assert (told.returncode, told.stdout, told.stderr) == (0, b"", b"")
        with RawPOP3(server.pop3_port) as client:
            client.login("bob", "first of bob")
        changed = run("user", "set", "bob", "--password", "--scheme", "scram-sha-256", *config, stdin=b"second\n")
        assert (changed.returncode, changed.stderr) == (0, b"")
        with RawPOP3(server.pop3_port) as client:
            client.login("bob", "second")
        assert run("user", "remove", "bob", *config).returncode == 0
        with RawPOP3(server.pop3_port) as client:
            client.ok(b"USER bob")
            client.send(b"PASS second\r\n")
            assert client.line().startswith(b"-ERR [AUTH]")
    assert site.users.read_bytes().count(b"\n") == 1


def test_no_password_is_told_or_written(site):
    config = settings(site)
    run("user", "add", "bob", *config, stdin=b"the sesame of bob\n")
    told = run("user", "add", "bob", *config, stdin=b"the sesame of bob\n")
    assert told.returncode == 1
    assert told.stderr == b"mailserver: 'bob' is there already; nothing was changed\n"
    assert b"sesame of bob" not in site.users.read_bytes() + told.stdout + told.stderr


def test_a_line_that_lets_nobody_in_is_made_and_told(site):
    told = run("user", "set", "alice", "--field", "nologin", *settings(site))
    assert told.returncode == 0
    assert told.stderr.startswith(b"mailserver: done; with this line the user cannot log in: ")


def test_a_line_without_the_home_that_the_store_needs_is_made_and_told(site):
    config = settings(site)
    told = run("user", "add", "bob", *config, stdin=b"x\n")
    assert (told.returncode, told.stderr) == (
        0,
        b"mailserver: done; but store.url has {home}, and this line has none: give it one by --home\n",
    )
    for mended in (["--home", "/home/bob"], ["--home", "", "--field", "userdb_mail=maildir:/mail/bob"]):
        assert run("user", "set", "bob", *mended, *config).stderr == b""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["set", "alice"], os.EX_USAGE),
        (["set", "alice", "--field", "a b"], os.EX_USAGE),
        (["set", "alice", "--home", "/a:b"], os.EX_USAGE),
        (["add", "a:b"], os.EX_USAGE),
        (["add", "carol", "--home", "/a\n"], os.EX_USAGE),
        (["add", "carol", "--scheme", "DES"], os.EX_CONFIG),
        (["add", "carol", "--file", "/nowhere/users"], os.EX_CONFIG),
        (["remove", "carol"], 1),
    ],
)
def test_what_cannot_be_done_has_a_status(site, arguments, status):
    before = site.users.read_bytes()
    assert run("user", *arguments, *settings(site), stdin=b"x\n").returncode == status
    assert site.users.read_bytes() == before


def test_a_file_that_cannot_be_written_is_named_with_the_remedy_and_no_other(site):
    told = run("user", "add", "carol", "--file", "/nowhere/users", stdin=b"x\n")
    assert (
        told.stderr
        == b"mailserver: /nowhere/users cannot be changed: No such file or directory; make its folder first\n"
    )


def test_an_empty_password_is_none(site):
    assert run("user", "add", "carol", *settings(site), stdin=b"\n").returncode == os.EX_USAGE
    assert run("password", stdin=b"").returncode == os.EX_USAGE


def test_a_secret_is_made_and_tried(tmp_path):
    made = run("password", stdin=b"sesame\n")
    assert (made.returncode, made.stderr) == (0, b"")
    assert made.stdout.startswith(b"{BLF-CRYPT}$2y$10$")
    file = tmp_path / "secret"
    file.write_bytes(made.stdout)
    for given, status in ((b"sesame\n", 0), (b"sesame", 0), (b"Sesame\n", 1)):
        assert run("password", "--try", str(file), stdin=given).returncode == status
    assert run("password", "--try", "-", stdin=made.stdout + b"sesame\n").stdout == b"right\n"
    assert run("password", "--try", "/nowhere", stdin=b"x").returncode == os.EX_CONFIG
    assert run("password", "--scheme", "ROT13", stdin=b"x\n").returncode == os.EX_CONFIG
    assert run("password", "--schemes").stdout.split()[0] == b"BLF-CRYPT"


def test_programs_get_objects(site, tmp_path):
    config = settings(site)

    def told(*arguments, stdin=b"sesame\n"):
        return [json.loads(line) for line in run(*arguments, "--json", stdin=stdin).stdout.splitlines()]

    (made,) = told("password", "--scheme", "PLAIN")
    assert made == {"secret": "{PLAIN}sesame"}
    assert told("password", "--try", "-", stdin=b"{PLAIN}sesame\nwrong\n") == [{"right": False}]
    assert {"scheme": "BLF-CRYPT"} in told("password", "--schemes")
    path = str(site.users)
    assert told("user", "add", "bob", "--scheme", "PLAIN", *config) == [{"user": "bob", "file": path, "denied": ""}]
    (changed,) = told("user", "set", "bob", "--field", "nologin", *config)
    assert "nologin" in changed["denied"]
    assert told("user", "remove", "bob", *config) == [{"user": "bob", "file": path, "denied": ""}]
    assert told("user", "remove", "bob", *config) == []
