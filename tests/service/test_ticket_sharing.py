"""TLS sessions are resumed by whichever worker a client reaches, and after a restart where a file keeps the secret."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailserver.tls.context_control import can_set_ticket_keys
from tests.servers import Server, Site
from tests.service.test_workers import halt, pids

pytestmark = pytest.mark.skipif(not can_set_ticket_keys(), reason="this OpenSSL takes no keys")

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as made:
        yield made


class Client:
    """Connects again and again, and counts the full handshakes."""

    def __init__(self, site: Site, version: ssl.TLSVersion) -> None:
        self._context = site.client_tls()
        self._context.minimum_version = self._context.maximum_version = version
        self._session: ssl.SSLSession | None = None
        self.full = 0

    def connect(self, server: Server) -> None:
        with (
            socket.create_connection(("127.0.0.1", server.pop3s_port)) as plain,
            self._context.wrap_socket(plain, server_hostname="localhost", session=self._session) as tls,
        ):
            assert tls.recv(4) == b"+OK "  # and the tickets before it
            self.full += not tls.session_reused
            self._session = tls.session
            tls.sendall(b"QUIT\r\n")


@contextmanager
def halted(pid: int) -> Iterator[None]:
    halt(pid)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_another_worker_resumes_what_one_began_and_so_does_one_that_replaces_it(site: Site) -> None:
    clients = [Client(site, version) for version in VERSIONS]
    server = Server(site, workers=2)
    server.start()
    try:
        first, second = pids(server, 2)
        for silent in (second, first, second):
            with halted(silent):
                for client in clients:
                    client.connect(server)
        os.kill(first, signal.SIGKILL)
        pids(server, 3)
        with halted(second):
            for client in clients:
                client.connect(server)
    finally:
        server.stop()
    assert [client.full for client in clients] == [1, 1]  # of four connections each


def test_a_restart_keeps_sessions_where_a_file_does_and_a_day_later_none(site: Site) -> None:
    path = site.folder / "tickets"
    clients = [Client(site, version) for version in VERSIONS]
    secrets = set()
    for workers in (1, 2, 2):
        with Server(site, workers=workers, tls={"ticket_file": str(path)}) as server:
            for client in clients:
                client.connect(server)
            secrets.add(secret := path.read_text().splitlines()[-1])
            site.secrets.add(secret.encode())  # `check` looks for it in the log
    assert len(secrets) == 1
    assert [client.full for client in clients] == [1, 1]
    path.write_text(re.sub(r"(?m)^\d+$", "1700000000", path.read_text()))  # as if a day had gone by
    with Server(site, tls={"ticket_file": str(path)}) as server:
        for client in clients:
            client.connect(server)
    assert path.read_text().splitlines()[-1] not in secrets
    assert [client.full for client in clients] == [2, 2]


def test_without_a_file_a_restart_forgets(site: Site) -> None:
    client = Client(site, ssl.TLSVersion.TLSv1_3)
    for _ in range(2):
        with Server(site) as server:
            client.connect(server)
            client.connect(server)
    assert client.full == 2


def test_a_file_that_others_may_read_ends_the_start_with_the_remedy(site: Site) -> None:
    path = site.folder / "tickets"
    path.touch(mode=0o644)
    server = Server(site, tls={"ticket_file": str(path)})
    server.launch()
    assert server.wait() == os.EX_CONFIG
    assert "delete it: a new one is made" in server.log()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl program is not installed")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_s_client_resumes_over_a_restart(site: Site, version: str) -> None:
    session = str(site.folder / "session")
    for option, expected in (("-sess_out", "New, TLSv1."), ("-sess_in", "Reused, TLSv1.")):
        with Server(site, tls={"ticket_file": str(site.folder / "tickets")}) as server:
            command = ["openssl", "s_client", "-ign_eof", "-connect", f"127.0.0.1:{server.pop3s_port}", version]
            told = subprocess.run([*command, option, session], input=b"QUIT\r\n", capture_output=True, check=True)
            assert expected in told.stdout.decode()
            assert Path(session).exists()
