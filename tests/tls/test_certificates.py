from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519
from cryptography.x509.oid import NameOID

from mailserver.tls.certificates import CertificateError, CertificateFiles, read_pair, self_signed, stamp
from tests.tls.handshakes import rsa_key, write_pair


def test_a_self_signed_certificate_is_for_its_names_and_addresses(tmp_path: Path) -> None:
    certificate, _ = self_signed(["localhost", "127.0.0.1", "::1"])
    names = (
        x509.load_pem_x509_certificate(certificate)
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]


@pytest.mark.parametrize(
    ("key", "kind"), [(None, "ECDSA"), (rsa_key(), "RSA"), (ed25519.Ed25519PrivateKey.generate(), "Ed25519")]
)
def test_a_pair_knows_its_kind_names_and_end(tmp_path: Path, key: object, kind: str) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    files = write_pair(tmp_path, "a", ["Mail.Example.org", "*.example.net", "10.0.0.1"], days=90, start=start, key=key)
    pair = read_pair(files)
    assert pair.kind == kind
    assert pair.names == {b"mail.example.org", b"*.example.net"}
    assert pair.expires == (start + timedelta(days=90)).timestamp()


def test_the_key_is_in_no_repr(tmp_path: Path) -> None:
    assert "key=" not in repr(read_pair(write_pair(tmp_path, "a", ["a"]))).partition("files=")[2].partition(")")[2]


def test_the_common_name_counts_only_without_alternative_names(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Old.example.org")])
    start = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start + timedelta(days=1))
    files = write_pair(tmp_path, "a", ["other"], key=key)
    Path(files.certificate).write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    assert read_pair(files).names == {b"old.example.org"}


def _pem(key: object, encryption: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _missing(files: CertificateFiles) -> None:
    Path(files.certificate).unlink()


def _folder(files: CertificateFiles) -> None:
    Path(files.key).unlink()
    Path(files.key).mkdir()


def _no_certificate(files: CertificateFiles) -> None:
    Path(files.certificate).write_bytes(b"")


def _torn_certificate(files: CertificateFiles) -> None:
    Path(files.certificate).write_bytes(Path(files.certificate).read_bytes()[:200])


def _torn_key(files: CertificateFiles) -> None:
    Path(files.key).write_bytes(Path(files.key).read_bytes()[:100])


def _other_key(files: CertificateFiles) -> None:
    Path(files.key).write_bytes(self_signed(["a"])[1])


def _encrypted_key(files: CertificateFiles) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    Path(files.key).write_bytes(_pem(key, serialization.BestAvailableEncryption(b"secret")))


def _dsa_key(files: CertificateFiles) -> None:
    Path(files.key).write_bytes(_pem(dsa.generate_private_key(1024), serialization.NoEncryption()))


@pytest.mark.parametrize(
    ("spoil", "file", "reason"),
    [
        (_missing, "a.pem", "no such file"),
        (_folder, "a.key", "cannot be read"),
        (_no_certificate, "a.pem", "no readable PEM certificate"),
        (_torn_certificate, "a.pem", "no readable PEM certificate"),
        (_torn_key, "a.key", "no readable PEM private key"),
        (_other_key, "a.key", "does not belong"),
        (_encrypted_key, "a.key", "encrypted"),
        (_dsa_key, "a.key", "of this type"),
    ],
)
def test_what_is_wrong_is_said_with_file_reason_and_remedy(
    tmp_path: Path, spoil: object, file: str, reason: str
) -> None:
    files = write_pair(tmp_path, "a", ["a"])
    spoil(files)
    with pytest.raises(CertificateError) as caught:
        read_pair(files)
    error = caught.value
    assert error.file == str(tmp_path / file)
    assert reason in error.reason
    assert error.remedy
    assert str(error) == f"{error.file}: {error.reason}; {error.remedy}"
    assert "PRIVATE KEY" not in str(error)
    assert error.__suppress_context__ or error.__context__ is None


def test_a_key_that_may_not_be_read_names_the_ways_to_allow_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_pair(tmp_path, "a", ["a"])

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # root, as whom tests may run, can read everything
    with pytest.raises(CertificateError, match=f"user {os.geteuid()} may not read it.*LoadCredential"):
        read_pair(files)


def test_the_stamp_changes_with_the_file_behind_a_symlink(tmp_path: Path) -> None:
    first, second = write_pair(tmp_path, "1", ["a"]), write_pair(tmp_path, "2", ["a"])
    live = CertificateFiles(str(tmp_path / "live.pem"), first.key)
    Path(live.certificate).symlink_to(first.certificate)
    before = stamp([live])
    assert stamp([live]) == before
    Path(live.certificate).unlink()
    Path(live.certificate).symlink_to(second.certificate)
    assert stamp([live]) != before


def test_the_stamp_changes_with_rights_and_with_existence(tmp_path: Path) -> None:
    files = write_pair(tmp_path, "a", ["a"])
    before = stamp([files])
    Path(files.key).chmod(0o600)
    changed = stamp([files])
    assert changed != before
    Path(files.key).unlink()
    assert stamp([files]) not in (before, changed)
