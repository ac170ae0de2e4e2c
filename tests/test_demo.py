"""``make serve``: what it makes, what it says, and that what it says is so."""

import os
import poplib
import pwd
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mailserver.cli import demo

ROOT = Path(__file__).parent.parent
RUN = """
import signal
from mailserver.cli import demo
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, such as a test run, ignore it
demo.main({"pop3": (0,), "pop3s": (0,)})
"""
LINE = re.compile(r"curl pop3://demo:(\S+)@127\.0\.0\.1:(\d+)/1")


@contextmanager
def running(folder):
    """The demonstration in a folder; the password and the port that it prints, once it accepts connections."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            seen = ""
            for line in process.stdout:
                seen += line
                if "pop3s is served" in line:
                    break
            yield LINE.search(seen).groups()
        finally:
            process.send_signal(signal.SIGINT)
            process.stdout.read()
    assert process.returncode == -signal.SIGINT


def fetch(password, port):
    with closing(poplib.POP3("127.0.0.1", int(port), timeout=30)) as client:
        client.user(demo.ACCOUNT)
        client.pass_(password)
        assert client.stat()[0] == len(demo.MESSAGES)
        text = b"\n".join(client.retr(2)[1])
        client.quit()
    return text


def test_what_it_prints_fetches_a_message_and_a_second_run_reuses_the_first():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with running(folder) as (password, port):
            assert b"\n.this line begins with a dot" in fetch(password, port)
            assert Path(folder, "var").stat().st_uid != 0
        with running(folder) as (again, port):
            assert again == password
            fetch(again, port)


@pytest.mark.skipif(os.geteuid() != 0, reason="whoever is not root serves as himself")
def test_root_s_own_folder_is_left_alone_because_nobody_cannot_enter_it():
    with tempfile.TemporaryDirectory() as folder:
        with running(folder) as (password, port):
            fetch(password, port)
        elsewhere = Path(folder, "var").resolve()
        assert elsewhere.parent == Path("/var/tmp")
        subprocess.run(["rm", "-r", elsewhere], check=True)


def test_a_folder_that_cannot_be_entered_and_is_not_empty_is_not_moved(tmp_path):
    closed = tmp_path / "closed"
    (closed / "var" / "mail").mkdir(parents=True)
    closed.chmod(0o700)
    stranger = pwd.struct_passwd(("stranger", "x", 54321, 54321, "", "/", "/bin/sh"))
    with pytest.raises(SystemExit, match="stranger cannot come to"):
        demo.reachable(closed / "var", stranger)


def test_a_folder_of_an_owner_is_entered_by_his_own_rights(tmp_path):
    own = pwd.getpwuid(tmp_path.stat().st_uid)
    tmp_path.chmod(stat.S_IRWXU)
    assert demo._enters(tmp_path, own)


def test_an_owner_of_the_folder_serves(tmp_path):
    user = demo.serving_user(tmp_path)
    assert user.pw_uid == (os.geteuid() or pwd.getpwnam("nobody").pw_uid)


def test_the_first_port_that_is_free_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        assert demo.choose_port((number, 0)) not in (0, number)
        with pytest.raises(SystemExit, match="ss -ltnp"):
            demo.choose_port((number,))


def test_everything_is_the_owner_s_alone(tmp_path):
    demo.furnish(tmp_path)
    assert {oct(path.stat().st_mode & 0o077) for path in tmp_path.rglob("*") if path.is_file()} == {"0o0"}
    demo.give_all(tmp_path, pwd.getpwuid(os.geteuid()))
    assert {path.stat().st_uid for path in tmp_path.rglob("*")} == {os.geteuid()}
