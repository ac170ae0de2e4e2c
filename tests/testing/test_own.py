"""The programs of docs/your-own-checker.md and docs/your-own-store.md: their tests, and a server that finds them as plugins.

They are in a folder of their own on Python's path, as an installed package is.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rawlmtp import RawLMTP
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site

ROOT = Path(__file__).parents[2]
PAGES = ("your-own-checker.md", "your-own-store.md")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What is installed."""
    folder = tmp_path_factory.mktemp("site-packages")
    for page in PAGES:
        text = (ROOT / "docs" / page).read_text("utf-8")
        for name, program in re.findall(r"```python\n# ([\w/.]+)\n(.*?)```", text, re.DOTALL):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(program, "utf-8")
    return folder


def beside(*folders):
    """These folders, and then those where this Python finds its packages."""
    return os.pathsep.join(filter(None, [*map(str, folders), os.environ.get("PYTHONPATH")]))


def run(folder, work, *arguments):
    return subprocess.run(
        [sys.executable, "-P", "-m", *arguments],
        cwd=work,
        env={**os.environ, "PYTHONPATH": beside(folder, ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_their_tests_pass_under_trial(folder, tmp_path):
    ran = run(folder, tmp_path, "twisted.trial", "--reporter=bwverbose", "test_acme_users", "test_acme_store")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for name in ("Passwords", "Names", "Contract", "Served"):
        assert name in ran.stdout


def test_a_server_finds_them_and_serves_with_them_by_all_its_workers(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", beside(folder))
    users = tmp_path / "users.json"
    users.write_text(json.dumps({"alice": {"secret": "{PLAIN}wonderland"}}))
    settings = {
        "listen": {"lmtp": ["tcp:0:interface=127.0.0.1"], "pop3s": []},
        "auth": {"checkers": [f"json-users:{users}"]},
        "store": {"url": f"sqlite:{tmp_path}/mail.db"},
        "workers": 2,
    }
    with Site() as site, Server(site, **settings) as server:
        with RawLMTP(server.ports["lmtp"]) as feeder:
            assert feeder.hello().deliver(b"Subject: hi\r\n\r\nhello\r\n", "alice")[0].startswith(b"250")
        with RawPOP3(server.pop3_port) as client:
            client.login("alice", "wonderland")
            assert b"Subject: hi\r\n" in client.fetch(b"RETR 1")
            with RawPOP3(server.pop3_port) as second:
                second.ok(b"USER alice")
                assert second.command(b"PASS wonderland").startswith(b"-ERR [IN-USE]")
            client.ok(b"DELE 1")
            client.quit()
        with RawPOP3(server.pop3_port) as client:
            client.ok(b"USER alice")
            assert client.command(b"PASS wonderland") == b"+OK maildrop has 0 messages (0 octets)\r\n"
