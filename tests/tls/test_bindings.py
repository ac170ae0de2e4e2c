from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import ExtensionOID
from OpenSSL import SSL
from twisted.internet.interfaces import ISSLTransport
from zope.interface import implementer

from mailserver.tls.bindings import END_POINT, EXPORTER, Bindings, names, surroundings
from mailserver.tls.certificate_store import CertificateStore
from mailserver.tls.certificates import CertificateError
from mailserver.tls.contexts import verify_clients
from tests.tls.authority import Authority
from tests.tls.handshakes import write_pair

VERSIONS = {SSL.TLS1_2_VERSION: {END_POINT}, SSL.TLS1_3_VERSION: {EXPORTER, END_POINT}}


def shake(store: CertificateStore, version: int = 0, files: Any = None) -> tuple[SSL.Connection, SSL.Connection]:
    """A client and the server's side of one connection; SSL.Error from whichever side refused."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    if files:
        context.use_certificate_file(files.certificate)
        context.use_privatekey_file(files.key)
    client, server = SSL.Connection(context, None), store.serverConnectionForTLS(None)
    client.set_connect_state()
    server.set_accept_state()
    for _ in range(4):
        for side, other in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                side.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(side.bio_read(65536))
    return client, server


@pytest.mark.parametrize("version", VERSIONS)
def test_both_sides_find_the_same_bindings(tmp_path: Path, version: int) -> None:
    client, server = shake(CertificateStore([write_pair(tmp_path, "a", ["localhost"])]), version)
    bindings = Bindings(server)
    assert bindings
    assert set(bindings) == VERSIONS[version]
    assert len(bindings) == len(VERSIONS[version])
    certificate = client.get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert bindings[END_POINT] == hashlib.sha256(der).digest()
    if EXPORTER in bindings:
        assert bindings[EXPORTER] == client.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")


def test_each_connection_has_an_exporter_of_its_own(tmp_path: Path) -> None:
    store = CertificateStore([write_pair(tmp_path, "a", ["localhost"])])
    assert len({Bindings(shake(store)[1])[EXPORTER] for _ in range(3)}) == 3


def test_other_bindings_are_not_to_be_had(tmp_path: Path) -> None:
    bindings = Bindings(shake(CertificateStore([write_pair(tmp_path, "a", ["localhost"])]))[1])
    with pytest.raises(KeyError):
        bindings[b"tls-unique"]


def test_ed25519_has_no_hash_to_make_an_end_point_of(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, "a", ["localhost"], key=ed25519.Ed25519PrivateKey.generate())
    store = CertificateStore([pair])
    assert set(Bindings(shake(store, SSL.TLS1_3_VERSION)[1])) == {EXPORTER}
    bindings = Bindings(shake(store, SSL.TLS1_2_VERSION)[1])
    assert not bindings
    assert list(bindings) == []


class Signed:
    """A connection of TLS 1.2 whose certificate has a signature of this kind: no library makes MD5's any more."""

    def __init__(self, used: Any) -> None:
        self._used = used
        self.fingerprint = lambda algorithm: algorithm.name.encode()

    @property
    def signature_hash_algorithm(self) -> Any:
        if isinstance(self._used, Exception):
            raise self._used
        return self._used

    def connection(self) -> Any:
        return SimpleNamespace(get_protocol_version=lambda: SSL.TLS1_2_VERSION, get_certificate=lambda **_: self)


@pytest.mark.parametrize(
    ("used", "name"), [(hashes.MD5(), b"sha256"), (hashes.SHA1(), b"sha256"), (hashes.SHA384(), b"sha384")]
)
def test_the_hash_is_the_signature_s_but_never_weaker_than_sha_256(used: Any, name: bytes) -> None:
    assert Bindings(Signed(used).connection())[END_POINT] == name


def test_a_signature_that_nobody_knows_has_none() -> None:
    assert not Bindings(Signed(UnsupportedAlgorithm("x")).connection())


def test_clients_are_named_by_what_their_certificate_says(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    store = CertificateStore([write_pair(tmp_path, "a", ["localhost"])], client_ca=str(authority.file))
    both = authority.client("alice@example.org", "a@example.org", names=("Alice",))
    for files, email, common in (
        (both, (b"alice@example.org", b"a@example.org"), (b"Alice",)),
        (authority.client(names=("Jörg",)), (), ("Jörg".encode(),)),
        (authority.client("x@example.org", names=("a", "b")), (b"x@example.org",), ()),
        (None, (), ()),
    ):
        for version in VERSIONS:
            _, server = shake(store, version, files)
            assert names(server, "email") == email
            assert names(server, "cn") == common
            assert names(server, "") == ()


def test_a_certificate_of_another_authority_or_another_time_ends_the_handshake(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    store = CertificateStore([write_pair(tmp_path, "a", ["localhost"])], client_ca=str(authority.file))
    for files in (
        Authority(tmp_path, "Other").client("alice@example.org"),
        Authority(tmp_path, "Test CA 2").client("alice@example.org"),
        authority.client("alice@example.org", days=1),
        write_pair(tmp_path, "self", ["alice@example.org"]),
    ):
        with pytest.raises(SSL.Error):
            shake(store, SSL.TLS1_2_VERSION, files)


def test_where_nobody_verifies_clients_a_certificate_names_nobody(tmp_path: Path) -> None:
    store = CertificateStore([write_pair(tmp_path, "a", ["localhost"])])
    _, server = shake(store, 0, Authority(tmp_path).client("mallory@example.org"))
    assert names(server, "email") == ()


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        TypeError(),
        x509.DuplicateExtension("twice", ExtensionOID.SUBJECT_ALTERNATIVE_NAME),
        x509.UnsupportedGeneralNameType("x400Address"),
    ],
)
def test_a_certificate_that_cannot_be_read_names_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    authority = Authority(tmp_path)
    store = CertificateStore([write_pair(tmp_path, "a", ["localhost"])], client_ca=str(authority.file))
    _, server = shake(store, 0, authority.client("alice@example.org"))

    class Broken:
        @property
        def extensions(self) -> x509.Extensions:
            raise error

        @property
        def subject(self) -> x509.Name:
            raise error

    monkeypatch.setattr(type(server), "get_peer_certificate", lambda *_, **__: Broken())
    assert names(server, "email") == names(server, "cn") == ()


@pytest.mark.parametrize("text", ["", "rubbish"])
def test_authorities_that_cannot_be_read_are_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "ca.pem").write_text(text)
    pair = write_pair(tmp_path, "a", ["localhost"])
    for file in ("ca.pem", "missing.pem"):
        with pytest.raises(CertificateError, match=file):
            CertificateStore([pair], client_ca=str(tmp_path / file))


def test_new_authorities_change_the_stamp(tmp_path: Path) -> None:
    first, second = Authority(tmp_path, "First"), Authority(tmp_path, "Second")
    store = CertificateStore([write_pair(tmp_path, "a", ["localhost"])], client_ca=str(first.file))
    before = store.stamp()
    assert before == store.loaded.stamp
    first.file.write_bytes(second.file.read_bytes() + b"\n")
    assert store.stamp() != before
    store.swap(store.load())
    _, server = shake(store, 0, second.client("alice@example.org"))
    assert names(server, "email") == (b"alice@example.org",)


@implementer(ISSLTransport)
class Encrypted:
    def __init__(self, connection: Any) -> None:
        self.getHandle = lambda: connection


def test_an_exchange_is_given_what_its_transport_has(tmp_path: Path) -> None:
    plain = surroundings(b"h", "email", object())
    assert (plain.hostname, plain.tls, dict(plain.bindings), plain.identities) == (b"h", False, {}, ())
    authority = Authority(tmp_path)
    store = CertificateStore([write_pair(tmp_path, "a", ["localhost"])], client_ca=str(authority.file))
    _, server = shake(store, 0, authority.client("alice@example.org"))
    context = surroundings(b"h", "email", Encrypted(server))
    assert context.tls
    assert set(context.bindings) == {EXPORTER, END_POINT}
    assert context.identities == (b"alice@example.org",)
    assert context.nonce.isalnum()
    assert len({surroundings(b"h", "", object()).nonce for _ in range(100)}) == 100


def test_authorities_that_openssl_cannot_take_are_told() -> None:
    with pytest.raises(CertificateError, match="OpenSSL refuses it"):
        verify_clients(SSL.Context(SSL.TLS_SERVER_METHOD), "/nonexistent", b"")
