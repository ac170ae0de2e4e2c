"""Listeners over the tests' own realm, in this process, and the clients that log in with a ticket."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.protocols.tls import TLSMemoryBIOFactory

from mailserver.auth.kerberos.gssapi import GssapiAcceptor
from mailserver.auth.kerberos.krb5 import Krb5
from mailserver.auth.kerberos.tickets import MAX_WAITING, KerberosAcceptor, KerberosChecker
from mailserver.auth.oracle import make_oracle
from mailserver.auth.portal import MailboxRealm, make_portal
from mailserver.demo import connect
from mailserver.net import POP3ServerFactory
from mailserver.net.kpop import KPOPServerFactory
from mailserver.store.memory import MemoryStore
from mailserver.tls.certificate_store import CertificateStore
from tests.corpus import CORPUS
from tests.gss import library
from tests.interop.clients import path_of, text_form
from tests.net.sessions import SocketCase
from tests.realm import Initiator, Realm
from tests.tls.handshakes import write_pair

MESSAGE: Final = CORPUS["usual"]
TEXT: Final = text_form(MESSAGE)
PLUGIN: Final = connect.__file__
SECONDS: Final = 120

REJECTED: Final = -1765328177
"""KRB5_SENDAUTH_REJECTED: the client could read the server's KRB-ERROR."""


class KerberosCase(SocketCase):
    """A store with a message for alice and one for bob. A ticket opens the maildrop of its name, or what the `rules` say."""

    rules: Sequence[str] = ()

    @pytest.fixture(autouse=True)
    def _fixtures(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.realm: Realm = request.getfixturevalue("realm")
        self.monkeypatch = monkeypatch
        self.home = tmp_path

    def setUp(self) -> None:
        super().setUp()
        self.store = MemoryStore({"alice": [MESSAGE], "bob": [MESSAGE]})
        self.checker = KerberosChecker(self.rules)
        passwords = InMemoryUsernamePasswordDatabaseDontUse(carol=b"secret", dave=b"secret", erin=b"secret")
        self.portal = make_portal(MailboxRealm(self.store), [self.checker, passwords])
        self.files = write_pair(self.folder(), "certificate", ["localhost", "mail.kpop.test"])
        self.certificate = ssl.PEM_cert_to_DER_cert(Path(self.files.certificate).read_text())
        self.tls = CertificateStore([self.files])

    def tearDown(self) -> None:
        faults = [event for event in self.events if "fault" in str(event.get("event"))]
        assert not faults, faults

    async def started(self, part: Any) -> Any:
        await part.start(self.reactor)
        self.addCleanup(part.stop)
        return part

    async def kpop(self, *, host: str = "", waiting: int = MAX_WAITING, **options: Any) -> int:
        """The port of a KPOP listener."""
        await self.started(self.checker)
        acceptor = await self.started(KerberosAcceptor(str(self.realm.keytab), host=host, waiting=waiting))
        factory = KPOPServerFactory(self.portal, acceptor, clock=self.reactor, hostname="localhost", **options)
        self.addCleanup(factory.abort)
        return self.listen(factory)

    def pop3(self, **options: Any) -> int:
        """The port of a POP3 listener."""
        factory = POP3ServerFactory(self.portal, clock=self.reactor, hostname="localhost", **options)
        self.addCleanup(factory.abort)
        return self.listen(factory)

    async def gssapi(self, *, host: str = "", **options: Any) -> dict[str, int]:
        """The ports of listeners that offer GSSAPI and no password: plain with STLS, and POP3S."""
        library()
        await self.started(self.checker)
        oracle = make_oracle([], gssapi=await self.started(GssapiAcceptor(str(self.realm.keytab), host=host)))
        road = {"oracle": oracle, "clock": self.reactor, "hostname": "localhost", **options}
        plain = POP3ServerFactory(self.portal, tls=self.tls, **road)
        secure = POP3ServerFactory(self.portal, listener="pop3s", **road)
        for factory in (plain, secure):
            self.addCleanup(factory.abort)
        wrapped = TLSMemoryBIOFactory(self.tls, False, secure)
        return {"plain": self.listen(plain), "pop3s": self.listen(wrapped, secure)}

    def run_client(self, program: str, *arguments: str, user: str = "alice", status: int = 0) -> Deferred[str]:
        """Run a program with the tickets of `user` to its end, which must be with this exit status; what it said."""
        environment = {
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "HOME": str(self.home),
            "FETCHMAILHOME": str(self.home),
            **self.realm.environment(user),
        }

        def run() -> str:
            ended = subprocess.run(
                [path_of(program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=SECONDS,
                cwd=self.home,
                env=environment,
                check=False,
            )
            said = ended.stdout.decode(errors="backslashreplace")
            assert ended.returncode == status, said
            return said

        return deferToThread(run)

    def fetchmail(
        self, *options: str, name: str = "alice", host: str = "localhost", rc: str = "/dev/null", status: int = 0
    ) -> Deferred[str]:
        """fetchmail for the maildrop of `name`; its messages go to the file "got"."""
        return self.run_client(
            "fetchmail",
            *("--verbose", "--nodetach", "--daemon", "0", "--nosyslog", "--fetchmailrc", rc),
            *("--pidfile", f"{self.home}/pid"),  # else root has one for the machine, and others may be under way
            *("--keep", "--fetchall", "--timeout", "30", "--invisible"),
            *("--user", name, "--mda", f"cat >> {self.home}/got"),
            *options,
            host,
            status=status,
        )

    def kpop_options(self, port: int, *, tls: bool) -> tuple[str, ...]:
        """fetchmail's for KPOP. Without a word on TLS it wants STLS."""
        road = ("--sslcertck", "--sslcertfile", self.files.certificate) if tls else ("--sslproto", "")
        return ("--protocol", "KPOP", "--plugin", f"{sys.executable} -P {PLUGIN} {port}", *road)

    async def sessions(self, count: int = 1) -> dict[str, Any]:
        """Wait for the lines of so many sessions, which may end a little after their clients; the last one."""
        while len(found := self.named("pop3.session")) < count:
            await self.turn()
        assert len(found) == count
        return found[-1]

    def got(self) -> bytes:
        """What the clients delivered."""
        return (self.home / "got").read_bytes()


class KerberosThreads:
    """Notes in which threads libkrb5 was called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: dict[int, int] = {}
        try_it = Krb5._try

        def tried(krb5: Krb5, *arguments: Any) -> None:
            thread = threading.get_ident()
            self.seen[thread] = self.seen.get(thread, 0) + 1
            try_it(krb5, *arguments)

        monkeypatch.setattr(Krb5, "_try", tried)


def talk(port: int, *sent: bytes) -> bytes:
    """What the server says to these octets, sent one after the other, until it closes. For a thread."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
        for data in sent:
            connection.sendall(data)
        received = b""
        while data := connection.recv(1 << 16):
            received += data
        return received


def sendauth(port: int, client: Initiator, pop3: bytes) -> bytes:
    """libkrb5's own exchange, and after it POP3 until the server closes. For a thread. Errors: KerberosError."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
        connection.settimeout(None)  # libkrb5 reads the descriptor, which a timeout makes one that does not block
        client.sendauth(connection)
        connection.settimeout(SECONDS)
        connection.sendall(pop3)
        received = b""
        while data := connection.recv(1 << 16):
            received += data
        return received
