"""``mailserver deliver`` as a process, as a mail server runs it."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from tests.cli.lmtp_server import LMTPServer
from tests.cli.running import COMMAND, environment, run

TEXT = b"Subject: x\n\nhi\n"

LOADED = """
import sys
from mailserver.cli.main import main
try:
    main(["deliver", "--socket", sys.argv[1], "alice"])
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_it_loads_nothing_that_is_slow_to_load():
    with LMTPServer() as server:
        told = run(server.path, stdin=TEXT, command=[sys.executable, "-P", "-c", LOADED])
    assert told.returncode == 0, told.stderr
    loaded = set(told.stdout.decode().split())
    assert "click" in loaded
    slow = {
        "twisted",
        "zope",
        "OpenSSL",
        "cryptography",
        "ssl",
        "asyncio",
        "email",
        "http",
        "logging",
        "subprocess",
        "attr",
    }
    assert not loaded & slow


def test_the_server_s_own_packages_are_not_loaded_either():
    code = LOADED.replace('{name.partition(".")[0] for', "{name for")
    with LMTPServer() as server:
        told = run(server.path, stdin=TEXT, command=[sys.executable, "-P", "-c", code])
    ours = {name for name in told.stdout.decode().split() if name.startswith("mailserver")}
    modules = ("deliver", "group", "handing", "lmtp", "main", "message", "places")
    assert ours == {
        "mailserver",
        "mailserver.wireform",
        "mailserver.cli",
        *(f"mailserver.cli.{name}" for name in modules),
    }


def test_it_finds_the_server_by_its_configuration(tmp_path):
    with LMTPServer() as server:
        config = tmp_path / "mailserver.toml"
        config.write_text(f'[listen]\nlmtp = ["unix:{server.path}:mode=660"]\n')
        for options, more in ((["--config", str(config)], {}), ([], {"MAILSERVER_CONFIG": str(config)})):
            told = run("deliver", *options, "alice", stdin=TEXT, **more)
            assert (told.returncode, told.stderr, told.stdout) == (0, b"", b"")
        told = run("deliver", "--lmtp", f"unix:{server.path}", "-f", "", "--", "-alice", stdin=TEXT)
        assert told.returncode == 0
    assert server.heard[-3] == "RCPT TO:<-alice>"
    assert server.data == b"Subject: x\r\n\r\nhi\r\n.\r\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[listen\n", b"is not TOML"),
        ("[listen]\n", b"listen.lmtp has no Unix socket and no TCP port"),
        (None, b"cannot be read (No such file or directory)"),
    ],
)
def test_no_mail_bounces_for_a_typo_in_the_configuration(tmp_path, text, problem):
    config = tmp_path / "mailserver.toml"
    if text is not None:
        config.write_text(text)
    told = run("deliver", "--config", str(config), "alice", stdin=TEXT)
    assert told.returncode == os.EX_TEMPFAIL
    assert told.stderr.startswith(b"4.3.5 ")
    assert problem in told.stderr
    assert told.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [[], ["--sokcet", "x", "alice"], ["--socket", "x", "--lmtp", "tcp:24", "alice"], ["--timeout", "0", "alice"]],
)
def test_a_wrong_command_line_is_64_and_bounces_no_mail_of_postfix(arguments):
    told = run("deliver", *arguments, stdin=TEXT)
    assert told.returncode == os.EX_USAGE
    assert told.stderr.startswith(b"4.3.5 ")
    assert told.stderr.count(b"\n") == 1


def test_what_nobody_hears_does_not_change_the_exit_status():
    refusing = {"RCPT TO:<bob>": b"550 5.1.1 no such user"}
    with LMTPServer(refusing) as server:
        for shell in ("2>&-", "1>&- 2>&-", "1>&- 2>/dev/full"):
            for user, status in (("alice", 0), ("bob", os.EX_NOUSER), ("", os.EX_USAGE)):
                line = f'"$@" {user} {shell}'
                command = ["sh", "-c", line, "sh", *COMMAND, "deliver", "--socket", server.path]
                told = subprocess.run(command, env=environment(), input=TEXT, check=False, timeout=120)
                assert told.returncode == status, (shell, user)


def test_standard_input_that_cannot_be_read_delivers_nothing(tmp_path):
    with LMTPServer() as server:
        descriptor = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
        try:
            told = run("deliver", "--socket", server.path, "alice", stdin=descriptor)
        finally:
            os.close(descriptor)
        assert told.returncode == os.EX_TEMPFAIL
        assert told.stderr == b"4.3.0 standard input: Bad file descriptor; nothing was delivered\n"
        command = ["sh", "-c", '"$@" <&-', "sh", *COMMAND, "deliver", "--socket", server.path, "alice"]
        told = subprocess.run(command, env=environment(), capture_output=True, check=False, timeout=120)
        assert told.returncode == os.EX_TEMPFAIL
    assert server.heard == []


LARGE = """
import os, resource, sys
from mailserver.cli.main import main
try:
    main(["deliver", "--socket", sys.argv[1], "alice"])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_a_large_message_takes_no_more_memory_than_a_small_one(tmp_path):
    large = tmp_path / "large"
    line = b"." + b"x" * 72 + b"\n"
    count = 50_000_000 // len(line)
    large.write_bytes(b"Subject: x\n\n" + line * count)
    used = []
    with LMTPServer(keep=1000) as server:
        for stdin in (TEXT, large.open("rb")):
            told = run(server.path, stdin=stdin, command=[sys.executable, "-P", "-c", LARGE])
            assert told.returncode == 0, told.stderr
            used.append(int(told.stdout))
        stdin.close()
    assert server.octets == len(b"Subject: x\r\n\r\n.\r\n") + count * (len(line) + 2)
    assert used[1] - used[0] < 4096, "kilobytes"


def test_a_kill_in_the_middle_delivers_nothing():
    with LMTPServer() as server:
        command = [*COMMAND, "deliver", "--socket", server.path, "alice"]
        with subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE) as process:
            process.stdin.write(TEXT + b"x\n" * 100_000)
            process.stdin.flush()
            process.kill()
    assert not server.data.endswith(b"\r\n.\r\n")


INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, such as a test run, ignore it
from mailserver.cli.main import main
main()
"""


def test_an_interrupt_bounces_no_mail(tmp_path):
    at = str(tmp_path / "lmtp")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(at)
        listening.listen()
        listening.settimeout(60)
        with subprocess.Popen(
            [sys.executable, "-P", "-c", INTERRUPTIBLE, "deliver", "--socket", at, "alice"],
            env=environment(),
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as program:
            assert program.stdin is not None
            program.stdin.write(TEXT)
            program.stdin.close()
            connection, _ = listening.accept()
            with connection:
                program.send_signal(signal.SIGINT)
                assert program.stderr.read().endswith(b"\n4.3.0 interrupted\n")  # the first line is click's
                assert program.wait(60) == os.EX_TEMPFAIL
