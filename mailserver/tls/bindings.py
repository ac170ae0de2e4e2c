"""What TLS gives to a SASL exchange: channel bindings (RFC 5056), and whom the client's certificate names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from secrets import token_hex
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.interfaces import ISSLTransport

from mailserver.exchange import SaslContext

EXPORTER: Final = b"tls-exporter"
END_POINT: Final = b"tls-server-end-point"

_UNREADABLE: Final = (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What comes of a certificate that cannot be read though a CA has signed it: an X.400 address, say, or a name in T.61."""


def surroundings(hostname: bytes, client_name: str, transport: Any) -> SaslContext:
    """What a new exchange over `transport` is given; `client_name` as in `names`."""
    nonce = token_hex(16).encode("ascii")
    if not is_tls(transport):
        return SaslContext(hostname, tls=False, nonce=nonce)
    connection: SSL.Connection = transport.getHandle()
    return SaslContext(hostname, True, nonce, Bindings(connection), names(connection, client_name))


def is_tls(transport: object) -> bool:
    """Whether TLS has begun on it."""
    return bool(ISSLTransport.providedBy(transport))


class Bindings(Mapping[bytes, bytes]):
    """The channel bindings of a connection; each is made when it is looked up.

    ``tls-unique`` is not among them: it is broken before TLS 1.3 (RFC 7627), and undefined there.
    """

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection

    def __getitem__(self, name: bytes) -> bytes:
        if name == EXPORTER and self._has_exporter:
            # RFC 9266. The context is empty, which is something else than none.
            return self._connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        if name == END_POINT:
            return self._end_point()
        raise KeyError(name)

    def __iter__(self) -> Iterator[bytes]:
        if self._has_exporter:
            yield EXPORTER
        if END_POINT in self:
            yield END_POINT

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __bool__(self) -> bool:
        return any(True for _ in self)

    @property
    def _has_exporter(self) -> bool:
        """Before TLS 1.3 it is unique only with the extended master secret, and OpenSSL's binding does not tell of that."""
        return self._connection.get_protocol_version() >= SSL.TLS1_3_VERSION

    def _end_point(self) -> bytes:
        """RFC 5929 section 4.1: our certificate under the hash of its signature. KeyError where that has none (Ed25519)."""
        certificate = self._connection.get_certificate(as_cryptography=True)
        used = None if certificate is None else _signature_hash(certificate)
        if certificate is None or used is None:
            raise KeyError(END_POINT)
        return certificate.fingerprint(hashes.SHA256() if isinstance(used, (hashes.MD5, hashes.SHA1)) else used)


def _signature_hash(certificate: x509.Certificate) -> hashes.HashAlgorithm | None:
    try:
        return certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None


def names(connection: SSL.Connection, kind: str) -> tuple[bytes, ...]:
    """Whom the client's certificate names: by its "email" addresses (rfc822Name), or by its common name, "cn".

    Nobody, where `kind` is "", or where TLS does not verify clients: then anybody can make a certificate.
    """
    if not kind or not connection.get_context().get_verify_mode() & SSL.VERIFY_PEER:
        return ()
    certificate = connection.get_peer_certificate(as_cryptography=True)
    if certificate is None:
        return ()
    try:
        found = (_emails if kind == "email" else _common_names)(certificate)
    except _UNREADABLE:  # as good as none: the password is still a way in
        return ()
    return tuple(name.encode("utf-8") for name in found)


def _emails(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(x509.RFC822Name)


def _common_names(certificate: x509.Certificate) -> list[str]:
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return [str(name.value) for name in found] if len(found) == 1 else []  # of several, who could say which?
