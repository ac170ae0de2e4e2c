"""gnutls-cli at the end of a pipe: it says close_notify right behind its commands, and still reads."""

from __future__ import annotations

import pytest

from tests.interop.clients import Clients
from tests.servers import Account


def talk(clients: Clients, road: str, commands: bytes) -> str:
    server = clients.server
    port, starttls = (server.pop3s_port, ()) if road == "pop3s" else (server.pop3_port, ("--starttls-proto=pop3",))
    trust = f"--x509cafile={server.site.certificate}"
    return clients.run("gnutls-cli", trust, *starttls, "-p", str(port), "localhost", stdin=commands).output.decode()


@pytest.mark.parametrize("road", ["pop3s", "starttls"])
def test_it_prints_the_answers_to_what_it_read_from_a_pipe(clients: Clients, road: str) -> None:
    told = talk(clients, road, b"CAPA\r\nQUIT\r\n")
    assert "\r\nPIPELINING\r\n" in told
    assert "\r\n.\r\n+OK signing off\r\n" in told


@pytest.mark.parametrize("road", ["pop3s", "starttls"])
def test_what_it_asked_for_is_done_though_it_waits_for_the_login(clients: Clients, account: Account, road: str) -> None:
    account.deliver(b"Subject: tls\n\n.dot\n")
    commands = f"USER {account.name}\r\nPASS {account.password}\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n"
    told = talk(clients, road, commands.encode())
    assert "\nSubject: tls\r\n\r\n..dot\r\n.\r\n+OK message 1 deleted\r\n+OK signing off\r\n" in told
    assert account.files() == []
