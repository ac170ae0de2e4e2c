"""Each mechanism logs in at a server for tests, by clients that know their RFC and not our code."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator

import pytest

from mailserver.testing import Controller
from tests.rawpop3 import RawPOP3
from tests.sasl.clients import digest_md5, scram


@pytest.fixture
def server() -> Iterator[Controller]:
    with Controller(mechanisms=["SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "DIGEST-MD5"]) as server:
        server.user("alice", "wonderland")
        yield server


def challenge(client: RawPOP3, line: bytes) -> bytes:
    """Send a line; the challenge that answers it, or the refusal."""
    reply = client.command(line)
    return b64decode(reply[2:]) if reply.startswith(b"+ ") else reply


def by_scram(name: bytes, digest: str) -> Callable[[RawPOP3, bytes], bytes]:
    def login(client: RawPOP3, password: bytes) -> bytes:
        talk = scram(digest, b"alice", password)
        final = talk.send(challenge(client, b"AUTH %b %b" % (name, b64encode(next(talk)))))
        proof = challenge(client, b64encode(final))
        if proof.startswith(b"-ERR"):
            return proof
        with pytest.raises(StopIteration):
            talk.send(proof)
        return client.command(b"")

    return login


def by_cram(client: RawPOP3, password: bytes) -> bytes:
    digest = hmac.digest(password, challenge(client, b"AUTH CRAM-MD5"), "md5").hex().encode()
    return client.command(b64encode(b"alice " + digest))


def by_digest(client: RawPOP3, password: bytes) -> bytes:
    response, proof = digest_md5(b"alice", password, challenge(client, b"AUTH DIGEST-MD5"), uri=b"pop/localhost")
    answer = challenge(client, b64encode(response))
    return client.command(b"") if answer == proof else answer


@pytest.mark.parametrize(
    "login",
    [by_scram(b"SCRAM-SHA-256", "sha256"), by_scram(b"SCRAM-SHA-1", "sha1"), by_cram, by_digest],
    ids=["SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "DIGEST-MD5"],
)
def test_a_mechanism_takes_the_password_and_no_other(server: Controller, login: Callable[..., bytes]) -> None:
    for password, answer in ((b"wonderland", b"+OK maildrop"), (b"wrong", b"-ERR [AUTH]")):
        with RawPOP3(server.port) as client:
            assert login(client, password).startswith(answer)
    server.settle()
    assert [each.user for each in server.sessions] == ["alice", None]
    assert all("wonderland" not in command for each in server.sessions for command in each.commands)
