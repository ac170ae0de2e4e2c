"""``mailserver config``: which settings are in effect, and why."""

import json
import os

import pytest

from mailserver.auth import plugins
from mailserver.config.settings import Config
from mailserver.config.shown import OURS
from tests.cli.running import run
from tests.config.test_settings import keys

FILE = """\
workers = 2
[auth]
checkers = ["passwd-file:/etc/mailserver/users", "memory:alice:wonderland"]
policy_url = "https://someone:hush@policy.example.org"
[listen]
pop3 = ["tcp:110"]
[[tls.certificates]]
certificate = "a.pem"
key = "a.key"
[tls]
certificate = "b.pem"
key = "b.key"
"""


def settings(tmp_path, text=FILE):
    path = tmp_path / "mailserver.toml"
    path.write_text(text)
    return str(path)


def test_it_shows_what_is_set_and_where_and_no_secret(tmp_path):
    path = settings(tmp_path)
    told = run("config", "--config", path)
    assert (told.returncode, told.stderr) == (0, b"")
    assert told.stdout.decode().splitlines() == [
        f"workers = 2    # {path}:1",
        f'listen.pop3 = ["tcp:110"]    # {path}:6',
        f'tls.certificate = "b.pem"    # {path}:11',
        f'tls.key = "b.key"    # {path}:12',
        f'tls.certificates = [{{"certificate": "a.pem", "key": "a.key"}}]    # {path}:7',
        f'auth.checkers = ["passwd-file:/etc/mailserver/users", "memory:..."]    # {path}:3',
        f'auth.policy_url = "..."    # {path}:4',
    ]
    objects = [json.loads(line) for line in run("config", "--config", path, "--json").stdout.splitlines()]
    assert objects[0] == {"name": "workers", "value": 2, "place": f"{path}:1"}


def test_all_settings_have_a_default(tmp_path):
    told = run("config", "--defaults").stdout.decode()
    assert [line.partition(" = ")[0] for line in told.splitlines()] == list(keys(Config))
    everything = run("config", "--config", settings(tmp_path), "--all").stdout.decode()
    assert len(everything.splitlines()) == len(told.splitlines())


def test_what_can_be_read_of_a_wrong_file_is_shown_with_its_problems(tmp_path):
    path = settings(tmp_path, 'workers = 3\nusr = "x"\n')
    told = run("config", "--config", path)
    assert told.returncode == os.EX_CONFIG
    assert told.stdout.decode() == f"workers = 3    # {path}:1\n"
    assert b'unknown setting "usr"; did you mean "user"?' in told.stderr
    assert run("config", "--config", "/nowhere").returncode == os.EX_CONFIG


@pytest.mark.parametrize("arguments", [["--defaults", "--running"], ["--socket", "/nowhere"]])
def test_what_cannot_be_asked_together_is_a_wrong_command_line(arguments):
    assert run("config", *arguments).returncode == os.EX_USAGE


def test_where_no_server_runs_nothing_is_in_effect(tmp_path):
    told = run("config", "--running", "--socket", str(tmp_path / "control"))
    assert (told.returncode, told.stdout) == (os.EX_UNAVAILABLE, b"")


def test_no_checker_of_ours_but_those_is_shown_whole():
    named = {each.authType for each in vars(plugins).values() if isinstance(getattr(each, "authType", None), str)}
    assert named == OURS
