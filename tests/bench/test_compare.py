"""The bench: its command lines, what it says is missing, and a short run of our own server alone."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from bench.compare import commands, parse
from bench.maildrops import MAILDROPS, deliver, fill, forget, maildir, messages, write_users
from bench.scenarios import SCENARIOS, command
from bench.tools import Tools
from mailserver.wireform import measure

ROOT = Path(__file__).parents[2]
ALL = Tools(root=True, popload=True, limit=True, dovecot=True, accounting="cgroups of version 1")
NONE = Tools(root=False, popload=False, limit=False, dovecot=False, accounting="/proc")


@pytest.mark.parametrize("scenario", [each for group in SCENARIOS.values() for each in group], ids=lambda each: each[0])
def test_a_scenario_is_a_command_line_of_the_load_generator(scenario):
    words = command(110, scenario, "--seconds", "3")
    assert words[1:3] == ["--port", "110"]
    assert words[-2:] == ["--seconds", "3"]
    assert ("--tls" in words) == scenario.tls
    users = int(words[words.index("--users") + 1])
    assert users >= scenario.connections, "a maildrop admits one session"
    options = (ROOT / "bench/popload.c").read_text()
    assert [word for word in words[1:] if word.startswith("--") and f'{{"{word[2:]}",' not in options] == []


def test_the_servers_are_those_built_in_and_those_named():
    options = parse(["--without", "limit,mailserver", "--server", "old=serve --port {port} --user a=b"])
    assert commands(options, ALL) == {
        "dovecot": "dovecot -F -c {root}/{name}.conf",
        "old": "serve --port {port} --user a=b",
    }


def test_what_is_missing_is_said_and_left_out():
    assert ALL.lacks() == []
    assert list(commands(parse([]), NONE)) == ["mailserver"]
    told = "\n".join(NONE.lacks())
    for word in ("gcc", "root", "Dovecot", "/proc"):
        assert word in told
    assert NONE._replace(root=True, popload=True, limit=True).lacks() == [
        "No Dovecot (dovecot-pop3d): there are no ratios.",
        "CPU and memory are read from /proc.",
    ]


def test_an_unknown_line_is_refused(capsys):
    with pytest.raises(SystemExit):
        parse(["--only", "small,tiny"])
    assert "--only tiny: choose from small,tls" in capsys.readouterr().err


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.maildrops.ROOT", tmp_path)
    monkeypatch.setattr("bench.maildrops.USER", "root" if os.geteuid() == 0 else os.environ.get("USER", "nobody"))
    return tmp_path


@pytest.mark.parametrize("wire", [False, True])
def test_maildrops_are_filled_once(place, wire):
    drops = MAILDROPS["small"]._replace(users=2, messages=3, wire=wire)
    fill(drops)
    files = {file: file.stat().st_mtime_ns for file in maildir("user1").glob("new/*")}
    assert len(files) == drops.messages
    assert {measure(file.read_bytes()).wire for file in files} == {wire}
    fill(drops)
    assert {file: file.stat().st_mtime_ns for file in maildir("user1").glob("new/*")} == files
    write_users([drops])
    assert [line.partition(":")[0] for line in (place / "users").read_text().splitlines()] == ["user0", "user1"]


def test_mail_is_delivered_and_indexes_are_forgotten(place):
    fill(MAILDROPS["small"]._replace(users=1, messages=1))
    (maildir("user0") / "dovecot.index").touch()
    deliver("user0", 10)
    forget("user0")
    assert messages(maildir("user0")) == 11
    assert {file.name for file in maildir("user0").iterdir()} == {"new", "cur", "tmp"}


def test_a_run_that_is_told_to_end_gives_back_what_it_holds(tmp_path):
    """As `timeout` does; the run's servers stand in a stack of what is to be closed."""
    program = """
import signal
from contextlib import ExitStack
from bench.root import alone
with alone(), ExitStack() as running:
    running.callback(print, "closed")
    print("at work", flush=True)
    signal.pause()
"""
    environment = {**os.environ, "BENCH_ROOT": str(tmp_path), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "at work\n"
        run.terminate()
        assert run.stdout.read() == "closed\n"
    assert run.returncode == 128 + signal.SIGTERM


@pytest.fixture
def start():
    """A run as its user starts it, in a folder of its own that the server's user may enter."""
    with TemporaryDirectory(prefix="mailserver-bench-") as folder:
        Path(folder).chmod(0o755)

        def run(program, *arguments):
            out = Path(folder) / "run.json"
            ended = subprocess.run(
                [sys.executable, program, *arguments, "--without", "limit,dovecot", "--json", out],
                cwd=ROOT,
                env={**os.environ, "BENCH_ROOT": folder, "BENCH_USER": "nobody", "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert ended.returncode == 0, ended.stdout + ended.stderr
            return json.loads(out.read_text()), "No load generator" not in ended.stdout

        yield run


def test_a_short_run_measures_our_own_server(start):
    arguments = ["--only", "small,new10,workers", "--messages", "30", "--rounds", "1", "--seconds", "0.1"]
    told, loaded = start("bench/compare.py", *arguments)
    assert "first login after 10 new in 30" in told["lines"]
    if loaded:
        assert told["lines"].keys() > {scenario.label for scenario in SCENARIOS["small"]}
        assert told["lines"]["login + STAT, two workers"].keys() == {"mailserver-1", "mailserver-2"}
    assert all(
        figures["errors"] == 0 for line in told["lines"].values() for rounds in line.values() for figures in rounds
    )


def test_a_short_run_measures_growth(start):
    arguments = ["--sizes", "5,40", "--crowds", "1,30", "--processes", "1,2", "--life", "100", "--rounds", "1"]
    told, loaded = start("bench/growth.py", *arguments, "--seconds", "0.1")
    assert [[messages for messages, _ in line] for line in told["logins"]["mailserver"].values()] == [[5, 40]] * 3
    assert [clients for clients, _ in told["idle"]] == [0, 1, 30]
    assert [messages for messages, _ in told["stalls"]["run"]["cold"]] == [5, 40]
    if loaded:
        assert [sessions for sessions, _ in told["memory"]] == list(range(0, 101, 10))
        assert [count for count, _ in told["workers"]["a second"]] == [1, 2]
