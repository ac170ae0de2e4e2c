"""Unix sockets of whole servers: of one process or of workers, over restarts and crashes."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.test_kills import workers_of
from tests.servers import START_SECONDS, Server, Site
from tests.waiting import eventually

BOTH = pytest.mark.parametrize("workers", [1, 2], ids=["alone", "workers"])
MESSAGE = b"Subject: hello\r\n\r\nworld\r\n"


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as made:
        made.account("alice", "wonderland", messages=[MESSAGE])
        yield made


def server_of(site: Site, workers: int, endpoint: str = "", **settings: object) -> Server:
    """One with a Unix socket, and a port by which the tests see that it serves."""
    listen = {"pop3": [endpoint or f"unix:{site.folder}/pop3:mode=640", "tcp:0:interface=127.0.0.1"], "pop3s": []}
    return Server(site, workers=workers, listen=listen, **settings)


def fetch(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(START_SECONDS)
        client.connect(str(path))
        with client.makefile("rwb") as lines:
            assert lines.readline().startswith(b"+OK")
            for command in (b"USER alice", b"PASS wonderland", b"RETR 1"):
                lines.write(command + b"\r\n")
                lines.flush()
                assert lines.readline().startswith(b"+OK"), command
            message = b"".join(iter(lines.readline, b".\r\n"))
            lines.write(b"QUIT\r\n")
            lines.flush()
            assert lines.readline().startswith(b"+OK")
    return message


@BOTH
def test_it_is_served_with_its_mode_and_removed_at_the_end(site: Site, workers: int) -> None:
    path = site.folder / "pop3"
    with server_of(site, workers) as server:
        assert [fetch(path) for _ in range(5)] == [MESSAGE] * 5
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        if workers > 1:
            assert {event["worker"] for event in server.told("pop3.session")} <= {1, 2}
    assert list(site.folder.glob("pop3*")) == []


@BOTH
def test_after_a_kill_it_starts_again(site: Site, workers: int) -> None:
    path = site.folder / "pop3"
    first = server_of(site, workers)
    first.start()
    children = workers_of(first)
    assert len(children) == (workers if workers > 1 else 0)
    first.kill()
    eventually(lambda: not any(map(alive, children)), lambda: "the workers outlive their parent")
    assert path.exists()
    with server_of(site, workers):
        assert fetch(path) == MESSAGE
    assert not path.exists()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_that_ends_takes_neither_the_socket_nor_its_file(site: Site) -> None:
    path = site.folder / "pop3"
    server = server_of(site, 2)
    server.start()
    try:
        first, second = workers_of(server)
        for pid, count in ((first, 3), (second, 4)):
            os.kill(pid, signal.SIGTERM)  # an orderly end, in which a process that had made the socket would remove it
            server.wait_for("worker.serving", count)
            assert fetch(path) == MESSAGE
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    finally:
        server.stop()
    assert not path.exists()


@BOTH
def test_a_second_server_leaves_the_first_its_socket(site: Site, workers: int) -> None:
    path = site.folder / "pop3"
    with server_of(site, workers):
        second = server_of(site, workers)
        second.launch()
        assert second.wait() == os.EX_CONFIG
        assert f'cannot listen on "unix:{path}:mode=640": it is in use' in second.log()
        assert fetch(path) == MESSAGE
    assert not path.exists()


@BOTH
def test_a_proxy_before_it_names_the_clients(site: Site, workers: int) -> None:
    path = site.folder / "pop3"
    with server_of(site, workers, f"haproxy:unix:{path}", limits={"proxies": ["127.0.0.0/8"]}) as server:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 1234 110\r\nUSER alice\r\nPASS wonderland\r\nQUIT\r\n")
            with client.makefile("rb") as lines:
                assert b"+OK" in lines.read()
        assert server.wait_for("pop3.needs_tls")["peer"] == "192.0.2.7"  # no password from another machine


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_workers_that_have_become_the_user_serve_a_socket_that_is_root_s_and_root_removes_it(site: Site) -> None:
    nobody = pwd.getpwnam("nobody")
    for each in (site.folder, *site.folder.rglob("*")):
        os.chown(each, nobody.pw_uid, nobody.pw_gid)
    path = site.folder / "run/pop3"
    path.parent.mkdir(mode=0o755)
    with server_of(site, 2, f"unix:{path}:mode=660:group=mail", user="nobody") as server:
        status = path.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o660, 0)
        assert fetch(path) == MESSAGE
        server.stop()
        assert server.told("service.left_behind") == []
    assert not path.exists()
