"""The serving user need not be able to read Python's folders: all is imported, and all codecs are looked up, before."""

from __future__ import annotations

import hmac
import json
import os
import pwd
import smtplib
import socket
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import md5
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import mailserver
from mailserver.auth.schemes import CLEAR, SCHEMES
from tests.auth.oauth.issuer import AUDIENCE, ISSUER, Keys, settings
from tests.auth.vectors import PASSWORDS, SECRETS
from tests.gss import GssClient
from tests.rawlmtp import RawLMTP
from tests.rawpop3 import RawPOP3
from tests.realm import Initiator, Realm
from tests.sasl.clients import digest_md5, scram
from tests.sealed import Seal
from tests.servers import TWIST, TWISTD, Server, Site
from tests.test_faults import PLUGIN
from tests.tls.authority import Authority

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

MESSAGE = b"Subject: hello\r\n\r\nworld\r\n"
MECHANISMS = [
    *("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"),
    *("DIGEST-MD5", "OAUTHBEARER", "XOAUTH2", "EXTERNAL"),
]
FAULT = PLUGIN.replace(
    "def stop(self)",
    'def requestAvatarId(self, credentials):\n        if credentials.username == b"slip":\n            return None.slip\n'
    "        raise UnauthorizedLogin\n\n    def reload(self):\n        return succeed(None)\n\n    def stop(self)",
).replace("return fail(self._error)", "return succeed(None)")


class Issuer(BaseHTTPRequestHandler):
    """Answers introspection: every token is bob's."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        answer = json.dumps({"active": True, "sub": "bob", "iss": ISSUER, "aud": AUDIENCE}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


class Sealed:
    """A server that serves all there is, as nobody, and reads nothing of Python any more."""

    def __init__(self, site: Site, issuer: int, patched: pytest.MonkeyPatch) -> None:
        self.site = site
        self.seal = Seal(site, Path(mailserver.__file__).parents[1])
        plugins = site.folder / "sealed" / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "faulty.py").write_text("from twisted.cred.error import UnauthorizedLogin\n" + FAULT)
        for name, value in self.seal.environment.items():
            patched.setenv(name, value)
        self.keys, self.authority = Keys(site.folder), Authority(site.folder)
        self.client = self.authority.client(names=("bob",))
        oauth = site.folder / "oauth.toml"
        oauth.write_text(
            settings(
                keys=str(self.keys.file),
                issuer=ISSUER,
                audience=AUDIENCE,
                introspection=f"http://127.0.0.1:{issuer}/",
                client_id="pöp",
                client_secret="sesame",
            )
        )
        self.auth = {
            "checkers": [f"passwd-file:{site.users}", f"oauth2:{oauth}", "faulty:start:zero"],
            "mechanisms": MECHANISMS,
            "masters": ["bob"],
        }
        self.tls = {"client_ca": str(self.authority.file), "client_name": "cn"}

    def server(self, **options: object) -> Server:
        entry = pwd.getpwnam("nobody")
        for path in (self.site.folder, *self.site.folder.rglob("*")):
            os.chown(path, entry.pw_uid, entry.pw_gid)
        return Server(self.site, **{"user": "nobody", "auth": self.auth, "tls": self.tls, **options})


def secrets() -> dict[str, tuple[bytes, bytes]]:
    """A stored secret and its password for each scheme that there is."""
    clear = {scheme: SECRETS["PLAIN"]["octets"].replace(b"PLAIN", scheme.encode()) for scheme in CLEAR}
    stored = {scheme: forms["octets"] for scheme, forms in SECRETS.items() if scheme in SCHEMES} | clear
    return {scheme: (secret, PASSWORDS["octets"]) for scheme, secret in stored.items()}


@pytest.fixture(scope="module")
def sealed() -> Iterator[tuple[Sealed, Server]]:
    issuer = HTTPServer(("127.0.0.1", 0), Issuer)
    threading.Thread(target=issuer.serve_forever, daemon=True).start()
    with Site() as site, pytest.MonkeyPatch.context() as patched:
        site.account("bob", "builder", messages=[MESSAGE])
        with site.users.open("ab") as users:
            for scheme, (secret, _) in secrets().items():
                users.write(b"%b:%b::::%b/mail/bob::\n" % (scheme.encode(), secret, bytes(site.folder)))
        made = Sealed(site, issuer.server_port, patched)
        server = made.server()
        server.start()
        yield made, server
        server.stop()
        assert made.seal.sealed
    issuer.shutdown()
    issuer.server_close()


def b64(line: bytes) -> bytes:
    return b64encode(line)


def opened(wire: RawPOP3, reply: bytes) -> None:
    assert reply.startswith(b"+OK"), reply
    assert wire.fetch(b"RETR 1") == MESSAGE
    wire.quit()


def plain(wire: RawPOP3, _: Sealed) -> None:
    opened(wire, wire.command(b"AUTH PLAIN " + b64(b"\0bob\0builder")))


def plain_for_another(wire: RawPOP3, _: Sealed) -> None:
    opened(wire, wire.command(b"AUTH PLAIN " + b64(b"PLAIN\0bob\0builder")))


def login(wire: RawPOP3, _: Sealed) -> None:
    assert wire.command(b"AUTH LOGIN").startswith(b"+ ")
    wire.command(b64(b"bob"))
    opened(wire, wire.command(b64(b"builder")))


def cram(wire: RawPOP3, _: Sealed) -> None:
    challenge = b64decode(wire.command(b"AUTH CRAM-MD5")[2:])
    opened(wire, wire.command(b64(b"bob " + hmac.new(b"builder", challenge, "md5").hexdigest().encode())))


def apop(wire: RawPOP3, _: Sealed) -> None:
    stamp = wire.greeting[wire.greeting.index(b"<") : wire.greeting.index(b">") + 1]
    opened(wire, wire.command(b"APOP bob " + md5(stamp + b"builder").hexdigest().encode()))


def scrams(mechanism: bytes, digest: str) -> Callable[[RawPOP3, Sealed], None]:
    def dialog(wire: RawPOP3, _: Sealed) -> None:
        talk = scram(digest, b"bob", b"builder")
        reply = wire.command(b"AUTH " + mechanism + b" " + b64(next(talk)))
        reply = wire.command(b64(talk.send(b64decode(reply[2:]))))
        with pytest.raises(StopIteration):
            talk.send(b64decode(reply[2:]))
        opened(wire, wire.command(b""))

    return dialog


def digest(wire: RawPOP3, _: Sealed) -> None:
    challenge = b64decode(wire.command(b"AUTH DIGEST-MD5")[2:])
    response, _proof = digest_md5(b"bob", b"builder", challenge, uri=b"pop/mail.example.org")
    assert wire.command(b64(response)).startswith(b"+ ")
    opened(wire, wire.command(b""))


def jwt(wire: RawPOP3, sealed: Sealed) -> None:
    token = sealed.keys.token(sub="bob")
    opened(wire, wire.command(b"AUTH OAUTHBEARER " + b64(b"n,a=bob,\x01auth=Bearer " + token + b"\x01\x01")))


def rsa_jwt(wire: RawPOP3, sealed: Sealed) -> None:
    token = sealed.keys.token(sealed.keys.rsa, "RS256", "r", sub="bob")
    opened(wire, wire.command(b"AUTH XOAUTH2 " + b64(b"user=bob\x01auth=Bearer " + token + b"\x01\x01")))


def bad_jwt(wire: RawPOP3, _: Sealed) -> None:
    token = b".".join(map(b64, (b'{"alg":"ES256","crit":null}', b"{}", b"\xff")))
    wire.command(b"AUTH OAUTHBEARER " + b64(b"n,,\x01auth=Bearer " + token + b"\x01\x01"))
    assert wire.command(b"AQ==").startswith(b"-ERR")


def introspected(wire: RawPOP3, _: Sealed) -> None:
    opened(wire, wire.command(b"AUTH OAUTHBEARER " + b64(b"n,a=bob,\x01auth=Bearer opaque\x01\x01")))


LOGINS = {
    "plain": plain,
    "plain-for-another": plain_for_another,
    "login": login,
    "cram-md5": cram,
    "scram-sha-1": scrams(b"SCRAM-SHA-1", "sha1"),
    "scram-sha-256": scrams(b"SCRAM-SHA-256", "sha256"),
    "digest-md5": digest,
    "jwt": jwt,
    "rsa-jwt": rsa_jwt,
    "bad-jwt": bad_jwt,
    "introspected": introspected,
}


@pytest.mark.parametrize("dialog", LOGINS.values(), ids=LOGINS)
def test_every_mechanism(sealed: tuple[Sealed, Server], dialog: Callable[[RawPOP3, Sealed], None]) -> None:
    made, server = sealed
    with RawPOP3(server.pop3_port) as wire:
        dialog(wire, made)
    assert made.seal.news() == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme(sealed: tuple[Sealed, Server], scheme: str) -> None:
    made, server = sealed
    with RawPOP3(server.pop3_port) as wire:
        wire.ok(b"USER " + scheme.encode())
        opened(wire, wire.command(b"PASS " + secrets()[scheme][1]))
    with RawPOP3(server.pop3_port) as wire:
        wire.ok(b"USER " + scheme.encode())
        assert wire.command(b"PASS wrong").startswith(b"-ERR [AUTH]")
    assert made.seal.news() == []


def test_external_and_channel_bindings_over_tls(sealed: tuple[Sealed, Server]) -> None:
    made, server = sealed
    context = made.site.client_tls()
    context.load_cert_chain(made.client.certificate, made.client.key)
    with RawPOP3(server.pop3s_port, tls=context) as wire:
        opened(wire, wire.command(b"AUTH EXTERNAL ="))
    with RawPOP3(server.pop3_port) as wire:
        wire.ok(b"STLS")
        wire.start_tls(made.site.client_tls())
        assert b"SCRAM-SHA-256-PLUS" in wire.fetch(b"CAPA")
        wire.command(b"AUTH SCRAM-SHA-256-PLUS " + b64(b"p=tls-unique,,n=bob,r=x"))
    assert made.seal.news() == []


NAMES = [
    *(b"a\x01b", b"\x1b[31mroot", b"\xff\xfe", b"\xc3\xa4\xcc\x88", b"a\xe2\x80\x8bb", b"\xed\xa0\x80", b"x" * 200),
    *(b"\xf0\x9f\x98\x80", b"..", b"a/b", b"a@\xc3\xb6.example", b"\xc5\xbf\xef\xac\x81", b"slip"),
]


@pytest.mark.parametrize("name", NAMES)
def test_every_name(sealed: tuple[Sealed, Server], name: bytes) -> None:
    made, server = sealed
    said = b"-ERR [SYS/TEMP]" if name == b"slip" else b"-ERR [AUTH]"
    with RawPOP3(server.pop3_port) as wire:
        wire.ok(b"USER " + name)
        assert wire.command(b"PASS \xff wrong").startswith(said)
        assert wire.command(b"AUTH PLAIN " + b64(name + b"\0" + name + b"\0pw")).startswith(b"-ERR")
        wire.command(b"AUTH SCRAM-SHA-256 " + b64(b"n,,n=" + name + b",r=x"))
        wire.command(b"*")
    assert made.seal.news() == []


ABUSE = {
    "garbage": bytes(range(256)) * 4 + b"\r\n",
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303") + b"\0" * 190,
    "long": b"USER " + b"x" * 100_000 + b"\r\n",
    "words": b"".join(b"FOO%d \xff\r\n" % number for number in range(50)),
    "base64": b"AUTH PLAIN =====\r\nAUTH \xff\r\nAUTH PLAIN\r\n\xff\xfe\r\nQUIT\r\n",
    "sdps": b"*ENV\r\nCAPA\r\nXTND XMIT\r\nNOOP\r\nQUIT\r\n",
}


@pytest.mark.parametrize("kind", ["pop3", "pop3s"])
@pytest.mark.parametrize("data", ABUSE.values(), ids=ABUSE)
def test_every_abuse(sealed: tuple[Sealed, Server], data: bytes, kind: str) -> None:
    made, server = sealed
    with socket.create_connection(("127.0.0.1", server.ports[kind]), 30) as stranger:
        try:
            stranger.sendall(data)
            with suppress(OSError):  # ENOTCONN: the server has left first
                stranger.shutdown(socket.SHUT_WR)
            while stranger.recv(65536):
                pass
        except ConnectionError:
            pass
    assert made.seal.news() == []


def test_a_fault_and_a_reset_and_new_files_and_the_end(sealed: tuple[Sealed, Server]) -> None:
    made, server = sealed
    with socket.create_connection(("127.0.0.1", server.pop3_port)) as stranger:
        stranger.recv(100)
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    made.site.renew()
    for path in (made.site.certificate, made.site.key):
        os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
    made.site.account("carol", "carols", secret=SECRETS["SHA512-CRYPT"]["octets"].decode(), messages=[MESSAGE])
    server.reload()
    server.wait_for("tls.loaded")
    made.site.certificate.write_bytes(b"broken")
    server.reload()
    server.wait_for("tls.broken")
    assert made.seal.news() == []


@pytest.mark.parametrize("program", [TWIST, TWISTD], ids=["twist", "twistd"])
@pytest.mark.parametrize("workers", [1, 2])
def test_it_comes_and_goes_by_every_road(sealed: tuple[Sealed, Server], program: tuple[str, ...], workers: int) -> None:
    made, _ = sealed
    made.site.renew()
    before = made.seal.sealed
    clear = made.site.folder / "clear"  # of users who all can use APOP
    clear.write_text(f"bob:{{PLAIN}}builder::::{made.site.folder}/mail/bob::\n")
    with made.server(program=program, workers=workers, auth={"checkers": [f"passwd-file:{clear}"]}) as server:
        with RawPOP3(server.pop3_port) as wire:
            plain(wire, made)
        with RawPOP3(server.pop3_port) as wire:
            apop(wire, made)
    assert made.seal.sealed == before + workers
    assert made.seal.news() == []


def test_mail_comes_in(sealed: tuple[Sealed, Server]) -> None:
    made, _ = sealed
    with made.server(listen={"lmtp": ["tcp:0:interface=127.0.0.1", f"unix:{made.site.folder}/lmtp"]}) as server:
        replies = []
        with RawLMTP(made.site.folder / "lmtp") as sender:
            replies += sender.hello().deliver(MESSAGE, "bob", "nobody", "x@[", "bob@nowhere.example")
            sender.send(
                b"MAIL FROM:<\xc3\xbc@x> SMTPUTF8\r\nRCPT TO:<\xc3\xbc>\r\nRCPT TO:<bob>\r\nBDAT 6 LAST\r\na: \xff\r\nFOO\r\n"
            )
            replies += [sender.reply() for _ in range(5)]
        codes = [reply[:3] for reply in replies]
        assert codes == [b"250", b"550", b"501", b"550", b"250", b"550", b"250", b"250", b"500"]
        with smtplib.LMTP("127.0.0.1", server.ports["lmtp"]) as client:
            client.starttls(context=made.site.client_tls())
            assert client.sendmail("", ["bob"], MESSAGE) == {}
    assert made.seal.news() == []


def test_every_ticket(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    with Site() as site:
        site.account("alice", messages=[MESSAGE])
        seal = Seal(site, Path(mailserver.__file__).parents[1])
        keytab = realm.extract(site.folder / "keytab", "pop/localhost")
        caches = site.folder / "caches"
        caches.mkdir()
        config = site.folder / "krb5.conf"
        config.write_bytes(realm.config.read_bytes())
        for name, value in {**seal.environment, "KRB5_CONFIG": str(config), "KRB5RCACHEDIR": str(caches)}.items():
            monkeypatch.setenv(name, value)
        entry = pwd.getpwnam("nobody")
        for path in (site.folder, *site.folder.rglob("*")):
            os.chown(path, entry.pw_uid, entry.pw_gid)
        server = Server(
            site, user="nobody", kerberos={"keytab": str(keytab)}, listen={"kpop": ["tcp:0:interface=127.0.0.1"]}
        )
        with server:
            client = GssClient(realm)
            with RawPOP3(server.pop3_port) as wire:
                wire.command(b"AUTH GSSAPI")
                reply = wire.command(b64(client.first))
                client.step(b64decode(reply[2:]))
                client.unwrap(b64decode(wire.command(b"")[2:]))
                opened(wire, wire.command(b64(client.wrap(b"\1\0\0\0alice"))))
            with RawPOP3(server.pop3_port) as wire:
                wire.command(b"AUTH GSSAPI")
                assert wire.command(b64(b"no token")).startswith(b"-ERR")
            with Initiator(realm) as initiator, socket.create_connection(("127.0.0.1", server.ports["kpop"])) as line:
                initiator.sendauth(line)
                line.sendall(b"USER alice\r\nPASS x\r\nQUIT\r\n")
                assert line.makefile("rb").read().count(b"+OK") == 4
            with socket.create_connection(("127.0.0.1", server.ports["kpop"])) as line:
                line.sendall(b"USER alice\r\n")
                assert line.makefile("rb").read().startswith(b"-ERR")
        assert seal.sealed
        assert seal.news() == []
