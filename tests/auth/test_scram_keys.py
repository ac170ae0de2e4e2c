from __future__ import annotations

import hmac
from hashlib import sha1
from pathlib import Path

import pytest

from mailserver.auth.scram_keys import ScramSalts, derive, read_keys
from tests.auth.vectors import PASSWORDS, SECRETS

AUTH_MESSAGE = (
    b"n=user,r=fyko+d2lbbFgONRv9qkxdawL,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096,"
    b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j"
)


def test_the_keys_of_rfc_5802_section_5_prove_its_exchange() -> None:
    keys = derive(b"pencil", bytes.fromhex("4125c247e43ab1e93c6dff76"), 4096, "sha1")
    proof = bytes.fromhex("bf45fcbf7073d93d022466c94321745fe1c8e13b")
    signature = hmac.digest(keys.stored_key, AUTH_MESSAGE, "sha1")
    assert sha1(bytes(a ^ b for a, b in zip(proof, signature, strict=True))).digest() == keys.stored_key
    assert hmac.digest(keys.server_key, AUTH_MESSAGE, "sha1").hex() == "ae617da6a57c4bbb2e0286568dae1d251905b0a4"


@pytest.mark.parametrize(("scheme", "digest"), [("SCRAM-SHA-1", "sha1"), ("SCRAM-SHA-256", "sha256")])
@pytest.mark.parametrize("kind", PASSWORDS)
def test_doveadms_keys_are_derived_alike(scheme: str, digest: str, kind: str) -> None:
    keys = read_keys(SECRETS[scheme][kind].partition(b"}")[2])
    assert derive(PASSWORDS[kind], keys.salt, keys.iterations, digest) == keys


def test_keys_are_not_shown() -> None:
    keys = derive(b"pencil", b"salt", 1, "sha1")
    assert repr(keys.stored_key) not in repr(keys)
    assert repr(keys.server_key) not in repr(keys)


def test_a_salt_is_the_same_for_ever_and_another_for_each_name_and_mechanism(tmp_path: Path) -> None:
    machine = tmp_path / "machine-id"
    machine.write_text("0123456789abcdef0123456789abcdef\n")
    one, other = ScramSalts(str(machine)), ScramSalts(str(machine))
    assert one.salt(b"alice", b"SCRAM-SHA-1") == other.salt(b"alice", b"SCRAM-SHA-1")
    assert (
        len({one.salt(name, mech) for name in (b"alice", b"bob") for mech in (b"SCRAM-SHA-1", b"SCRAM-SHA-256")}) == 4
    )


def test_without_a_machine_id_salts_last_as_long_as_the_process(tmp_path: Path) -> None:
    one, other = ScramSalts(str(tmp_path / "none")), ScramSalts(str(tmp_path / "none"))
    assert one.salt(b"alice", b"SCRAM-SHA-1") == one.salt(b"alice", b"SCRAM-SHA-1")
    assert one.salt(b"alice", b"SCRAM-SHA-1") != other.salt(b"alice", b"SCRAM-SHA-1")
