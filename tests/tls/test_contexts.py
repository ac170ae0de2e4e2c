"""Each key is proven by a handshake when it is loaded: what no client could use is refused then, with the remedy."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from OpenSSL import SSL

from mailserver.tls.certificate_store import CertificateErrors, CertificateStore
from mailserver.tls.certificates import CertificateError, CertificateFiles, read_pair
from mailserver.tls.contexts import MOVING_WRITE_BUFFER, PROFILES, VERSIONS, make_context, prove
from tests.tls.handshakes import connect, rsa_key, write_pair


def pss(folder: Path, *options: str) -> CertificateFiles:
    """An RSA-PSS key, which cryptography cannot write."""
    files = CertificateFiles(str(folder / "pss.pem"), str(folder / "pss.key"))
    generate = ["openssl", "genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048", *options]
    subprocess.run([*generate, "-out", files.key], check=True, capture_output=True)
    sign = ["openssl", "req", "-x509", "-new", "-key", files.key, "-subj", "/CN=localhost", "-days", "9"]
    subprocess.run([*sign, "-out", files.certificate], check=True, capture_output=True)
    return files


RESTRICTED = ("rsa_pss_keygen_md:sha256", "rsa_pss_keygen_mgf1_md:sha256", "rsa_pss_keygen_saltlen:32")
KEYS = {
    "RSA": lambda folder: write_pair(folder, "a", ["a"], key=rsa_key()),
    "RSA-PSS": pss,
    "RSA-PSS-restricted": lambda folder: pss(folder, *(word for each in RESTRICTED for word in ("-pkeyopt", each))),
    "P-256": lambda folder: write_pair(folder, "a", ["a"], key=ec.generate_private_key(ec.SECP256R1())),
    "P-384": lambda folder: write_pair(folder, "a", ["a"], key=ec.generate_private_key(ec.SECP384R1())),
    "P-521": lambda folder: write_pair(folder, "a", ["a"], key=ec.generate_private_key(ec.SECP521R1())),
    "Ed25519": lambda folder: write_pair(folder, "a", ["a"], key=ed25519.Ed25519PrivateKey.generate()),
    "Ed448": lambda folder: write_pair(folder, "a", ["a"], key=ed448.Ed448PrivateKey.generate()),
}


@pytest.mark.parametrize("version", ["TLS 1.2", "TLS 1.3"])
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_every_key_that_is_taken_serves_clients_of_both_versions(tmp_path: Path, key: object, version: str) -> None:
    def only(context: SSL.Context) -> None:
        context.set_min_proto_version(VERSIONS[version])
        context.set_max_proto_version(VERSIONS[version])

    files = key(tmp_path)
    assert prove(PROFILES["intermediate"], read_pair(files)) == ()
    assert connect(CertificateStore([files]), configure=only).get_protocol_version() == VERSIONS[version]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_key_that_no_handshake_can_use_is_refused_and_named(tmp_path: Path, profile: str) -> None:
    files = write_pair(tmp_path, "a", ["a"], key=ec.generate_private_key(ec.SECP256K1()))
    with pytest.raises(CertificateError, match=r"no handshake can use this ECDSA key .*RSA key from 2048") as caught:
        CertificateStore([files], profile)
    assert caught.value.file == files.key


def test_the_versions_that_a_key_is_not_for_are_known(tmp_path: Path) -> None:
    pair = read_pair(KEYS["Ed25519"](tmp_path))
    assert prove(PROFILES["old"], pair) == ("TLS 1.0", "TLS 1.1")


def test_all_pairs_that_cannot_be_used_at_the_start_are_named(tmp_path: Path) -> None:
    files = [write_pair(tmp_path, stem, [stem]) for stem in ("a", "b", "c")]
    Path(files[0].key).unlink()
    Path(files[2].certificate).write_bytes(b"broken")
    with pytest.raises(CertificateErrors) as caught:
        CertificateStore(files, client_ca=str(tmp_path / "nowhere"))
    assert [error.file for error in caught.value.errors] == [
        files[0].key,
        files[2].certificate,
        str(tmp_path / "nowhere"),
    ]
    assert caught.value.problems == tuple(str(caught.value).splitlines())


def test_the_modes_that_connections_count_on_are_set(tmp_path: Path) -> None:
    context = make_context(PROFILES["intermediate"], (read_pair(write_pair(tmp_path, "a", ["a"])),))
    modes = context.set_mode(0)  # SSL_MODE_ENABLE_PARTIAL_WRITE is 1
    assert modes & 1
    assert modes & MOVING_WRITE_BUFFER
    assert modes & SSL.MODE_RELEASE_BUFFERS
