from __future__ import annotations

import contextlib
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.threads import deferToThread
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mailserver.tls.certificate_store import CertificateStore
from mailserver.tls.certificates import CertificateError, CertificateFiles
from mailserver.tls.contexts import PROFILES, NoApplicationProtocol
from tests.tls.handshakes import (
    StandardClient,
    certificate_of,
    common_name,
    connect,
    rsa_key,
    standard_context,
    write_pair,
)

NAME = b"mail.example.org"


def _only(version: int, ciphers: bytes = b"ALL:@SECLEVEL=0") -> object:
    def configure(context: SSL.Context) -> None:
        context.set_cipher_list(ciphers)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)

    return configure


def _store(folder: Path, profile: str = "intermediate", *names: str, **options: object) -> CertificateStore:
    return CertificateStore([write_pair(folder, "first", names or ["mail.example.org"], **options)], profile)


def test_the_store_is_what_twisted_asks_connections_of(tmp_path: Path) -> None:
    verifyObject(IOpenSSLServerConnectionCreator, _store(tmp_path))


@pytest.mark.parametrize(
    ("profile", "version", "served"),
    [
        ("modern", SSL.TLS1_3_VERSION, True),
        ("modern", SSL.TLS1_2_VERSION, False),
        ("intermediate", SSL.TLS1_3_VERSION, True),
        ("intermediate", SSL.TLS1_2_VERSION, True),
        ("intermediate", SSL.TLS1_1_VERSION, False),
        ("old", SSL.TLS1_2_VERSION, True),
        ("old", SSL.TLS1_1_VERSION, True),
        ("old", SSL.TLS1_VERSION, True),
    ],
)
def test_a_profile_serves_its_versions_only(tmp_path: Path, profile: str, version: int, served: bool) -> None:
    store = _store(tmp_path, profile)
    with contextlib.nullcontext() if served else pytest.raises(SSL.Error):
        assert connect(store, NAME, _only(version)).get_protocol_version() == version


@pytest.mark.parametrize("profile", PROFILES)
def test_openssl_knows_every_suite_of_a_profile(tmp_path: Path, profile: str) -> None:
    offered = _store(tmp_path, profile).serverConnectionForTLS(None).get_cipher_list()
    wanted = PROFILES[profile].ciphers.decode().replace(":@SECLEVEL=0", "").split(":")
    assert [name for name in offered if not name.startswith("TLS_")] == wanted
    assert {name for name in offered if name.startswith("TLS_")} == {
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    }


@pytest.mark.parametrize(
    ("profile", "chosen"),
    [("intermediate", "ECDHE-ECDSA-CHACHA20-POLY1305"), ("old", "ECDHE-ECDSA-AES128-GCM-SHA256")],
)
def test_the_order_of_suites_is_the_clients_but_for_old(tmp_path: Path, profile: str, chosen: str) -> None:
    client_order = b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256"
    client = connect(_store(tmp_path, profile), NAME, _only(SSL.TLS1_2_VERSION, client_order))
    assert client.get_cipher_name() == chosen


def test_an_unknown_profile_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        _store(tmp_path, "futuristic")


def test_a_certificate_too_weak_for_the_profile_names_its_file_and_another_profile(tmp_path: Path) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    with pytest.raises(CertificateError, match=r"first\.pem: OpenSSL refuses it \(.*small.*another profile"):
        _store(tmp_path, "intermediate", key=weak)
    connect(_store(tmp_path, "old", key=weak), NAME, lambda context: context.set_cipher_list(b"ALL:@SECLEVEL=0"))


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        (None, "CN=one.example.org"),
        (b"unknown.example.com", "CN=one.example.org"),
        (b"one.example.org", "CN=one.example.org"),
        (b"two.example.org", "CN=two.example.org"),
        (b"TWO.Example.ORG", "CN=two.example.org"),
        (b"also.example.org", "CN=two.example.org"),
        (b"any.example.net", "CN=*.example.net"),
        (b"exact.example.net", "CN=exact.example.net"),
        (b"deep.any.example.net", "CN=one.example.org"),
        (b"example.net", "CN=one.example.org"),
    ],
)
def test_the_name_asked_for_chooses_the_certificate(tmp_path: Path, asked: bytes | None, served: str) -> None:
    store = CertificateStore(
        [
            write_pair(tmp_path, "1", ["one.example.org"]),
            write_pair(tmp_path, "2", ["two.example.org", "also.example.org"]),
            write_pair(tmp_path, "3", ["*.example.net"]),
            write_pair(tmp_path, "4", ["exact.example.net"]),
        ]
    )
    assert common_name(connect(store, asked)) == served


@pytest.mark.parametrize("asked", [NAME, b"other.example.org", None])
def test_rsa_and_ecdsa_serve_one_name_together(tmp_path: Path, asked: bytes | None) -> None:
    ecdsa = write_pair(tmp_path, "ecdsa", ["mail.example.org"])
    both = write_pair(tmp_path, "rsa", ["mail.example.org", "other.example.org"], key=rsa_key())
    store = CertificateStore([ecdsa, both])
    old = connect(store, asked, _only(SSL.TLS1_2_VERSION, b"ECDHE-RSA-AES128-GCM-SHA256"))
    assert isinstance(certificate_of(old).public_key(), rsa.RSAPublicKey)
    if asked != b"other.example.org":
        new = connect(store, asked, _only(SSL.TLS1_2_VERSION, b"ECDHE-ECDSA-AES128-GCM-SHA256"))
        assert not isinstance(certificate_of(new).public_key(), rsa.RSAPublicKey)


def test_each_key_type_is_sent_with_its_own_chain(tmp_path: Path) -> None:
    ecdsa, with_rsa = write_pair(tmp_path, "e", ["a"]), write_pair(tmp_path, "r", ["a"], key=rsa_key())
    Path(ecdsa.certificate).write_bytes(
        Path(ecdsa.certificate).read_bytes() * 2
    )  # itself, as an issuer: enough to count
    store = CertificateStore([ecdsa, with_rsa])
    for ciphers, length in ((b"ECDHE-ECDSA-AES128-GCM-SHA256", 2), (b"ECDHE-RSA-AES128-GCM-SHA256", 1)):
        chain = connect(store, b"a", _only(SSL.TLS1_2_VERSION, ciphers)).get_peer_cert_chain(as_cryptography=True)
        assert len(chain or ()) == length


def test_a_chain_replaced_while_it_loads_is_served_as_it_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _store(tmp_path)
    before = certificate_of(connect(store))
    path, use = Path(store.files[0].certificate), SSL.Context.use_certificate_chain_file

    def replaced(context: SSL.Context, certificate: str) -> None:
        write_pair(tmp_path, "renewed", ["mail.example.org"])
        shutil.copy(tmp_path / "renewed.pem", path)
        use(context, certificate)

    monkeypatch.setattr(SSL.Context, "use_certificate_chain_file", replaced)
    store.swap(store.load())
    assert certificate_of(connect(store)) == before
    assert store.loaded.stamp != store.stamp()


@pytest.mark.parametrize(
    ("version", "options"),
    [
        (ssl.TLSVersion.TLSv1_3, 0),
        (ssl.TLSVersion.TLSv1_2, 0),
        (ssl.TLSVersion.TLSv1_2, ssl.OP_NO_TICKET),
    ],
)
@pytest.mark.parametrize("name", ["mail.example.org", "second.example.org", None])
def test_a_session_is_resumed(tmp_path: Path, version: ssl.TLSVersion, options: int, name: str | None) -> None:
    second = write_pair(tmp_path, "second", ["second.example.org"])
    store = CertificateStore([write_pair(tmp_path, "first", ["mail.example.org"]), second])
    context = standard_context(version, options)
    first = StandardClient(store, context, name=name)
    assert not first.tls.session_reused
    assert StandardClient(store, context, first.tls.session, name).tls.session_reused


def test_a_session_of_before_a_swap_is_not_resumed_but_served(tmp_path: Path) -> None:
    store = _store(tmp_path)
    context = standard_context(ssl.TLSVersion.TLSv1_3)
    session = StandardClient(store, context).tls.session
    store.swap(store.load())
    assert not StandardClient(store, context, session).tls.session_reused


def test_nothing_is_compressed(tmp_path: Path) -> None:
    assert StandardClient(_store(tmp_path), standard_context(ssl.TLSVersion.TLSv1_2)).tls.compression() is None


def test_alpn_pop3_is_accepted_and_nothing_need_be_offered(tmp_path: Path) -> None:
    store = _store(tmp_path)
    offer = connect(store, NAME, lambda context: context.set_alpn_protos([b"h2", b"pop3"]))
    assert offer.get_alpn_proto_negotiated() == b"pop3"
    assert connect(store, NAME).get_alpn_proto_negotiated() == b""


def test_a_file_of_both_that_is_gone_is_one_trouble(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, "first", ["mail.example.org"])
    path = str(tmp_path / "both.pem")
    Path(path).write_bytes(Path(pair.certificate).read_bytes() + Path(pair.key).read_bytes())
    store = CertificateStore([CertificateFiles(path, path)])
    Path(path).unlink()
    assert [str(each) for each in store.load().troubles] == [f"{path}: no such file; check the path in [tls]"]


def test_a_port_of_another_protocol_takes_that_and_not_pop3(tmp_path: Path) -> None:
    second = write_pair(tmp_path, "second", ["second.example.org"])
    store = CertificateStore([write_pair(tmp_path, "first", ["mail.example.org"]), second])
    pages: Any = store.speaking(b"http/1.1")
    for name in (NAME, b"second.example.org"):
        offer = connect(pages, name, lambda context: context.set_alpn_protos([b"h2", b"http/1.1"]))
        assert offer.get_alpn_proto_negotiated() == b"http/1.1"
        assert connect(pages, name).get_alpn_proto_negotiated() == b""
        for others in ([b"pop3"], [b"h2"]):
            with pytest.raises(NoApplicationProtocol):
                connect(pages, name, lambda context, others=others: context.set_alpn_protos(others))
    assert (
        connect(store, NAME, lambda context: context.set_alpn_protos([b"pop3"])).get_alpn_proto_negotiated() == b"pop3"
    )


@pytest.mark.parametrize("name", [NAME, b"second.example.org"])
def test_a_client_that_offers_other_protocols_only_is_refused(tmp_path: Path, name: bytes) -> None:
    second = write_pair(tmp_path, "second", ["second.example.org"])
    store = CertificateStore([write_pair(tmp_path, "first", ["mail.example.org"]), second])
    with pytest.raises(NoApplicationProtocol):
        connect(store, name, lambda context: context.set_alpn_protos([b"http/1.1"]))
    connect(store, name)  # and the next client is not blamed for it


def test_a_swap_serves_new_handshakes_and_lets_a_begun_one_end(tmp_path: Path) -> None:
    store = _store(tmp_path, "intermediate", "before.example.org")
    begun = store.serverConnectionForTLS(None)
    write_pair(tmp_path, "first", ["after.example.org"])
    store.swap(store.load())
    assert common_name(connect(store)) == "CN=after.example.org"
    store.serverConnectionForTLS = lambda _protocol: begun
    assert common_name(connect(store, b"before.example.org")) == "CN=before.example.org"


def test_a_client_that_must_begin_anew_survives_a_swap_in_between(tmp_path: Path) -> None:
    # A key share of a group that the server does not take makes it ask for a second ClientHello (RFC 8446 section 4.1.4).
    store = CertificateStore(
        [write_pair(tmp_path, "1", ["mail.example.org"]), write_pair(tmp_path, "2", ["second.example.org"])]
    )
    context = standard_context(ssl.TLSVersion.TLSv1_3)
    context.set_ecdh_curve("secp521r1")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="second.example.org")
    server = store.serverConnectionForTLS(None)
    server.set_accept_state()
    for _ in range(6):
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        if sent := outgoing.read():
            server.bio_write(sent)
        with contextlib.suppress(SSL.WantReadError):
            server.do_handshake()
        store.swap(store.load())
        with contextlib.suppress(SSL.WantReadError):
            incoming.write(server.bio_read(65536))
    assert client.version() == "TLSv1.3"


class _Greeter(Protocol):
    def connectionMade(self) -> None:
        if self.factory.greet:
            self.transport.write(b"+OK\r\n")

    def dataReceived(self, data: bytes) -> None:
        if data == b"STLS\r\n":
            self.transport.write(b"+OK go\r\n")
            self.transport.startTLS(self.factory.store)
        else:
            self.transport.write(b"secret " + data)


class _Asker(Protocol):
    def __init__(self) -> None:
        self.received = b""
        self.waiting: tuple[bytes, Deferred[bytes]] | None = None
        self.lost: Deferred[None] = Deferred()

    def until(self, end: bytes) -> Deferred[bytes]:
        done: Deferred[bytes] = Deferred()
        self.waiting = end, done
        self.dataReceived(b"")
        return done

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.waiting and self.received.endswith(self.waiting[0]):
            (_, done), self.waiting = self.waiting, None
            received, self.received = self.received, b""
            done.callback(received)

    def connectionLost(self, reason: object) -> None:
        self.lost.callback(None)


class OverRealSocketsTests(TestCase):
    """The store as Twisted uses it."""

    def _folder(self) -> Path:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        return folder

    async def _listen(self, *, greet: bool, wrap: bool) -> int:
        from twisted.internet import reactor

        self.reactor = reactor
        factory = Factory.forProtocol(_Greeter)
        factory.greet, factory.store = greet, _store(self._folder())
        serving = TLSMemoryBIOFactory(factory.store, False, factory) if wrap else factory
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(serving)
        self.addCleanup(port.stopListening)
        return port.getHost().port

    async def _client(self, port: int, factory: object = None) -> _Asker:
        client = _Asker()
        endpoint = TCP4ClientEndpoint(self.reactor, "127.0.0.1", port)
        if factory is None:
            await connectProtocol(endpoint, client)
        else:
            await endpoint.connect(factory(client))
        return client

    async def test_tls_from_the_first_byte(self) -> None:
        port = await self._listen(greet=True, wrap=True)

        def wrapped(client: _Asker) -> TLSMemoryBIOFactory:
            plain = Factory()
            plain.buildProtocol = lambda addr: client
            plain.startedConnecting = lambda connector: None
            return TLSMemoryBIOFactory(CertificateOptions(), True, plain)

        client = await self._client(port, wrapped)
        assert await client.until(b"\r\n") == b"+OK\r\n"
        client.transport.write(b"hello\r\n")
        assert await client.until(b"\r\n") == b"secret hello\r\n"
        client.transport.loseConnection()
        await client.lost

    async def test_tls_begun_on_a_plain_connection(self) -> None:
        port = await self._listen(greet=False, wrap=False)
        client = await self._client(port)
        client.transport.write(b"STLS\r\n")
        assert await client.until(b"\r\n") == b"+OK go\r\n"
        client.transport.startTLS(CertificateOptions())
        client.transport.write(b"hello\r\n")
        assert await client.until(b"\r\n") == b"secret hello\r\n"
        client.transport.loseConnection()
        await client.lost

    async def test_openssl_s_client_resumes_both_versions(self) -> None:
        program = shutil.which("openssl")
        if program is None:
            self.skipTest("the openssl program is not installed")
        port = await self._listen(greet=True, wrap=True)
        ticket = str(self._folder() / "ticket")
        for version in ("-tls1_2", "-tls1_3"):
            command = [program, "s_client", "-connect", f"127.0.0.1:{port}", "-alpn", "pop3", version, "-no_ign_eof"]
            for session, expected in (("-sess_out", b"New, TLSv1."), ("-sess_in", b"Reused, TLSv1.")):
                output = await deferToThread(_one_greeting, [*command, session, ticket])
                assert expected in output
                assert b"ALPN protocol: pop3" in output


def _one_greeting(command: list[str]) -> bytes:
    """Run s_client until the greeting came, which is after the tickets; then QUIT it."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line == b"+OK\r\n":
                break
        return b"".join(lines) + process.communicate(b"Q\n", timeout=60)[0]
