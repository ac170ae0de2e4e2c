"""SCRAM with channel binding over real TLS: a client of our own, since no mail program has one."""

from __future__ import annotations

import base64
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL

from tests.sasl import clients
from tests.servers import Server, Site

VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
BINDINGS = [("1.2", b"tls-server-end-point"), ("1.3", b"tls-server-end-point"), ("1.3", b"tls-exporter")]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Site() as site:
        site.account("alice", "pencil", messages=[b"Subject: hi\n\n"])
        with Server(site) as server:
            yield server


class PlusClient:
    """POP3 over TLS by OpenSSL, which can make the exporter that Python's ssl lacks."""

    def __init__(self, server: Server, version: str, road: str) -> None:
        port = server.pop3s_port if road == "pop3s" else server.pop3_port
        self._socket = socket.create_connection(("127.0.0.1", port), 30)
        self._line: Any = self._socket
        if road == "stls":
            self.reads(b"+OK")
            self.writes(b"STLS")
            self.reads(b"+OK")
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(VERSIONS[version])
        context.set_max_proto_version(VERSIONS[version])
        self._socket.settimeout(None)  # OpenSSL takes a socket with a timeout for one that does not block
        self.tls = self._line = SSL.Connection(context, self._socket)
        self.tls.set_connect_state()
        self.tls.do_handshake()
        if road == "pop3s":
            self.reads(b"+OK")

    def __enter__(self) -> PlusClient:  # noqa: PYI034 - nobody makes a subclass
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def writes(self, line: bytes) -> None:
        self._line.sendall(line + b"\r\n")

    def reads(self, start: bytes) -> bytes:
        line = b""
        while not line.endswith(b"\r\n"):
            line += self._line.recv(1)
        assert line.startswith(start), line
        return line[len(start) : -2]

    def binding(self, kind: bytes) -> bytes:
        if kind == b"tls-exporter":
            return self.tls.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        certificate = self.tls.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        return certificate.fingerprint(hashes.SHA256())

    def login(self, mechanism: str, talk: clients.Talk, start: bytes) -> None:
        """Speak the mechanism to its end, which must begin with `start`."""
        self.writes(b"AUTH " + mechanism.encode())
        challenge = self.reads(b"+ ")
        assert challenge == b""
        response = next(talk)
        while True:
            self.writes(base64.b64encode(response))
            answer = self.reads(b"")
            if not answer.startswith(b"+ "):
                assert answer.startswith(start), answer
                return
            try:
                response = talk.send(base64.b64decode(answer[2:]))
            except StopIteration:
                response = b""


def plus(client: PlusClient, digest: str, kind: bytes, *, binding: bytes = b"", password: bytes = b"pencil") -> Any:
    header = b"p=" + kind + b",,"
    return clients.scram(digest, b"alice", password, header=header, binding=binding or client.binding(kind))


@pytest.mark.parametrize("road", ["stls", "pop3s"])
@pytest.mark.parametrize(("version", "kind"), BINDINGS)
@pytest.mark.parametrize("size", ["1", "256"])
def test_a_login_is_bound_to_its_connection(server: Server, size: str, version: str, kind: bytes, road: str) -> None:
    with PlusClient(server, version, road) as client:
        talk = plus(client, f"sha{size}", kind)
        client.login(f"SCRAM-SHA-{size}-PLUS", talk, b"+OK maildrop has 1 messages")


@pytest.mark.parametrize(("version", "kind"), BINDINGS)
def test_a_login_that_was_meant_for_another_connection_is_refused(server: Server, version: str, kind: bytes) -> None:
    with PlusClient(server, version, "pop3s") as other, PlusClient(server, version, "pop3s") as client:
        binding = other.binding(kind) if kind == b"tls-exporter" else b"another certificate's hash"
        client.login("SCRAM-SHA-256-PLUS", plus(client, "sha256", kind, binding=binding), b"-ERR [AUTH]")


def test_a_wrong_password_is_refused(server: Server) -> None:
    with PlusClient(server, "1.3", "stls") as client:
        talk = plus(client, "sha256", b"tls-exporter", password=b"pen")
        client.login("SCRAM-SHA-256-PLUS", talk, b"-ERR [AUTH]")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_from_whom_plus_was_hidden_is_told_by_a_refusal(server: Server, version: str) -> None:
    with PlusClient(server, version, "pop3s") as client:
        client.login("SCRAM-SHA-256", clients.scram("sha256", b"alice", b"pencil", header=b"y,,"), b"-ERR [AUTH]")
        client.login("SCRAM-SHA-256", clients.scram("sha256", b"alice", b"pencil"), b"+OK")


def test_before_tls_there_is_nothing_to_bind_to(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.pop3_port), 30) as line:
        line.sendall(b"CAPA\r\nAUTH SCRAM-SHA-256-PLUS\r\nQUIT\r\n")
        said = b"".join(iter(lambda: line.recv(4096), b""))
    (announced,) = re.findall(rb"(?m)^SASL (.*?)\r$", said)
    assert b"SCRAM-SHA-256" in announced.split()
    assert b"PLUS" not in announced
    assert b"-ERR this mechanism cannot be used over this connection" in said
