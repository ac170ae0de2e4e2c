"""A policy server in front of a real server, by its one setting."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from typing import Any

import pytest

from mailserver.config.problems import Problems
from mailserver.config.reading import decode
from mailserver.service.server import Server as Served
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site
from tests.service.test_server import SETTINGS


@contextmanager
def policy(told: SimpleQueue[tuple[str, dict[str, Any]]], rejected: str) -> Iterator[str]:
    """A policy server that rejects one user; its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            facts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.put((self.path, facts))
            said = json.dumps({"status": -1 if facts["login"] == rejected else 0, "msg": "no"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://wforce:hunter2@127.0.0.1:{server.server_port}/"
        server.shutdown()


def replies(server: Server, name: str, password: str) -> bytes:
    with RawPOP3(server.pop3_port) as client:
        client.ok(b"USER " + name.encode())
        return client.command(b"PASS " + password.encode())


@pytest.mark.parametrize("workers", [1, 2])
def test_it_decides_whose_password_is_tried_hears_of_none_and_is_not_missed(workers: int) -> None:
    told: SimpleQueue[tuple[str, dict[str, Any]]] = SimpleQueue()
    with Site() as site:
        for name in ("alice", "mallory"):
            site.account(name, "right")
        site.secrets.add(b"hunter2")
        with policy(told, "mallory") as url, Server(site, workers=workers, auth={"policy_url": url}) as server:
            assert replies(server, "alice", "right").startswith(b"+OK")
            assert replies(server, "mallory", "right") == replies(server, "alice", "wrong")
            facts = {"remote": "127.0.0.1", "protocol": "pop3", "tls": False}
            seen = [told.get(timeout=60) for _ in range(6)]
            assert sorted(f"{path[10:]} {each['login']} {each.get('success')}" for path, each in seen) == [
                "allow alice None",
                "allow alice None",
                "allow mallory None",
                "report alice False",
                "report alice True",
                "report mallory False",
            ]
            assert all(each.items() >= facts.items() and "right" not in str(each) for _, each in seen)
            server.wait_for_text("by USER: the policy server refuses it: 'no'")
        with Server(site, workers=workers, auth={"policy_url": url}) as server:  # nobody is there any more
            server.check = lambda: None  # that is an error in the log
            assert replies(server, "alice", "right").startswith(b"+OK")
            assert replies(server, "mallory", "right").startswith(b"+OK")
            server.wait_for("auth.policy.down")
            assert "hunter2" not in server.raw.decode()


def test_a_url_that_is_open_to_others_and_a_missing_extra_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    def problems() -> str:
        found = Problems()
        Served(decode({**SETTINGS, "auth": {**SETTINGS["auth"], "policy_url": "http://192.0.2.1/"}}), None, found)
        with pytest.raises(Exception, match=r"auth\.policy_url: ") as caught:
            found.check()
        return str(caught.value)

    assert "it must be an https: URL" in problems()
    monkeypatch.setitem(sys.modules, "treq", None)
    assert "twisted-mailserver[oauth]" in problems()
