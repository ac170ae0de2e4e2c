"""What a sender's address can do to a filter that hands mail over by ``mailserver deliver``: nothing."""

import os
import subprocess
import sys

import pytest

from tests.cli.lmtp_server import LMTPServer
from tests.cli.running import environment
from tests.interop.page import block
from tests.interop.unpacked import FOLDER, unpacked

SHELLISH = 'a$b`touch pwned`"; touch pwned; "o\'c@example.org'
"""A sender that a shell would stumble over."""


@pytest.mark.parametrize(
    ("answers", "status"),
    [({}, 0), ({"RCPT": b"452 4.2.2 full"}, os.EX_TEMPFAIL), ({"RCPT": b"550 5.1.1 unknown"}, os.EX_NOUSER)],
)
def test_maildrop_passes_the_exit_status_on_and_no_address_to_a_shell(tmp_path, answers, status):
    program = unpacked("usr/bin/maildrop", "maildrop")
    script = tmp_path / "mailserver"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m mailserver "$@"\n')
    script.chmod(0o755)
    rules = tmp_path / "mailfilter"
    rules.write_text(block("~/.mailfilter", bin=tmp_path))
    rules.chmod(0o600)
    with LMTPServer(answers) as server:
        config = tmp_path / "mailserver.toml"
        config.write_text(f'[listen]\nlmtp = ["unix:{server.path}"]\n')
        ended = subprocess.run(
            [program, "-V", "0", "-f", SHELLISH, "./mailfilter"],
            cwd=tmp_path,
            env=environment(MAILSERVER_CONFIG=str(config), LD_LIBRARY_PATH=str(FOLDER / "usr/lib")),
            input=b"Subject: x\n\n.dot\n",
            capture_output=True,
            check=False,
            timeout=120,
        )
    assert ended.returncode == status, ended.stderr
    assert "touch pwned" in server.heard[1]
    assert not (tmp_path / "pwned").exists()
    if status == 0:
        assert server.data == b"Subject: x\r\n\r\n..dot\r\n.\r\n"
