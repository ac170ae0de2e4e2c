"""OpenSSL's s_client: TLS as others speak it."""

from __future__ import annotations

import subprocess

import pytest

from tests.interop.clients import Clients, path_of
from tests.servers import Account

ROADS = ("pop3s", "starttls")
VERSIONS = {"-tls1_2": "TLSv1.2", "-tls1_3": "TLSv1.3"}


def talk(clients: Clients, road: str, *options: str, account: Account, status: int | None = 0) -> str:
    """Log in, ask for the first message, quit; all that s_client wrote."""
    server = clients.server
    port = server.pop3s_port if road == "pop3s" else server.pop3_port
    lines = (f"USER {account.name}", f"PASS {account.password}", "RETR 1", "QUIT")
    outcome = clients.run(
        "openssl",
        *("s_client", "-ign_eof", "-connect", f"localhost:{port}", "-CAfile", str(server.site.certificate)),
        *("-verify_return_error", "-verify_hostname", "localhost", *options),
        *(("-starttls", "pop3") if road == "starttls" else ()),
        stdin="".join(f"{line}\r\n" for line in lines).encode(),
        status=status,
    )
    return outcome.output.decode() + outcome.errors


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("version", VERSIONS)
def test_it_reads_a_message(clients: Clients, account: Account, road: str, version: str) -> None:
    account.deliver(b"Subject: tls\n\n.dot\n")
    told = talk(clients, road, version, account=account)
    assert f"New, {VERSIONS[version]}, Cipher is" in told
    assert "Verify return code: 0 (ok)" in told
    assert "\nSubject: tls\r\n\r\n..dot\r\n.\r\n+OK" in told


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("version", VERSIONS)
def test_it_resumes_a_session(clients: Clients, account: Account, road: str, version: str) -> None:
    account.deliver(b"Subject: tls\n\n")
    told = talk(clients, road, version, "-sess_out", "session", account=account)
    assert "New, TLS" in told
    told = talk(clients, road, version, "-sess_in", "session", account=account)
    assert "Reused, TLS" in told
    assert "\nSubject: tls\r\n\r\n.\r\n+OK" in told


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_what_is_older_than_tls_1_2_is_refused(clients: Clients, account: Account, version: str) -> None:
    told = talk(clients, "pop3s", version, "-cipher", "DEFAULT@SECLEVEL=0", account=account, status=1)
    assert "alert protocol version" in told


def test_it_changes_its_keys_whenever_it_likes(clients: Clients, account: Account) -> None:
    account.deliver(b"Subject: keys\n\n" + b"0123456789\n" * 5000)
    address = f"localhost:{clients.server.pop3s_port}"
    with subprocess.Popen(
        [path_of("openssl"), "s_client", "-tls1_3", "-crlf", "-connect", address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        said = (
            ("K", "KEYUPDATE"),  # and the server's, too
            (f"user {account.name}", "+OK"),
            ("k", "KEYUPDATE"),
            (f"pass {account.password}", "+OK"),
            ("K", "KEYUPDATE"),
            ("retr 1", "Subject: keys"),
            ("K", "KEYUPDATE"),
            ("quit", "signing off"),
        )
        wanted = "POP3 server ready"
        for line, answer in said:
            while wanted not in client.stdout.readline().decode():
                assert client.poll() is None
            client.stdin.write(f"{line}\n".encode())
            client.stdin.flush()
            wanted = answer
        assert wanted in client.stdout.read().decode()
