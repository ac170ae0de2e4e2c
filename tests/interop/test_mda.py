"""Other programs that hand mail over by ``mailserver deliver``, as docs/commands.md has them do it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.lmtp_server import LMTPServer
from tests.cli.running import ROOT, environment
from tests.interop.clients import path_of
from tests.interop.unpacked import FOLDER, unpacked
from tests.servers import Server, Site

PAGE = (Path(ROOT) / "docs/commands.md").read_text(encoding="utf-8")
SHELLISH = 'a$b`touch pwned`"; touch pwned; "o\'c@example.org'
"""A sender that a shell would stumble over."""


def block(program):
    """The configuration of a program, in the page."""
    return re.search(rf"(?m)^{program}, in .*\n\n```text\n((?:.*\n)*?)```", PAGE)[1]


@pytest.fixture
def place(tmp_path):
    """The command that is under test, in place of the installed one."""
    script = tmp_path / "mailserver"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m mailserver "$@"\n')
    script.chmod(0o755)

    def written(name, text, server):
        path = tmp_path / name
        path.write_text(text.replace("/usr/bin/mailserver", str(script)).replace("/run/mailserver/lmtp", server.path))
        path.chmod(0o600)
        return path

    return written


def run(command, folder, **more):
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(**more),
        input=b"Subject: x\n\n.dot\n",
        capture_output=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("answers", "status"),
    [({}, 0), ({"RCPT": b"452 4.2.2 full"}, os.EX_TEMPFAIL), ({"RCPT": b"550 5.1.1 unknown"}, os.EX_NOUSER)],
)
def test_maildrop_passes_the_exit_status_on_and_no_address_to_a_shell(place, tmp_path, answers, status):
    program = unpacked("usr/bin/maildrop", "maildrop")
    with LMTPServer(answers) as server:
        rules = place("mailfilter", block("maildrop"), server)
        ended = run(
            [program, "-V", "0", "-f", SHELLISH, "./mailfilter"], tmp_path, LD_LIBRARY_PATH=str(FOLDER / "usr/lib")
        )
    assert ended.returncode == status, ended.stderr
    assert "touch pwned" in server.heard[1]
    assert not (tmp_path / "pwned").exists()
    assert rules.exists()
    if status == 0:
        assert server.data == b"Subject: x\r\n\r\n..dot\r\n.\r\n"


def test_fetchmail_removes_what_was_delivered_and_leaves_what_was_not(place, tmp_path):
    fetchmail = path_of("fetchmail")
    with Site() as site, LMTPServer({"MAIL FROM:<dave": b"452 4.2.2 full"}) as lmtp:
        alice = site.account("alice", messages=[b"Return-Path: <carol`touch pwned`@example.org>\nSubject: x\n\n.dot\n"])
        alice.deliver(b"Return-Path: <dave@example.org>\nSubject: y\n\n")
        with Server(site) as server:
            text = block("fetchmail").replace("pop.example.net", f"localhost protocol pop3 port {server.pop3_port}")
            text = text.replace('password "..."', f'password "{alice.password}" sslproto ""')
            rules = place("fetchmailrc", text, lmtp)
            command = [
                fetchmail,
                "--fetchmailrc",
                str(rules),
                "--pidfile",
                str(tmp_path / "pid"),
                "--nosyslog",
                "--nodetach",
            ]
            run([*command, "--invisible"], tmp_path, FETCHMAILHOME=str(tmp_path))
        left = [path.read_bytes() for path in (alice.maildir / "cur").iterdir()] + [
            path.read_bytes() for path in (alice.maildir / "new").iterdir()
        ]
    assert len(left) == 1
    assert b"dave" in left[0]
    assert 'MAIL FROM:<"carol`touch pwned`"@example.org> BODY=8BITMIME' in lmtp.heard
    assert not (tmp_path / "pwned").exists()
