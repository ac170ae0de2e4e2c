"""Signals that come early, and what they do to the log and the settings."""

import json
import re
import signal
import socket
import sys

import pytest

from tests.rawpop3 import RawPOP3
from tests.servers import START_SECONDS, TWIST, TWISTD, Server, Site, toml
from tests.waiting import eventually

SESSIONS_OVER_A_PIPE = 1000
"""Of 500 octets of JSON each, which is more than a pipe's 64 KiB and what is kept beside it."""

PROGRAMS = pytest.mark.parametrize("program", [TWIST, TWISTD], ids=["twist", "twistd"])

# A start that sends itself a signal at a line of its own, so that the moment is the same each time.
AT = """
import os, signal, sys, importlib
module, name, number, program, *sys.argv = sys.argv[1:]
owner = importlib.import_module(module)
*path, last = name.split(".")
for part in path:
    owner = getattr(owner, part)
original = getattr(owner, last)
def signalled(*arguments, **named):
    os.kill(os.getpid(), int(number))
    return original(*arguments, **named)
setattr(owner, last, signalled)
sys.argv.insert(0, program)
if program == "twist":
    from twisted.application.twist._twist import Twist
    Twist.main()
else:
    from twisted.scripts.twistd import run
    run()
"""
MOMENTS = {
    "reading": ("mailserver.config.reading", "load"),
    "binding": ("mailserver.service.mail", "bind"),
    "importing": ("mailserver.service.server", "make_portal"),
    "becoming": ("mailserver.service.mail", "become"),
}


@pytest.fixture
def site():
    with Site() as made:
        made.account("alice", "wonderland", messages=[b"Subject: hello\n\nworld\n"])
        yield made


def program_of(name, moment, number):
    flags = {"twist": ["--log-format=json"], "twistd": ["--nodaemon", "--pidfile="]}[name]
    return [sys.executable, "-P", "-c", AT, *MOMENTS[moment], str(int(number)), name, *flags, "mailserver"]


@pytest.mark.parametrize("moment", [each for each in MOMENTS if each != "reading"])
@pytest.mark.parametrize("name", ["twist", "twistd"])
def test_a_hangup_during_the_start_reloads_when_it_serves(site, name, moment):
    server = Server(site, program=program_of(name, moment, signal.SIGHUP))
    server.start()
    if name == "twist":
        server.wait_for("service.reload")
    with RawPOP3(server.pop3_port) as client:
        client.login("alice", "wonderland")
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
@pytest.mark.parametrize("name", ["twist", "twistd"])
def test_a_signal_before_anything_was_read_changes_nothing(site, name, number):
    server = Server(site, program=program_of(name, "reading", number))
    server.start()
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("moment", [each for each in MOMENTS if each not in ("reading", "importing")])
@pytest.mark.parametrize("name", ["twist", "twistd"])
def test_a_stop_during_the_start_leaves_nothing_behind(site, name, moment, number):
    path = site.folder / "pop3.sock"
    server = Server(site, program=program_of(name, moment, number), listen={"pop3": [f"unix:{path}"]})
    server.launch()
    assert server.wait() == -number
    assert list(site.folder.glob("pop3.sock*")) == []
    assert "Traceback" not in server.log()


@pytest.fixture
def systemd(site, monkeypatch):
    """A socket like systemd's, which tells when what a signal asked for is done."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(site.folder / "notify"))
        receiver.settimeout(START_SECONDS)
        monkeypatch.setenv("NOTIFY_SOCKET", str(site.folder / "notify"))
        yield receiver


def ready(receiver):
    while b"READY=1" not in receiver.recv(4096).splitlines():
        pass


def flag(program, text):
    return [*program[:-1], text, program[-1]]


@pytest.mark.parametrize(("program", "name"), [(TWIST, "--log-file"), (TWISTD, "--logfile")], ids=["twist", "twistd"])
def test_a_log_that_was_renamed_goes_on_in_a_new_file_at_sigusr1(site, systemd, program, name):
    log, old = site.folder / "log", site.folder / "log.1"
    server = Server(site, program=flag(program, f"{name}={log}"), log="json")
    server.launch()
    ready(systemd)
    log.rename(old)
    server.process.send_signal(signal.SIGUSR1)
    for _ in range(2):  # the first reload may be done before what SIGUSR1 asked for
        server.reload()
        ready(systemd)
    server.stop()
    before, after = ([json.loads(line) for line in path.read_text().splitlines()] for path in (old, log))
    assert "service.listening" in [event.get("event") for event in before]
    assert {"log.reopened", "service.reload"} <= {event.get("event") for event in after}
    assert {event["level"] for event in before + after} <= {"debug", "info", "warn"}


@pytest.mark.parametrize("form", ["twisted", "json"])
def test_a_file_has_the_line_of_a_session_while_the_server_runs_and_all_at_its_end(site, systemd, form):
    log = site.folder / "log"
    server = Server(site, program=[*TWIST[:-2], "--log-format=text", f"--log-file={log}", "mailserver"], log=form)
    server.launch()
    port = int(re.search(rb"STATUS=serving 127.0.0.1:(\d+)", systemd.recv(4096))[1])
    for name in ("a line that comes by itself", "a line that waits at the end"):
        with RawPOP3(port) as client:
            client.login("alice", "wonderland")
            client.quit()
        if "itself" in name:
            eventually(lambda: log.read_text().count("ended by QUIT") == 1, log.read_text)
    assert server.stop() == -signal.SIGTERM
    assert log.read_text().count("ended by QUIT: 0 retrieved, 0 deleted") == 2
    assert "Main loop terminated." in log.read_text()


def test_twistd_s_own_rotation_stays_what_sigusr1_does_to_a_log_that_nobody_renamed(site, systemd):
    log = site.folder / "log"
    server = Server(site, program=flag(TWISTD, f"--logfile={log}"))
    server.launch()
    ready(systemd)
    server.process.send_signal(signal.SIGUSR1)
    for _ in range(2):
        server.reload()
        ready(systemd)
    server.stop()
    assert "is served on" in (site.folder / "log.1").read_text()
    assert "are read again" in log.read_text()


@PROGRAMS
def test_sigusr1_without_a_file_ends_nothing(site, program):
    with Server(site, program=program) as server:
        server.process.send_signal(signal.SIGUSR1)
        server.reload()
        server.wait_for_text("are read again")
        assert server.stop() == -signal.SIGTERM


@PROGRAMS
def test_lines_of_json_are_plain_objects(site, program):
    with Server(site, program=program, log="json") as server:
        with RawPOP3(server.pop3_port) as client:
            client.login("alice", "wonderland")
            client.quit()
        server.stop()
        lines = [json.loads(line) for line in server.raw.decode().splitlines()]
    (session,) = [line for line in lines if line.get("event") == "pop3.session"]
    assert session["user"] == "alice"
    assert session["level"] == "info"
    assert not [name for line in lines for name in line if name.startswith("log_")]


@PROGRAMS
def test_a_standard_output_that_nobody_reads_halts_no_session(site, systemd, program):
    server = Server(site, program=program, log="json")
    server.reading.clear()
    server.launch()
    port = int(re.search(rb"STATUS=serving 127.0.0.1:(\d+)", systemd.recv(4096))[1])
    for _ in range(SESSIONS_OVER_A_PIPE):
        with RawPOP3(port) as client:
            client.login("alice", "wonderland")
            client.quit()
    server.reading.set()
    server.wait_for_text("lines of the log were dropped: nobody read it")
    assert server.stop() == -signal.SIGTERM


def test_a_changed_file_of_settings_is_named_by_what_changed_and_never_by_its_values(site):
    server = Server(site)
    server.start()
    try:
        (path,) = site.folder.glob("*.toml")
        settings = {**server.settings, "auth": {"checkers": ["memory:bob:secret-of-bob"], "cleartext": "loopback"}}
        settings["store"] = {"url": "memory:"}
        path.write_text(toml({**settings, "hostname": "changed", "log": "json"}))
        server.reload()
        assert server.wait_for("service.settings_changed")["settings"] == "log"
        assert server.wait_for("service.reloaded")["settings"] == "auth.checkers, hostname, store.url"
        assert "secret-of-bob" not in server.log()
        path.write_text("[listen\n")
        server.reload()
        assert "line 1" in server.wait_for("service.reload_refused")["problem"]
        path.unlink()
        server.reload()
        assert server.wait_for("service.settings_unread")["reason"] == "No such file or directory"
    finally:
        server.stop()
