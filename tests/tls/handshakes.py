"""TLS handshakes in memory, between a CertificateStore and a client, and certificates to make them with."""

from __future__ import annotations

import contextlib
import functools
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL

from mailserver.tls.certificate_store import CertificateStore
from mailserver.tls.certificates import CertificateFiles, self_signed


@functools.cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def write_pair(folder: Path, stem: str, names: Iterable[str], **options: object) -> CertificateFiles:
    certificate, key = self_signed(names, **options)
    files = CertificateFiles(str(folder / f"{stem}.pem"), str(folder / f"{stem}.key"))
    Path(files.certificate).write_bytes(certificate)
    Path(files.key).write_bytes(key)
    return files


def connect(
    store: CertificateStore,
    name: bytes | None = None,
    configure: Callable[[SSL.Context], object] = lambda context: None,
) -> SSL.Connection:
    """A pyOpenSSL client that shook hands with the store; SSL.Error from whichever side refused."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    configure(context)
    client, server = SSL.Connection(context, None), store.serverConnectionForTLS(None)
    client.set_connect_state()
    server.set_accept_state()
    if name is not None:
        client.set_tlsext_host_name(name)
    pending = [client, server]
    while pending:
        for side, other in ((client, server), (server, client)):
            try:
                side.do_handshake()
            except SSL.WantReadError:
                pass
            else:
                if side in pending:
                    pending.remove(side)
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(side.bio_read(65536))
    return client


def certificate_of(client: SSL.Connection) -> x509.Certificate:
    certificate = client.get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    return certificate


def common_name(client: SSL.Connection) -> str:
    return certificate_of(client).subject.rfc4514_string()


class StandardClient:
    """A client of the standard library's ssl, which can tell whether a session was resumed."""

    def __init__(
        self,
        store: CertificateStore,
        context: ssl.SSLContext,
        session: ssl.SSLSession | None = None,
        name: str | None = "mail.example.org",
    ) -> None:
        self._server = store.serverConnectionForTLS(None)
        self._server.set_accept_state()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name, session=session)
        for _ in range(4):
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
            self._carry()
            with contextlib.suppress(SSL.WantReadError):
                self._server.do_handshake()
            self._carry()
        self._server.send(b"+OK\r\n")
        self._carry()
        assert self.tls.read(5) == b"+OK\r\n"  # and the session tickets before it

    def _carry(self) -> None:
        if sent := self._outgoing.read():
            self._server.bio_write(sent)
        with contextlib.suppress(SSL.WantReadError):
            self._incoming.write(self._server.bio_read(65536))


def standard_context(version: ssl.TLSVersion, options: int = 0) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.options |= options
    return context
