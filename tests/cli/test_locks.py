"""``mailserver locks`` beside a server with several processes."""

import fcntl
import json
import os

import pytest

from tests.cli.running import run
from tests.cli.test_quota import WHOEVER, settings
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site


@pytest.fixture(scope="module")
def site():
    with Site() as made:
        made.account("alice", messages=[b"one\n"])
        made.account("bob")
        yield made


@pytest.fixture(scope="module")
def server(site):
    with Server(site, user=WHOEVER, workers=2, listen={"control": str(site.folder / "control")}) as running:
        yield running


@pytest.fixture(scope="module")
def config(site, server):
    return settings(site, listen={"pop3": ["tcp:110"], "control": str(site.folder / "control")})


def rows(*arguments):
    told = run("locks", "--json", *arguments)
    return told.returncode, [json.loads(line) for line in told.stdout.splitlines()]


def test_a_session_s_lock_is_shown_with_the_session_and_its_process(site, server, config):
    with RawPOP3(server.pop3_port) as client:
        client.login("alice", "sesame of alice")
        status, (row,) = rows(*config)
        (session,) = map(json.loads, run("who", "--json", *config).stdout.splitlines())
        (worker,) = [
            row
            for row in map(json.loads, run("status", "--json", *config).stdout.splitlines())
            if row["worker"] == session["worker"]
        ]
        table = run("locks", *config, "alice").stdout.decode()
        assert rows(*config, "bob") == (1, [])
    assert status == 0
    assert (row["user"], row["lock"], row["session"]) == ("alice", "session", session["session"])
    assert row["pid"] == worker["pid"]
    assert row["holder"] == f"pop3 127.0.0.1 {session['session']}"
    assert row["idle"] is not None
    assert row["remedy"] == ""
    assert row["file"] == f"{site.accounts[0].maildir}/mailserver-lock"
    assert [line.split()[0] for line in table.splitlines()] == ["USER", "alice"]


def test_nothing_locked_is_1_and_an_unknown_user_is_told(config):
    assert rows(*config) == (1, [])
    told = run("locks", *config, "nosuch")
    assert (told.returncode, told.stderr) == (1, b"mailserver: nosuch: there is no such user\n")


def test_a_lock_of_no_session_of_the_server_s_is_told_with_what_to_do(site, config):
    path = site.accounts[1].maildir / "mailserver-lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _, (row,) = rows(*config)
        assert "is no process of this server's" in row["remedy"]
        file.write(f"pid {os.getpid()} pop3 127.0.0.1 gone")
        file.flush()
        os.utime(path, (1, 1))
        _, (row,) = rows(*config)
        assert "the server has no such session" in row["remedy"]
        assert row["remedy"] in run("locks", *config).stdout.decode()


def test_without_an_answer_of_the_server_there_are_locks_all_the_same(site):
    with (site.accounts[1].maildir / "mailserver-lock").open("w") as file:
        file.write(f"pid {os.getpid()} pop3 127.0.0.1 gone")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        status, (row,) = rows(*settings(site))
    assert (status, row["session"], row["idle"], row["remedy"]) == (0, "gone", None, "")
