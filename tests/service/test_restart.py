"""A restart of a real server: nobody is refused, no session is cut that ends in time, and who cannot start replaces nobody.

RESTARTS is the number of restarts under load: 2, or 100 for a long run, beside which 200 sessions begin each second; what came of them is
printed. WORKERS is the number of processes of the server that has several.
"""

import json
import os
import pwd
import shutil
import signal
import socket
import ssl
import stat
import sys
from pathlib import Path

import pytest

import mailserver
from tests.cli.running import run
from tests.dynasty import Dynasty, Load, gone
from tests.rawpop3 import RawPOP3
from tests.servers import START_SECONDS, TWISTD, Site, toml
from tests.waiting import eventually

RESTARTS = int(os.environ.get("RESTARTS", "2"))
WORKERS = int(os.environ.get("WORKERS", "2"))
LONG = RESTARTS > 2
CLIENTS, PER_SECOND = (16, 200) if LONG else (4, 100)
CATCH_UP_SECONDS = 10
"""How long a long run waits after each restart for the sessions that were due meanwhile: a machine that cannot carry so many never has them all."""
MESSAGES = [b"Subject: one\n\n1\n", b"Subject: two\n\n2\n"]


class Copied(Dynasty):
    """Its program is a copy, which tests change. It is started as its user would, since it starts others so."""

    def __init__(self, site, *arguments, **given):
        super().__init__(site, *arguments, passed=(2,), **given)
        self.lib = site.folder / "lib"
        for package in ("mailserver", "twisted"):  # with what is compiled, which fits until a test changes something
            shutil.copytree(Path(mailserver.__file__).parents[1] / package, self.lib / package)

    def _run(self, command, env):
        super()._run(command, {**env, "PYTHONPATH": os.pathsep.join([str(self.lib), env["PYTHONPATH"]])})


def everybody_runs_python():
    """Whether a server that has given up root can start its interpreter anew."""
    path = Path(sys.executable).resolve()
    return all(each.stat().st_mode & stat.S_IXOTH for each in (path, *path.parents))


def served_site(**given):
    site = Site()
    site.account("alice", messages=MESSAGES)
    for number in range(CLIENTS):
        site.account(f"user{number}")
    given.setdefault("listen", {})["control"] = str(site.folder / "control")
    server = Copied(site, **given)
    if given.get("user"):
        nobody = pwd.getpwnam(given["user"])
        for path in (site.folder, *site.folder.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return server


@pytest.fixture(scope="module", params=["alone", "workers"])
def server(request):
    root = {"user": "nobody"} if os.geteuid() == 0 and request.param == "alone" and everybody_runs_python() else {}
    made = served_site(workers={"alone": 1, "workers": WORKERS}[request.param], **root)
    with made.site:
        made.start()
        try:
            yield made
        finally:
            made.end()
        assert not list(made.site.folder.glob("control*")), "the sockets' files go with the last process"
        assert "Unhandled" not in made.log()
        assert not [event for event in made.events if "fault" in event.get("event", "")]
        assert not [secret for secret in made.site.secrets if secret in bytes(made.raw)]


def log_in(server, name="alice"):
    return RawPOP3(server.pop3_port).login(name, f"sesame of {name}")


@pytest.fixture
def told(capsys):
    """Says a line over the one before."""

    def say(line):
        with capsys.disabled():
            print(f"\r{line}", end="", flush=True)  # noqa: T201 - it is what a long run is for

    return say


def test_nobody_is_refused_and_no_session_is_cut_that_ends_in_time(server, told):
    with Load(server, CLIENTS, PER_SECOND) as load:
        load.goes_on()
        for done in range(1, 1 + (RESTARTS if server.settings["workers"] == 1 or LONG else 1)):
            before = server.now
            alice = log_in(server)
            alice.ok(b"DELE 1")
            asked = server.restart()
            assert asked["status"] == 0, asked
            with RawPOP3(server.pop3_port) as other:
                other.ok(b"USER alice")
                assert b"IN-USE" in other.command(b"PASS sesame of alice"), "one session has the maildrop"
            alice.ok(b"RSET")
            alice.ok(b"QUIT")
            alice.close()
            load.goes_on()
            server.wait_for_the_end_of(before)
            if LONG:
                load.catches_up(CATCH_UP_SECONDS)
                told(f"{done} restarts: {load}")
    assert load.failures == []


def test_a_session_that_lasts_into_the_drain_keeps_its_deletions(server):
    with log_in(server, "user0") as client:
        server.site.accounts[1].deliver(b"Subject: new\n\nx\n")
        client.ok(b"QUIT")
    with log_in(server, "user0") as client:
        assert client.ok(b"STAT").startswith(b"+OK 1 ")
        client.ok(b"DELE 1")
        before = server.now
        assert server.restart()["status"] == 0
        again = server.restart()
        assert again["status"] == os.EX_TEMPFAIL
        assert f"process {before}" in again["problems"][0]
        client.ok(b"QUIT")
    assert server.site.accounts[1].files() == []
    eventually(lambda: gone(before), server.log)


def test_a_new_process_that_is_killed_in_its_start_replaces_nobody_and_a_second_restart_is_told(server):
    before, failed, reloads = server.now, len(server.told("restart.failed")), len(server.told("service.reload"))
    with server.halted() as child:
        os.kill(before, signal.SIGHUP)  # which may have come too late for the new one, and so waits
        told = run("restart", "--socket", server.socket)
        assert (told.returncode, told.stderr) == (
            os.EX_TEMPFAIL,
            b"mailserver: another restart is under way: wait for it\n",
        )
        os.kill(child, signal.SIGKILL)
        assert "ended before it served" in server.wait_for("restart.failed", failed + 1)["problem"]
    server.wait_for("service.reload", reloads + 1)
    assert server.now == before
    log_in(server).close()


def test_settings_that_cannot_stand_are_told_and_the_old_server_goes_on(server):
    (path,) = server.site.folder.glob("*.toml")
    right, before = path.read_text(), server.now
    wrong = {"limits": {"idle_secs": 1}, "auth": {"checkers": ["memory:eve:secret-of-eve:odd", "passwd-file:/nowhere"]}}
    path.write_text(toml({**server.settings, **wrong}))
    row = server.restart()
    path.write_text(right)
    said = "\n".join(row["problems"])
    assert row["status"] == os.EX_CONFIG
    assert "idle_secs" in said
    assert "/nowhere" in said
    assert "secret-of-eve" not in said + server.log()
    assert server.now == before
    log_in(server).close()


@pytest.mark.parametrize("server", ["alone"], indirect=True, scope="module")
def test_another_version_takes_over_and_a_broken_one_does_not(server):
    source = server.lib / "mailserver" / "__init__.py"
    text = source.read_text()
    source.write_text(text + "\nthis is no Python\n")
    row = server.restart()
    assert row["status"] == 1
    assert "SyntaxError" in row["problems"][0]
    source.write_text(text.replace(mailserver.__version__, "99.1"))
    reloads = len(server.told("service.reload"))
    with server.halted() as pid:
        os.kill(server.now, signal.SIGHUP)
    assert server.wait_for("restart.done", len(server.told("restart.done")) + 1)["pid"] == pid
    server.wait_for("service.reload", reloads + 1)  # by the new one, which may have read the files before
    told = json.loads(run("status", "--json", "--socket", server.socket).stdout)
    assert (told["version"], told["pid"]) == ("99.1", pid)


def guess(server):
    with RawPOP3(server.pop3_port) as client:
        client.ok(b"USER mallory")
        return client.command(b"PASS guess")


def failures(server):
    told = run("throttle", "list", "mallory", "--json", "--socket", server.socket)
    return [json.loads(line)["failures"] for line in told.stdout.splitlines()]


def test_a_session_of_tls_is_resumed_and_a_guesser_does_not_begin_anew(server):
    context = server.site.client_tls()
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # where the ticket comes with the handshake
    address = "127.0.0.1", server.pop3s_port
    with context.wrap_socket(socket.create_connection(address), server_hostname="localhost") as tls:
        session = tls.session
    assert b"-ERR" in guess(server)
    server.restarted()
    with context.wrap_socket(socket.create_connection(address), server_hostname="localhost", session=session) as tls:
        assert tls.session_reused
    eventually(lambda: failures(server) == [1], server.log)  # those that no new process has seen


@pytest.mark.parametrize("server", ["alone"], indirect=True, scope="module")
def test_a_new_process_goes_on_when_the_old_one_is_killed_in_the_handover(server):
    old = server.now
    with server.halted() as child:
        log_in(server).close()  # by now the old one has told what it leaves
    os.kill(old, signal.SIGKILL)  # not while the child is halted: the kernel hangs up on halted orphans
    server.events.append({"text": "", "event": "restart.done", "pid": child})  # who was killed did not say it
    listening = len(server.told("service.listening"))
    server.wait_for("service.listening", listening + 1)
    eventually(lambda: run("status", "--socket", server.socket).returncode == 0, server.log)
    log_in(server).close()


def test_twistd_in_the_background_leaves_its_pidfile_and_the_name_of_main_process_to_the_new_one(monkeypatch):
    daemon = [*TWISTD[: TWISTD.index("--nodaemon")]]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        server = served_site(program=[*daemon, "--pidfile=pid", "--logfile=log", "mailserver"])
        with server.site as site:
            systemd.bind(str(site.folder / "notify"))
            systemd.settimeout(START_SECONDS)
            monkeypatch.setenv("NOTIFY_SOCKET", str(site.folder / "notify"))
            server.launch()
            assert server.process.wait(START_SECONDS) == 0
            assert b"READY=1" in systemd.recv(4096).splitlines()
            first = int((site.folder / "pid").read_text())
            row = server.restart()
            assert row["problems"] == []
            assert systemd.recv(4096) == b"MAINPID=%d" % row["pid"]
            assert b"READY=1" in systemd.recv(4096).splitlines()
            assert int((site.folder / "pid").read_text()) == row["pid"]
            eventually(lambda: gone(first), (site.folder / "log").read_text)
            assert int((site.folder / "pid").read_text()) == row["pid"]
            os.kill(row["pid"], signal.SIGTERM)
            eventually(lambda: gone(row["pid"]), (site.folder / "log").read_text)
            assert not (site.folder / "pid").exists()
            assert "Traceback" not in (site.folder / "log").read_text()
