"""Session tickets: whoever has the secret and serves the same takes them, and nobody else."""

from __future__ import annotations

import hmac
import re
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from mailserver.tls.certificate_store import CertificateStore
from mailserver.tls.context_control import can_set_ticket_keys
from mailserver.tls.contexts import PROFILES
from mailserver.tls.tickets import LIFETIME, MemoryTickets, TicketSecret
from tests.tls.authority import Authority
from tests.tls.handshakes import StandardClient, standard_context, write_pair

pytestmark = pytest.mark.skipif(not can_set_ticket_keys(), reason="this OpenSSL takes no keys")

BEGIN = 1_790_000_000
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


class Time:
    def __init__(self) -> None:
        self.now = float(BEGIN)

    def __call__(self) -> float:
        return self.now


def tickets(secret: TicketSecret, now: Time) -> MemoryTickets:
    return MemoryTickets(secret, now)


@VERSIONS
def test_another_process_with_the_same_secret_resumes_and_one_with_another_makes_a_full_handshake(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    files, context = [write_pair(tmp_path, "a", ["mail.example.org"])], standard_context(version)
    secret, now = TicketSecret.fresh(BEGIN), Time()
    stores = [CertificateStore(files, tickets=tickets(secret, now)) for _ in range(2)]
    stranger = CertificateStore(files, tickets=tickets(TicketSecret.fresh(BEGIN), now))
    session = StandardClient(stores[0], context).tls.session
    # each as cheap as within one process: in ten connections no full handshake
    assert all(StandardClient(stores[n % 2], context, session).tls.session_reused for n in range(10))
    assert not StandardClient(stranger, context, session).tls.session_reused


@VERSIONS
def test_a_swap_of_the_same_files_keeps_the_keys(tmp_path: Path, version: ssl.TLSVersion) -> None:
    store = CertificateStore([write_pair(tmp_path, "a", ["mail.example.org"])], tickets=MemoryTickets())
    context = standard_context(version)
    session = StandardClient(store, context).tls.session
    store.swap(store.load())
    assert StandardClient(store, context, session).tls.session_reused


@VERSIONS
def test_no_session_outlives_its_certificate(tmp_path: Path, version: ssl.TLSVersion) -> None:
    store = CertificateStore([write_pair(tmp_path, "a", ["mail.example.org"])], tickets=MemoryTickets())
    context = standard_context(version)
    session = StandardClient(store, context).tls.session
    write_pair(tmp_path, "a", ["mail.example.org"])
    store.swap(store.load())
    assert not StandardClient(store, context, session).tls.session_reused


@VERSIONS
def test_no_session_outlives_the_authority_of_its_client(tmp_path: Path, version: ssl.TLSVersion) -> None:
    trusted, another = Authority(tmp_path, "Trusted"), Authority(tmp_path, "Another")
    file = tmp_path / "ca.pem"
    file.write_bytes(trusted.file.read_bytes())
    files = [write_pair(tmp_path, "a", ["mail.example.org"])]
    store = CertificateStore(files, client_ca=str(file), tickets=MemoryTickets())
    context, alice = standard_context(version), trusted.client("alice@example.org")
    context.load_cert_chain(alice.certificate, alice.key)
    session = StandardClient(store, context).tls.session
    again = StandardClient(store, context, session)
    assert again.tls.session_reused
    assert again._server.get_peer_certificate() is not None  # it is who it was
    file.write_bytes(another.file.read_bytes())
    store.swap(store.load())
    with pytest.raises(SSL.Error):  # a full handshake, whose certificate nobody trusts any more
        StandardClient(store, context, session)


@VERSIONS
def test_after_a_day_old_tickets_are_refused_and_all_processes_have_the_same_new_keys(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    files, context = [write_pair(tmp_path, "a", ["mail.example.org"])], standard_context(version)
    secret, now = TicketSecret.fresh(BEGIN), Time()
    one, other = (CertificateStore(files, tickets=tickets(secret, now)) for _ in range(2))
    old = StandardClient(one, context).tls.session
    assert not one.is_outdated()
    now.now += LIFETIME
    assert one.is_outdated()
    one.swap(one.load())
    assert not StandardClient(one, context, old).tls.session_reused
    fresh = StandardClient(one, context).tls.session
    assert not StandardClient(other, context, fresh).tls.session_reused  # it has not looked yet
    other.swap(other.load())
    assert StandardClient(other, context, fresh).tls.session_reused


def test_a_secret_becomes_its_successor_once_a_day_and_never_its_predecessor() -> None:
    first = TicketSecret.fresh(BEGIN + 0.9)
    assert first.since == BEGIN
    assert first.at(BEGIN - 5 * LIFETIME) == first.at(BEGIN + LIFETIME - 1) == first
    second, third = first.at(BEGIN + LIFETIME), first.at(BEGIN + 2 * LIFETIME + 7)
    assert second.at(BEGIN + 2 * LIFETIME) == third
    assert len({first.octets, second.octets, third.octets}) == 3
    assert third.since == BEGIN + 2 * LIFETIME
    assert third.at(BEGIN) == third
    first.at(1e12)  # a clock that leaps keeps nobody


def test_what_is_served_counts_in_its_parts() -> None:
    secret = TicketSecret.fresh(BEGIN)
    assert secret.keys([b"a", b"b"]) == secret.keys([b"a", b"b"])
    assert len({secret.keys(served) for served in ([b"a", b"b"], [b"ab"], [b"b", b"a"], [b"ab", b""], [])}) == 5


def test_a_worker_adopts_what_its_parent_has_by_then() -> None:
    now = Time()
    parent = MemoryTickets(now=now)
    early = parent.passed()
    now.now += LIFETIME
    late = parent.passed()
    assert early != late
    assert MemoryTickets.adopted(*late)._secret == parent.current()
    assert MemoryTickets.adopted(*early)._secret.at(now.now) == parent.current()


def test_no_representation_shows_the_secret() -> None:
    secret = TicketSecret(b"S" * 32, BEGIN)
    source = MemoryTickets(secret, Time())
    for each in (secret, source, repr([secret]), f"{secret}"):
        assert "SSS" not in repr(each)
        assert (b"S" * 32).hex() not in repr(each)


def test_tickets_are_good_for_as_long_as_sessions(tmp_path: Path) -> None:
    store = CertificateStore([write_pair(tmp_path, "a", ["mail.example.org"])], tickets=MemoryTickets())
    client = StandardClient(store, standard_context(ssl.TLSVersion.TLSv1_2))
    assert client.tls.session.ticket_lifetime_hint == 7200
    assert store.loaded.default.get_timeout() == 7200


class OwnClient:
    """A client of pyOpenSSL, whose session can be taken out and changed."""

    def __init__(self, store: CertificateStore, version: int, session: bytes = b"") -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        self.tls, server = SSL.Connection(context, None), store.serverConnectionForTLS(None)
        self.tls.set_connect_state()
        server.set_accept_state()
        if session:
            begin = ffi.new("unsigned char[]", session)
            read = lib.d2i_SSL_SESSION(ffi.NULL, ffi.new("const unsigned char **", begin), len(session))
            assert lib.SSL_set_session(self.tls._ssl, read) == 1
            lib.SSL_SESSION_free(read)
        for _ in range(3):
            for side, other in ((self.tls, server), (server, self.tls)):
                with suppress(SSL.WantReadError):
                    side.do_handshake()
                with suppress(SSL.WantReadError):
                    other.bio_write(side.bio_read(65536))
        server.send(b"+OK")
        self.tls.bio_write(server.bio_read(65536))
        assert self.tls.recv(9) == b"+OK"  # and the tickets before it

    @property
    def resumed(self) -> bool:
        return bool(lib.SSL_session_reused(self.tls._ssl))

    @property
    def session(self) -> bytes:
        taken = lib.SSL_get1_session(self.tls._ssl)
        octets = ffi.new("unsigned char[]", lib.i2d_SSL_SESSION(taken, ffi.NULL))
        lib.i2d_SSL_SESSION(taken, ffi.new("unsigned char **", octets))
        lib.SSL_SESSION_free(taken)
        return bytes(octets)


def aged(session: bytes, keys: bytes, seconds: int) -> bytes:
    """The same session, whose ticket the server made so many seconds earlier."""
    begin = session.index(keys[:16])
    vector, rest = session[begin + 16 : begin + 32], session[begin + 32 :]
    for blocks in range(1, len(rest) // 16):  # its length stands before it in several forms; what verifies is it
        sealed, seal = rest[: blocks * 16], rest[blocks * 16 : blocks * 16 + 32]
        if hmac.digest(keys[16:48], keys[:16] + vector + sealed, "sha256") == seal:
            break
    cipher = Cipher(algorithms.AES(keys[48:]), modes.CBC(vector))
    opened = cipher.decryptor().update(sealed)
    found = re.search(rb"\xa1\x06\x02\x04(.{4})", opened, re.DOTALL)  # the field of OpenSSL's ssl_asn1.c
    assert found
    earlier = (int.from_bytes(found[1], "big") - seconds).to_bytes(4, "big")
    sealed = cipher.encryptor().update(opened[: found.start(1)] + earlier + opened[found.end(1) :])
    seal = hmac.digest(keys[16:48], keys[:16] + vector + sealed, "sha256")
    end = begin + 32 + len(sealed) + 32
    return session[: begin + 32] + sealed + seal + session[end:]


@pytest.mark.skipif(
    not hasattr(lib, "i2d_SSL_SESSION"), reason="cryptography, up to Debian 13's, gives no session away"
)
@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize(("seconds", "resumed"), [(0, True), (7000, True), (7201, False), (LIFETIME, False)])
def test_an_expired_ticket_of_the_present_key_is_refused(
    tmp_path: Path, version: int, seconds: int, resumed: bool
) -> None:
    secret = TicketSecret.fresh(BEGIN)
    store = CertificateStore([write_pair(tmp_path, "a", ["mail.example.org"])], tickets=tickets(secret, Time()))
    (pair,) = store.loaded.pairs
    keys = secret.keys([str(PROFILES["intermediate"].oldest).encode(), b"", pair.chain])
    first = OwnClient(store, version)
    assert not first.resumed
    assert OwnClient(store, version, aged(first.session, keys, seconds)).resumed is resumed
