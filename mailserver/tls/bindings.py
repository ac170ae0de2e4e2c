"""The context that TLS gives to a SASL exchange: channel bindings (RFC 5056), and the names in the client's certificate."""

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
"""The errors of a certificate that a CA has signed but cryptography cannot read, such as one with an X.400 address."""


def surroundings(hostname: bytes, client_name: str, transport: Any) -> SaslContext:
    """The context of a new exchange over `transport`; `client_name` is the `kind` of `names`."""
    nonce = token_hex(16).encode("ascii")
    if not is_tls(transport):
        return SaslContext(hostname, tls=False, nonce=nonce)
    connection: SSL.Connection = transport.getHandle()
    return SaslContext(hostname, True, nonce, Bindings(connection), names(connection, client_name))


def is_tls(transport: object) -> bool:
    """Whether the transport is in TLS."""
    return bool(ISSLTransport.providedBy(transport))


class Bindings(Mapping[bytes, bytes]):
    """The channel bindings of a connection; each is computed when it is looked up.

    ``tls-unique`` is left out: it is broken before TLS 1.3 (RFC 7627), and undefined in TLS 1.3.
    """

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection

    def __getitem__(self, name: bytes) -> bytes:
        if name == EXPORTER and self._has_exporter:
            # RFC 9266: the context is empty, which differs from no context.
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
        """Whether ``tls-exporter`` is safe: TLS 1.3 only.

        Before TLS 1.3 it is unique only with the extended master secret, and pyOpenSSL does not tell whether that is in use.
        """
        return self._connection.get_protocol_version() >= SSL.TLS1_3_VERSION

    def _end_point(self) -> bytes:
        """RFC 5929 section 4.1: our certificate's hash, by the hash of its signature. KeyError without one (Ed25519)."""
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
    """The users that the client's certificate names: its addresses (`kind` "email", rfc822Name) or common name ("cn").

    None where `kind` is "", or where TLS does not verify clients, since then anybody can make a certificate.
    """
    if not kind or not connection.get_context().get_verify_mode() & SSL.VERIFY_PEER:
        return ()
    certificate = connection.get_peer_certificate(as_cryptography=True)
    if certificate is None:
        return ()
    try:
        found = (_emails if kind == "email" else _common_names)(certificate)
    except _UNREADABLE:  # as if there were none: the client can still use a password
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
    return (
        [str(name.value) for name in found] if len(found) == 1 else []
    )  # with several, none is known to be the user's
