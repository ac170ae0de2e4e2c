"""A reload of a real server: what it takes, what it leaves, and whom it does not disturb."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.cli.running import run
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site, toml
from tests.waiting import eventually

MESSAGES = [b"Subject: one\n\n1\n", b"Subject: two\n\n2\n", b"Subject: three\n\n3\n"]


class Operated:
    """A server, and an operator who edits its file."""

    def __init__(self, server):
        self.server = server
        self.site = server.site
        self.socket = str(self.site.folder / "control")
        (self.path,) = self.site.folder.glob("*.toml")

    def write(self, **changes):
        settings = dict(self.server.settings)
        for name, value in changes.items():
            settings[name] = {**settings.get(name, {}), **value} if isinstance(value, dict) else value
        self.path.write_text(toml(settings))

    def reload(self, **changes):
        """The answer of `mailserver reload` to these changes of the settings that it was started with."""
        self.write(**changes)
        told = run("reload", "--json", "--socket", self.socket)
        row = json.loads(told.stdout)
        assert told.returncode == row["status"]
        assert told.stderr.decode() == "".join(f"mailserver: {each}\n" for each in row["problems"])
        return row

    def log_in(self, name="alice", password="sesame of alice"):
        return RawPOP3(self.server.pop3_port).login(name, password)

    def refused(self, name, password):
        with RawPOP3(self.server.pop3_port) as client:
            client.ok(b"USER " + name.encode())
            return client.command(b"PASS " + password.encode())


@pytest.fixture(scope="module", params=[1, 2], ids=["alone", "workers"])
def operated(request):
    with Site() as site:
        site.account("alice", messages=MESSAGES)
        site.account("bob")
        server = Server(site, workers=request.param, listen={"control": str(site.folder / "control")})
        server.start()
        made = Operated(server)
        yield made
        made.write(hostname="last.example.org")
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):  # a stop ends a reload that is under way
            os.kill(server.pid, number)
        assert server.wait() == -signal.SIGTERM
        text = bytes(server.raw)
        assert not [secret for secret in site.secrets if secret in text]
        assert "Traceback" not in server.log()


def test_what_can_change_is_taken_and_what_cannot_is_named(operated):
    row = operated.reload(
        hostname="changed.example.org", workers=3, limits={"failures_per_connection": 1}, sdps={"greeting": "hello"}
    )
    assert row["status"] == 0
    assert row["changed"] == ["hostname", "limits.failures_per_connection", "sdps.greeting"]
    assert row["restart"] == ["workers"]
    told = run("config", "--running", "--json", "--socket", operated.socket).stdout.splitlines()
    running = {each["name"]: each for each in map(json.loads, told)}
    assert running["hostname"]["value"] == "changed.example.org"
    assert running["workers"]["value"] == operated.server.settings["workers"], "of the start"
    with RawPOP3(operated.server.pop3_port) as client:
        assert b"hello" in client.greeting
        assert b"@changed.example.org>" in client.greeting
        client.ok(b"USER bob")
        client.command(b"PASS wrong")
        assert client.rest() == b""
    assert operated.server.wait_for("service.settings_changed")["settings"] == "workers"
    assert operated.reload()["changed"] == row["changed"]


def test_sessions_in_transaction_go_on_and_their_deletions_are_kept(operated):
    with operated.log_in() as client:
        client.ok(b"DELE 1")
        pid = client.ok(b"NOOP")
        assert operated.reload(store={"seen": "retr"}, hostname="second.example.org")["changed"]
        assert b"IN-USE" in operated.refused("alice", "sesame of alice"), "one session has the maildrop"
        mail = f"maildir:{operated.site.folder}/mail/{{user}}/Maildir"
        assert "store.url" in operated.reload(store={"url": mail})["changed"]  # another store, the same maildrops
        assert b"IN-USE" in operated.refused("alice", "sesame of alice")
        assert client.fetch(b"RETR 2").splitlines() == MESSAGES[1].splitlines()
        client.ok(b"DELE 3")
        client.ok(b"QUIT")
        assert pid
    with operated.log_in() as client:
        assert client.ok(b"STAT").startswith(b"+OK 1 ")
    operated.reload()


def test_checkers_and_who_may_act_for_others_are_those_of_the_file(operated, tmp_path):
    other = tmp_path / "users"
    other.write_text(f"carl:{{PLAIN}}caterpillar::::{operated.site.folder}/mail/bob::\n")
    assert b"-ERR" in operated.refused("carl", "caterpillar")
    assert operated.reload(auth={"checkers": [f"passwd-file:{other}"], "masters": ["carl"]})["changed"] == [
        "auth.checkers",
        "auth.masters",
    ]
    operated.log_in("carl", "caterpillar").close()
    assert b"-ERR" in operated.refused("alice", "sesame of alice")
    operated.reload()
    operated.log_in().close()


def test_a_file_that_cannot_be_read_is_told_to_who_asks(operated):
    operated.path.rename(operated.path.with_suffix(".gone"))
    told = run("reload", "--json", "--socket", operated.socket)
    operated.path.with_suffix(".gone").rename(operated.path)
    assert told.returncode == 1
    (problem,) = json.loads(told.stdout)["problems"]
    assert problem.startswith(
        f"{operated.path} cannot be read (No such file or directory), so the settings stay as they are"
    )
    operated.log_in().close()


def test_all_problems_are_told_and_nothing_is_changed(operated, tmp_path):
    wrong = {
        "limits": {"idle_secs": 3},
        "auth": {"checkers": [f"passwd-file:{tmp_path}/nobody", "memory:eve:secret of eve:odd"]},
        "hostname": "wrong.example.org",
    }
    row = operated.reload(**wrong)
    assert row["status"] == os.EX_CONFIG
    assert row["changed"] == []
    said = "\n".join(row["problems"])
    assert re.search(rf"{re.escape(str(operated.path))}:\d+: .*idle_secs.*idle_seconds", said)
    assert f"{tmp_path}/nobody" in said
    assert "secret of eve" not in said + operated.server.log()
    with operated.log_in() as client:
        assert b"wrong" not in client.greeting
    logged = [each["problem"] for each in operated.server.told("service.reload_refused")]
    assert set(row["problems"]) <= set(logged)
    operated.reload()


def test_a_certificate_that_does_not_fit_its_key_changes_nothing(operated):
    key = operated.site.key.read_bytes()
    operated.site.renew()
    right = operated.site.key.read_bytes()
    operated.site.key.write_bytes(key)
    row = operated.reload(hostname="wrong.example.org")
    assert row["status"] == os.EX_CONFIG
    assert any("key" in each for each in row["problems"])
    with operated.log_in() as client:
        assert b"wrong" not in client.greeting
    operated.site.key.write_bytes(right)
    assert operated.reload(hostname="right.example.org")["status"] == 0
    with RawPOP3(operated.server.pop3s_port, tls=operated.site.client_tls()) as client:
        assert b"right.example.org" in client.greeting
    operated.reload()


def test_a_setting_that_fits_only_a_restart_is_refused_with_that_remedy(operated):
    row = operated.reload(listen={"pop3s": []}, tls={"certificate": "", "key": ""})
    assert row["status"] == os.EX_CONFIG
    assert any("restart" in each and "listen.pop3s" in each for each in row["problems"])
    operated.reload()


def test_a_guesser_does_not_begin_anew_with_a_reload(operated):
    operated.reload(limits={"failure_delay_seconds": 60})
    assert b"-ERR" in operated.refused("bob", "guess")
    assert operated.reload(limits={"failure_delay_seconds": 60, "failures_per_connection": 4})["status"] == 0
    with RawPOP3(operated.server.pop3_port) as client:
        client.ok(b"USER bob")
        client.send(b"PASS sesame of bob\r\n")
        client.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.line()
    operated.reload()


def test_who_tells_of_sessions_before_a_reload(operated):
    with operated.log_in() as client:
        operated.reload(hostname="who.example.org")
        told = run("who", "alice", "--json", "--socket", operated.socket)
        assert len(told.stdout.splitlines()) == 1
        client.ok(b"QUIT")
    eventually(lambda: run("who", "alice", "--json", "--socket", operated.socket).returncode == 1, operated.server.log)
    operated.reload()


def test_without_a_change_certificates_and_users_are_read_again(operated):
    operated.reload()
    told = run("reload", "--socket", operated.socket)
    assert told.stdout == b"certificates and users were read again\n"
    assert Path(operated.socket).exists()
