#!/usr/bin/env python3
"""Measure what a login costs by each way: a password, KPOP and SASL GSSAPI, against a KDC of its own, in one run.

    bench/kerberos.py [--logins 300] [--rounds 3]

It prints the server's CPU for a session of greeting, login, STAT and QUIT, and how many of them a second of CPU is worth. The
first row has no login in it. Machines are shared and noisy: quote the ratios of one run, never a figure alone. Needs
krb5-kdc, krb5-admin-server, krb5-user, libkrb5-3, the extra [gssapi] and what the tests need.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))

from tests.gss import GssClient  # noqa: E402 - its folder is known since the line before
from tests.rawpop3 import RawPOP3  # noqa: E402 - as above
from tests.realm import Realm, ap_req  # noqa: E402 - as above

HELLO = b"\0\0\0\x13KRB5_SENDAUTH_V1.0\0\0\0\0\x09KPOPV1.0\0"
WITHOUT_REPLY = 5
"""Octets of the answers to the versions and to an AP-REQ that asks for no AP-REP."""


class Ways:
    """The client's side of each way to log in."""

    def __init__(self, realm: Realm, ports: dict[str, int]) -> None:
        self.realm = realm
        self.ports = ports

    def none(self) -> Callable[[], object]:
        """Greeting and QUIT."""
        return lambda: self._session(RawPOP3(self.ports["pop3"]))

    def password(self) -> Callable[[], object]:
        """USER and PASS."""
        return lambda: self._session(RawPOP3(self.ports["pop3"]).login("alice", "secret"), b"STAT")

    def kpop(self) -> Callable[[], object]:
        """A ticket before the greeting."""
        request = ap_req(self.realm, mutual=False)
        return lambda: self._session(Sendauth(self.ports["kpop"], request).login("alice", "krb_ticket"), b"STAT")

    def gssapi(self) -> Callable[[], object]:
        """AUTH GSSAPI."""
        client = GssClient(self.realm, mutual=False)
        return lambda: self._session(self._authenticated(client), b"STAT")

    def _authenticated(self, client: GssClient) -> RawPOP3:
        wire = RawPOP3(self.ports["pop3"])
        wire.command(b"AUTH GSSAPI")
        client.unwrap(b64decode(wire.command(b64encode(client.first))[2:]))
        wire.ok(b64encode(client.wrap(b"\1\0\0\0alice")))
        return wire

    def _session(self, wire: RawPOP3, *commands: bytes) -> None:
        with wire:
            for command in commands:
                wire.ok(command)
            wire.quit()


class Sendauth(RawPOP3):
    """A connection that shows a ticket before it reads the greeting."""

    def __init__(self, port: int, request: bytes) -> None:
        self._request = HELLO + len(request).to_bytes(4, "big") + request
        super().__init__(port)

    def line(self) -> bytes:
        """The next line, without what sendauth says before the first."""
        request, self._request = self._request, b""
        self.send(request)
        line = super().line()
        return line[WITHOUT_REPLY:] if request else line


class Served:
    """The server, in a process of its own."""

    def __init__(self, realm: Realm) -> None:
        users = realm.folder / "users"
        users.write_text("alice:{PLAIN}secret\n")
        command = [sys.executable, str(HERE), "--serve", str(realm.keytab), str(users)]
        environment = {**os.environ, **realm.environment()}
        self._process: Any = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )
        self.ports: dict[str, int] = json.loads(self._process.stdout.readline())

    def cpu(self) -> float:
        """Seconds that it has used so far."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def stop(self) -> None:
        """End it."""
        self._process.stdin.close()
        self._process.wait()


class Row(NamedTuple):
    """A line of the table."""

    name: str
    way: Callable[[], Callable[[], object]]


def measure(served: Served, rows: list[Row], logins: int, rounds: int) -> None:
    """Run every way in every round, so that a noisy minute hits all of them."""
    cost: dict[str, list[float]] = {row.name: [] for row in rows}
    for _ in range(rounds):
        for row in rows:
            clients = [row.way() for _ in range(logins)]  # a client's own work is not ours to measure
            before = served.cpu()
            for client in clients:
                client()
            cost[row.name].append((served.cpu() - before) / logins)
    for name, seconds in cost.items():
        median = statistics.median(seconds)
        print(f"{name:10} {median * 1e6:7.0f} us {1 / median:7.0f} /s   of CPU")


def serve(keytab: str, users: str) -> None:
    """Be the server: tell the ports, and the CPU for each line that comes."""
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred
    from twisted.internet.protocol import Protocol
    from twisted.internet.stdio import StandardIO

    from mailserver.auth import MailboxRealm, PasswordFile, make_oracle, make_portal
    from mailserver.auth.kerberos.gssapi import GssapiAcceptor
    from mailserver.auth.kerberos.tickets import KerberosAcceptor, KerberosChecker
    from mailserver.net import POP3ServerFactory
    from mailserver.net.kpop import KPOPServerFactory
    from mailserver.store import MemoryStore

    loop: Any = reactor

    class Asked(Protocol):
        transport: Any

        def dataReceived(self, data: bytes) -> None:
            self.transport.write(b"%f\n" % time.process_time() * data.count(b"\n"))

        def connectionLost(self, *_: object) -> None:
            loop.stop()

    async def start() -> None:
        acceptor, gssapi = KerberosAcceptor(keytab), GssapiAcceptor(keytab)
        checkers: list[Any] = [PasswordFile(users), KerberosChecker()]
        for part in (acceptor, gssapi, *checkers):
            await part.start(loop)
            loop.addSystemEventTrigger("before", "shutdown", part.stop)
        portal = make_portal(MailboxRealm(MemoryStore()), checkers)
        factories = {
            "pop3": POP3ServerFactory(portal, cleartext="always", oracle=make_oracle(checkers, gssapi)),
            "kpop": KPOPServerFactory(portal, acceptor),
        }
        ports = {name: loop.listenTCP(0, made, interface="127.0.0.1") for name, made in factories.items()}
        told: Any = StandardIO(Asked())
        told.write(json.dumps({name: port.getHost().port for name, port in ports.items()}).encode() + b"\n")

    loop.callWhenRunning(lambda: Deferred.fromCoroutine(start()))
    loop.run()


def main() -> None:
    """Measure, or serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logins", type=int, default=300, help="of each way in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(*options.serve)
        return
    realm = Realm()
    os.environ.update(realm.environment())
    served = Served(realm)
    ways = Ways(realm, served.ports)
    rows = [Row("no login", ways.none), Row("PASS", ways.password), Row("KPOP", ways.kpop), Row("GSSAPI", ways.gssapi)]
    try:
        measure(served, rows, options.logins, options.rounds)
    finally:
        served.stop()
        realm.stop()


if __name__ == "__main__":
    main()
