"""The programs of docs/testing.md, by the runners that it names, and for a type checker without a plugin."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("conftest.py", "test_pytest.py", "test_unittest.py", "test_trial.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The programs as files, in their order."""
    folder = tmp_path_factory.mktemp("programs")
    programs = re.findall(r"```python\n(.*?)```", (ROOT / "docs/testing.md").read_text("utf-8"), re.DOTALL)
    for name, program in zip(NAMES, programs, strict=True):
        (folder / name).write_text(program, "utf-8")
    return folder


def run(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "PYTEST_ADDOPTS": "",
        },
        capture_output=True,
        text=True,
        check=False,
    )


FAILING = """
import poplib

def test_that_fails(pop3_server):
    pop3_server.user("alice", "wonderland")
    client = poplib.POP3(pop3_server.host, pop3_server.port, timeout=10)
    client.user("alice")
    client.pass_("wonderland")
    client.quit()
    assert pop3_server.sessions[0].retrieved

def test_that_fails_before_a_client_comes(pop3_server):
    assert pop3_server.sessions
"""


def test_pytest_runs_those_for_pytest_and_for_unittest(folder):
    (folder / "test_failing.py").write_text(FAILING)
    ran = run(folder, "pytest", "-q", "-W", "error", "-p", "no:xdist", *NAMES[1:3], "test_failing.py")
    assert "2 failed, 4 passed" in ran.stdout, ran.stdout + ran.stderr
    told = "session 1 of alice:\n    USER alice\n    PASS *\n    QUIT\n    ended by QUIT\n"
    assert ran.stdout.count(told) == 1, ran.stdout
    assert "nobody came" in ran.stdout


def test_trial_runs_that_for_trial(folder):
    ran = run(folder, "twisted.trial", "--temp-directory=trial", "test_trial")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "PASSED (successes=1)" in ran.stdout


WRONG = """
from mailserver.testing import Controller

with Controller() as server:
    server.user("alice", 7)
    server.sessions[0].deleted.append("one")
    server.faults.cut(after=3)
"""


def test_their_types_fit_without_a_plugin(folder):
    """The program for trial is left out: half of what it calls of Twisted has no types."""
    (folder / "wrong.py").write_text(WRONG)
    cache = f"--cache-dir={ROOT}/.mypy_cache/programs"  # the second time it takes a second, and not five
    ran = run(folder, "mypy", "--strict", "--config-file=", cache, "--no-error-summary", *NAMES[:3], "wrong.py")
    errors = [line.partition(": error: ")[0] for line in ran.stdout.splitlines() if ": error: " in line]
    assert errors == ["wrong.py:5", "wrong.py:6", "wrong.py:7"], ran.stdout + ran.stderr
