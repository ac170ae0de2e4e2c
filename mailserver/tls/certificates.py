"""Certificate files: reads and checks a chain and its private key; the errors tell the operator what to do.

Everything here blocks on the disk: call it in a thread, or before the start.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, PublicKeyAlgorithmOID

from mailserver.errors import Unusable

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey

_KINDS: Final = (
    ("RSA", rsa.RSAPrivateKey),
    ("ECDSA", ec.EllipticCurvePrivateKey),
    ("Ed25519", ed25519.Ed25519PrivateKey),
    ("Ed448", ed448.Ed448PrivateKey),
)
"""The key types for which a TLS context has a slot each (OpenSSL's own slots); "RSA-PSS" is another one."""

Stamp = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """The paths of a PEM chain that begins with the server's own certificate, and of its private key, also PEM."""

    certificate: str
    key: str


class CertificateError(Unusable):
    """A certificate or key file that cannot be used; the text names the file, the reason and the remedy, but no secret."""

    def __init__(self, file: str, reason: str, remedy: str) -> None:
        super().__init__(f"{file}: {reason}; {remedy}")
        self.file = file
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A certificate and the private key that fits it."""

    files: CertificateFiles
    kind: str
    """The key's type; one context serves one certificate of each."""
    names: frozenset[bytes]
    """The certificate's host names, in lower case, wildcards included."""
    begins: float
    """The begin of the validity, in seconds since the epoch."""
    expires: float
    """The end of the validity."""
    complete: bool
    """Whether the issuer's certificate follows in the file, or the certificate is self-signed."""
    chain: bytes
    """The contents of the certificates' PEM file."""
    key: bytes = field(repr=False)
    """The contents of the key's PEM file."""
    stamp: Stamp = ()
    """The state of the two files just before they were read."""

    def matches(self, name: str) -> bool:
        """Whether the certificate is for this host; a wildcard matches one label (RFC 6125 section 6.4.3)."""
        asked = name.lower().encode("utf-8")
        return asked in self.names or b"*." + asked.partition(b".")[2] in self.names


def stamp(files: Iterable[CertificateFiles], client_ca: str = "") -> Stamp:
    """A value that changes when any of the files is replaced, written, or given other permissions; follows symlinks.

    certbot swaps symlinks, so the value depends on the file behind the link. It includes the ctime because of permissions:
    a key that has become readable must be tried again.
    """
    paths = [path for pair in files for path in (pair.certificate, pair.key)]
    return tuple(map(_identity, [*paths, client_ca] if client_ca else paths))


def _identity(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path at each poll would bring nothing
    except OSError:  # of any kind: reading the file will give the reason
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def read_pair(files: CertificateFiles) -> Pair:
    """Read and check a certificate and its key. Errors: CertificateError."""
    before = stamp([files])
    chain, secret = _read(files.certificate), _read(files.key)
    certificates = _certificates(files.certificate, chain)
    certificate = certificates[0]
    kind, key = _private_key(files.key, secret)
    if certificate.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
        kind = "RSA-PSS"
    if certificate.public_key() != key.public_key():
        raise CertificateError(
            files.key,
            f"the key does not belong to the certificate in {files.certificate}",
            "give the key of that certificate, and put the server's own certificate first in its file",
        )
    return Pair(
        files,
        kind,
        _names(certificate),
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
        certificate.issuer == certificate.subject or any(certificate.issuer == each.subject for each in certificates),
        chain,
        secret,
        before,
    )


def key_trouble(files: CertificateFiles) -> CertificateError | None:
    """What is wrong with the key alone, where the certificate cannot be used; None: nothing is."""
    try:
        _private_key(files.key, _read(files.key))
    except CertificateError as error:
        return error
    return None


def read_authorities(path: str) -> bytes:
    """Read a file with the certificates of the authorities that sign clients' certificates. Errors: CertificateError."""
    text = _read(path)
    _certificates(path, text)
    return text


def _certificates(path: str, text: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError:
        raise CertificateError(
            path, "holds no readable PEM certificate", "write the chain in PEM form, the server's own certificate first"
        ) from None


def _private_key(path: str, text: bytes) -> tuple[str, PrivateKey]:
    """The type of the key, and the key. No exception is chained, since its text might quote the file."""
    try:
        key = serialization.load_pem_private_key(text, password=None)
    except TypeError:
        raise CertificateError(
            path, "the key is encrypted", "store it without a passphrase (openssl pkey -in OLD -out NEW)"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError(path, "holds no readable PEM private key", "write the key in PEM form") from None
    for kind, base in _KINDS:
        if isinstance(key, base):
            return kind, key
    raise CertificateError(path, "a key of this type cannot serve TLS", "use an ECDSA or an RSA key")


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise CertificateError(path, "no such file", "check the path in [tls]") from None
    except PermissionError:
        raise CertificateError(
            path,
            f"user {os.geteuid()} may not read it",
            "let the serving user read it: by its group, by an ACL (setfacl -m u:USER:r), or by systemd's LoadCredential",
        ) from None
    except OSError as error:
        raise CertificateError(path, f"cannot be read ({error.strerror})", "check the file and its disk") from None


def _names(certificate: x509.Certificate) -> frozenset[bytes]:
    """The DNS names of the subjectAltName; the common name counts only where that is missing (RFC 6125 section 6.4.4)."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return frozenset(str(name.value).lower().encode() for name in common)
    return frozenset(name.lower().encode() for name in extension.value.get_values_for_type(x509.DNSName))


def self_signed(
    names: Iterable[str], *, days: int = 365, start: datetime | None = None, key: PrivateKey | None = None
) -> tuple[bytes, bytes]:
    """A self-signed certificate for these host names and IP addresses, and its key, both PEM.

    For demonstrations and tests: clients must be configured to trust it. Without `key`, it makes a new ECDSA P-256 key.
    """
    names = list(names)
    start = start or datetime.now(UTC) - timedelta(hours=1)  # so that a client with a slow clock accepts it, too
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    signed = builder.sign(
        key, None if isinstance(key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)) else hashes.SHA256()
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return signed.public_bytes(serialization.Encoding.PEM), secret


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
