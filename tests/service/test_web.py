"""The pages of a real server: who serves them, who sees them, and what they say while it drains."""

from __future__ import annotations

import http.client
import os
import pwd
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site
from tests.waiting import eventually

SERVING = pwd.getpwuid(os.geteuid()).pw_name if os.geteuid() else "nobody"
TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4"


class Local(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(os.fsencode(self._path))


def get(connection: http.client.HTTPConnection, path: str, token: str = "") -> tuple[int, bytes]:
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
    answer = connection.getresponse()
    return answer.status, answer.read()


def said(connection: http.client.HTTPConnection, path: str) -> tuple[int, bytes] | None:
    """The same; None: a worker process that ended has taken the connection along."""
    try:
        return get(connection, path)
    except (ConnectionError, http.client.BadStatusLine):
        connection.close()
        return None


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as made:
        made.account("alice", messages=[b"Subject: hi\n\n" + b"x" * 20_000_000])
        token = made.folder / "token"
        token.touch(mode=0o600)
        token.write_text(TOKEN)
        made.secrets.add(TOKEN.encode())
        own(made.folder)
        yield made


def own(folder: Path) -> None:
    """Give all of it to the user that serves."""
    entry = pwd.getpwnam(SERVING)
    for path in (folder, *folder.rglob("*")):
        if os.geteuid() == 0:
            os.chown(path, entry.pw_uid, entry.pw_gid)


def paged(site: Site, workers: int, **settings: Any) -> Server:
    local = f"unix:{site.folder}/http"
    listen = {"http": [local, "tcp:0"], "https": ["tcp:0"], "control": f"{site.folder}/control"}
    return Server(site, user=SERVING, workers=workers, listen=listen, **settings)


@pytest.mark.parametrize("workers", [1, 2])
def test_pages_are_served_and_say_when_the_server_drains(site: Site, workers: int) -> None:
    with paged(site, workers, web={"token_file": str(site.folder / "token")}) as server:
        here = http.client.HTTPConnection("127.0.0.1", server.ports["http"])
        secure = http.client.HTTPSConnection("localhost", server.ports["https"], context=site.client_tls())
        local = Local(site.folder / "http")
        assert isinstance(secure._context, ssl.SSLContext)
        for connection in (here, secure, local):
            assert get(connection, "/healthz") == (200, b"alive\n")
            assert get(connection, "/readyz") == (200, b"ready\n")
        assert [get(each, "/none")[0] for each in (here, secure, local)] == [401, 401, 404]
        assert get(secure, "/none", TOKEN)[0] == 404
        assert get(local, "/")[0] == 404, "no web.status_page: the page names users"
        with RawPOP3(server.pop3_port).login("alice", "sesame of alice") as client:
            client.send(b"RETR 1\r\n")  # and reads nothing
            server.process.terminate()
            eventually(lambda: said(local, "/readyz") == (503, b"the server is stopping\n"), server.log)
            eventually(lambda: said(local, "/healthz") == (200, b"alive\n"), server.log)
        server.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be refused")
def test_root_serves_no_pages(site: Site) -> None:
    server = Server(site, listen={"http": ["tcp:0"]})
    server.launch()
    assert server.wait() == os.EX_CONFIG
    assert "user: pages are not served by root: name the owner of the maildrops with --user" in server.log()


def test_a_token_that_cannot_be_used_is_told_at_the_start(site: Site) -> None:
    server = paged(site, 1, web={"token_file": f"{site.folder}/none"})
    server.launch()
    assert server.wait() == os.EX_CONFIG
    assert f"web.token_file: {site.folder}/none: No such file or directory" in server.log()
