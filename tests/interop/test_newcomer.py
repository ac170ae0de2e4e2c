"""A users' file as a newcomer brings it: 300 accounts of six schemes in two domains, and clients as they are installed.

The account that each client is tried with is one of each scheme and domain; curl tries all of them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.auth.vectors import PASSWORDS, SECRETS
from tests.interop.clients import path_of
from tests.servers import Server, Site

SCHEMES = ("PLAIN", "SHA512-CRYPT", "SSHA256", "MD5-CRYPT", "SCRAM-SHA-256", "CRAM-MD5")
DOMAINS = ("example.org", "example.net")
PASSWORD = PASSWORDS["long"].decode()
NAMES = [(f"user{n:03}@{DOMAINS[n % 2]}", SCHEMES[n // 2 % 6]) for n in range(300)]
SAMPLE = [name for name, _ in NAMES[:12]]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Site() as site:
        for name, scheme in NAMES:
            site.account(name, password=PASSWORD, secret=SECRETS[scheme]["long"].decode())
        with Server(site) as running:
            yield running


def test_curl_logs_in_as_each_of_them(server: Server, tmp_path: Path) -> None:
    stanza = 'url = "pop3://localhost:{port}/"\nuser = "{name}:{password}"\noutput = "/dev/null"\n'
    parts = [stanza.format(port=server.pop3_port, name=name, password=PASSWORD) for name, _ in NAMES]
    config = tmp_path / "curlrc"
    config.write_text("next\n".join(parts))
    ran = subprocess.run(
        [
            path_of("curl"),
            "-q",
            "-sS",
            "--fail-early",
            "--ssl-reqd",
            "--cacert",
            str(server.site.certificate),
            "-K",
            config,
        ],
        check=False,
        capture_output=True,
        timeout=600,
    )
    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.parametrize("name", SAMPLE)
def test_mpop_logs_in_by_what_it_chooses(server: Server, name: str, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    ran = subprocess.run(
        [
            path_of("mpop"),
            *("--host=localhost", f"--port={server.pop3_port}", f"--user={name}", f"--passwordeval=cat {password}"),
            *("--tls=on", "--tls-starttls=on", f"--tls-trust-file={server.site.certificate}"),
            *(f"--uidls-file={tmp_path / 'uidls'}", f"--delivery=mbox,{tmp_path / 'mbox'}"),
        ],
        check=False,
        capture_output=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", SAMPLE)
def test_fetchmail_logs_in_by_what_it_chooses(server: Server, name: str, tmp_path: Path) -> None:
    rc = tmp_path / "rc"
    rc.write_text(
        f"poll localhost protocol POP3 port {server.pop3_port} timeout 30 no dns\n"
        f'user "{name}" password "{PASSWORD}" sslproto TLS1.2+ sslcertfile "{server.site.certificate}" sslcertck mda "cat"\n'
    )
    rc.chmod(0o600)
    ran = subprocess.run(
        [
            path_of("fetchmail"),
            "-f",
            str(rc),
            "--pidfile",
            str(tmp_path / "pid"),
            "--nodetach",
            "--nosyslog",
            "-d",
            "0",
        ],
        check=False,
        capture_output=True,
        timeout=120,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert ran.returncode == NO_MAIL, ran.stderr


NO_MAIL = 1
"""fetchmail's exit status after a login that found nothing."""
