"""fail2ban finds who fails to log in, by the filter of etc/fail2ban, in what the server really logs; no name names another address."""

from __future__ import annotations

import base64
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.interop.clients import path_of
from tests.rawpop3 import SECONDS
from tests.servers import TWIST, TWISTD, Server, Site

FOLDER: Final = Path(__file__).parents[2] / "etc" / "fail2ban"
FILTER: Final = FOLDER / "filter.d" / "mailserver.conf"

TEXT: Final = (*TWIST[:-2], "--log-format=text", "mailserver")
VICTIM: Final = "198.51.100.66"
"""Whom each of the names wants to have shut out."""

FORGED: Final = (
    '"text": "", "namespace": "mailserver.net.failures", "event": "pop3.login_failed", "peer": "' + VICTIM + '"}'
)

NAMES: Final = (
    "bob",
    "bob smith of nowhere",
    "grüße@bücher.example",
    " ",
    "n" * 400,
    f"x' from {VICTIM} by PLAIN: wrong password",
    f'x" from {VICTIM} by PLAIN: wrong password',
    f"x'\" from {VICTIM} by PLAIN: wrong password",
    f"x\\' from {VICTIM} by PLAIN: wrong password",
    f"x\\\\' from {VICTIM} by PLAIN: wrong password",
    f"x from {VICTIM} by PLAIN: wrong password",
    f"' from {VICTIM} by PLAIN: '",
    f'x", "peer": "{VICTIM}"',
    f'x\\", "peer": "{VICTIM}", "y": "',
    '"}\n{"time": "2026-11-26T02:19:44.677Z", "level": "info", ' + FORGED,
    f"\n2026-11-26T22:09:22+0000 [mailserver.net.failures#info] failed login of 'x' from {VICTIM} by USER: x",
    f"\r2026-11-26T22:09:22+0000 [mailserver.net.failures#info] failed login of 'x' from {VICTIM} by USER: x",
    f"\u2028\x85\x1e\x0b[mailserver.net.failures#info] failed login of 'x' from {VICTIM} by USER: x",
    f"host twist[1]: [mailserver.net.failures#info] failed login of 'x' from {VICTIM} by USER: x",
    '] failed login of "y" from ::1 by PLAIN: PLAIN cannot be verified with',
    '", "reason": "PLAIN cannot be verified with',
    "<HOST> %(x)s {0} {user()}",
)

CLIENTS: Final = ("192.0.2.7", "2001:db8::7")


def log_in(port: int, address: str, *lines: bytes) -> list[bytes]:
    """The replies to each line of a client at `address`, as a proxy in front tells it."""
    version, own = ("TCP6", "2001:db8::1") if ":" in address else ("TCP4", "192.0.2.1")
    with socket.create_connection(("127.0.0.1", port), SECONDS) as client, client.makefile("rb") as replies:
        client.sendall(f"PROXY {version} {address} {own} 1 110\r\n".encode())
        assert replies.readline().startswith(b"+OK ")
        said = []
        for line in lines:
            client.sendall(line + b"\r\n")
            said.append(replies.readline())
        return said


def plain(name: str, password: str = "wrong") -> bytes:
    return b"AUTH PLAIN " + base64.b64encode(f"\0{name}\0{password}".encode())


def found(log: bytes, folder: Path) -> list[str]:
    """The addresses that fail2ban finds in the log, once for each of its failures."""
    path = folder / "log"
    path.write_bytes(log)
    command = [path_of("fail2ban-regex"), "--out=ip", "--encoding=utf-8", str(path), str(FILTER)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert not done.stderr, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(("form", "workers"), [("text", 1), ("text", 2), ("json", 1), ("json", 2)])
def test_each_failure_is_found_with_its_own_address(form: str, workers: int, tmp_path: Path) -> None:
    with Site() as site:
        site.account("alice", "right")
        site.account("carol", secret="{SHA512-CRYPT}$6$abc$" + "1" * 86)
        server = Server(
            site,
            program=TEXT if workers == 1 else TWISTD,
            workers=workers,
            log="json" if form == "json" else "twisted",
            listen={"pop3": ["haproxy:tcp:0:interface=127.0.0.1"], "pop3s": []},
            auth={"cleartext": "always", "mechanisms": ["PLAIN", "CRAM-MD5"]},
            limits={"proxies": ["127.0.0.1"], "failure_delay_seconds": 0},
        )
        server.start()
        for address in CLIENTS:
            for name in NAMES:
                (reply,) = log_in(server.pop3_port, address, plain(name))
                assert reply.startswith(b"-ERR"), name
            assert log_in(server.pop3_port, address, b"USER bob", b"PASS wrong")[1].startswith(b"-ERR [AUTH]")
            # neither who gets in, nor a mail program that tries a mechanism in vain
            assert log_in(server.pop3_port, address, plain("alice", "right"))[0].startswith(b"+OK")
            digest = base64.b64encode(b"carol " + b"0" * 32)
            assert log_in(server.pop3_port, address, b"AUTH CRAM-MD5", digest)[1].startswith(b"-ERR")
        server.stop()
        log = bytes(server.raw)
    assert VICTIM.encode() in log
    assert log.count(b"cannot be verified with") >= len(CLIENTS)
    expected = sorted(CLIENTS * (len(NAMES) + 1))
    # as it is, and as syslog keeps the same lines; the journal gives them to fail2ban so, with its own time
    lines = [line for line in log.splitlines(keepends=True) if b"mailserver.net" in line]
    syslog = b"".join(b"Nov 26 22:09:22 mail twist[17]: " + line for line in lines)
    assert sorted(found(log + syslog, tmp_path)) == sorted(expected * 2)


def test_the_jail_is_one_that_fail2ban_takes(tmp_path: Path) -> None:
    program = path_of("fail2ban-client")
    folder = tmp_path / "fail2ban"
    shutil.copytree("/etc/fail2ban", folder)
    shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
    (folder / "jail.d" / "defaults-debian.conf").unlink(missing_ok=True)  # sshd, whose log is not everywhere
    done = subprocess.run([program, "-c", str(folder), "--test"], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    dumped = subprocess.run([program, "-c", str(folder), "-d"], capture_output=True, check=True, text=True).stdout
    assert re.search(r"'add', 'mailserver', 'systemd'", dumped)
    assert "_SYSTEMD_UNIT=mailserver.service" in dumped
