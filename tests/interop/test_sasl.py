"""Each SASL mechanism that real clients have, against a server that offers all; and gsasl, without a network, as an oracle."""

from __future__ import annotations

import base64
import contextlib
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import Self

import pytest

from mailserver.auth.scram_keys import derive
from mailserver.credentials import CramMd5, Password, Unproven, VerifiedIdentity
from mailserver.exchange import Ask, Challenge, Done, SaslContext
from mailserver.sasl import BY_NAME, MECHANISMS
from mailserver.tls.certificates import CertificateFiles
from tests.auth.oauth.issuer import AUDIENCE, ISSUER, Keys, settings
from tests.corpus import CORPUS, canonical
from tests.interop.clients import Clients, path_of, text_form
from tests.interop.test_curl import Curl
from tests.interop.test_fetchmail import Fetchmail
from tests.interop.test_mpop import Mpop
from tests.servers import Account, Server, Site
from tests.tls.authority import Authority

MESSAGE = CORPUS["usual"]
ALL = [mechanism.name.decode() for mechanism in (*MECHANISMS, *BY_NAME) if mechanism.name != b"GSSAPI"]


@dataclass
class Everything:
    """A server with all mechanisms but GSSAPI, and what clients need for each."""

    server: Server
    site: Site
    keys: Keys
    certificate: CertificateFiles
    serial: int = 0

    def account(self, password: str = "", **fields: str) -> Account:
        self.serial += 1
        account = self.site.account(f"sasl{self.serial}", password, **fields)
        account.deliver(MESSAGE)
        return account

    def other(self, *mechanisms: str) -> Server:
        """Another server for the same users, which offers these alone."""
        checkers = self.server.settings["auth"]["checkers"]
        return Server(self.site, auth={"checkers": checkers, "mechanisms": list(mechanisms)})

    def token(self, account: Account) -> Account:
        """The same account for a client whose password is a token."""
        token = self.keys.token(sub=account.name)
        self.site.secrets.add(token)
        return Account(account.name, token.decode(), account.maildir.parent)


@pytest.fixture(scope="module")
def everything() -> Iterator[Everything]:
    with Site() as site:
        keys, authority = Keys(site.folder), Authority(site.folder)
        oauth = site.folder / "oauth.toml"
        oauth.write_text(settings(keys=str(keys.file), issuer=ISSUER, audience=AUDIENCE))
        certificate = authority.client(names=("certified",))
        site.account("certified").deliver(MESSAGE)
        with Server(
            site,
            auth={
                "checkers": [f"passwd-file:{site.users}", f"oauth2:{oauth}"],
                "mechanisms": ALL,
                "masters": ["certified"],
            },
            tls={"client_ca": str(authority.file), "client_name": "cn"},
        ) as server:
            yield Everything(server, site, keys, certificate)


@pytest.fixture
def clients(everything: Everything, tmp_path: Path) -> Clients:
    return Clients(everything.server, tmp_path)


def scram_secret(password: str) -> str:
    keys = derive(password.encode(), b"0123456789abcdef", 4096, "sha256")
    parts = (base64.b64encode(part).decode() for part in (keys.salt, keys.stored_key, keys.server_key))
    return "{SCRAM-SHA-256}4096," + ",".join(parts)


@pytest.mark.parametrize("way", ["cram-md5", "digest-md5", "scram-sha-1", "scram-sha-256", "plain", "login"])
@pytest.mark.parametrize("road", ["plain", "stls", "pop3s"])
def test_mpop_logs_in_by_password(everything: Everything, clients: Clients, road: str, way: str) -> None:
    mpop = Mpop(clients, everything.account())
    told = mpop(road, f"--auth={way}", "--debug")
    assert f"AUTH {way.upper()}" in told.output.decode()
    assert mpop.got() == [MESSAGE]


@pytest.mark.parametrize("way", ["cram-md5", "digest-md5", "scram-sha-1", "scram-sha-256", "plain", "login"])
def test_mpop_hears_of_a_wrong_password(everything: Everything, clients: Clients, way: str) -> None:
    account = everything.account()
    mpop = Mpop(clients, Account(account.name, "wrong", account.maildir.parent))
    assert "authentication failed" in mpop("stls", f"--auth={way}", status=77).errors  # EX_NOPERM


def test_mpop_logs_in_where_scram_keys_are_all_that_is_stored(everything: Everything, clients: Clients) -> None:
    mpop = Mpop(clients, everything.account("pencil", secret=scram_secret("pencil")))
    for way in ("scram-sha-256", "plain"):
        mpop("pop3s", f"--auth={way}", "--only-new=off", "--keep=on")
        assert mpop.got() == [MESSAGE]


@pytest.mark.parametrize("way", ["oauthbearer", "xoauth2"])
def test_mpop_logs_in_by_a_token(everything: Everything, clients: Clients, way: str) -> None:
    mpop = Mpop(clients, everything.token(everything.account()))
    mpop("stls", f"--auth={way}")
    assert mpop.got() == [MESSAGE]


@pytest.mark.parametrize("way", ["oauthbearer", "xoauth2"])
def test_mpop_hears_of_a_token_that_is_not_good(everything: Everything, clients: Clients, way: str) -> None:
    account = everything.account()
    mpop = Mpop(clients, Account(account.name, "bad.token", account.maildir.parent))
    assert "authentication failed" in mpop("stls", f"--auth={way}", status=77).errors


@pytest.mark.parametrize("road", ["stls", "pop3s"])
def test_mpop_logs_in_by_certificate(everything: Everything, clients: Clients, road: str) -> None:
    certified = next(each for each in everything.site.accounts if each.name == "certified")
    mpop = Mpop(clients, certified)
    files = everything.certificate
    options = (f"--tls-cert-file={files.certificate}", f"--tls-key-file={files.key}")
    mpop(road, "--auth=external", "--keep=on", "--only-new=off", *options)
    assert mpop.got() == [MESSAGE]


@pytest.mark.parametrize("way", ["CRAM-MD5", "DIGEST-MD5", "PLAIN", "LOGIN"])
@pytest.mark.parametrize("road", ["plain", "stls", "pop3s"])
def test_curl_logs_in_by_password(everything: Everything, clients: Clients, road: str, way: str) -> None:
    told = Curl(clients, everything.account(), road)("1", "--login-options", f"AUTH={way}")
    assert told.output == canonical(MESSAGE)
    assert re.search(rf"(?m)^> AUTH {way}", told.errors)


@pytest.mark.parametrize("options", [(), ("--sasl-ir",)])
@pytest.mark.parametrize("way", ["OAUTHBEARER", "XOAUTH2"])
def test_curl_logs_in_by_a_token(everything: Everything, tmp_path: Path, way: str, options: tuple[str, ...]) -> None:
    account = everything.account()
    token = everything.token(account).password
    with everything.other(way) as server:  # of the two, it takes OAUTHBEARER wherever that is offered
        curl = Curl(Clients(server, tmp_path), replace_password(account, ""), "stls")
        told = curl("1", "--oauth2-bearer", token, *options)
    assert told.output == canonical(MESSAGE)
    assert f"> AUTH {way}" in told.errors


def test_curl_hears_of_a_token_that_is_not_good(everything: Everything, clients: Clients) -> None:
    curl = Curl(clients, replace_password(everything.account(), ""), "pop3s")
    for way in ("OAUTHBEARER", "XOAUTH2"):
        told = curl("1", "--oauth2-bearer", "bad.token", "--login-options", f"AUTH={way}", status=67)
        assert "-ERR [AUTH]" in told.errors


def test_curl_logs_in_by_certificate_as_itself_and_for_another(everything: Everything, clients: Clients) -> None:
    files, other = everything.certificate, everything.account()
    identity = ("--cert", files.certificate, "--key", files.key, "--login-options", "AUTH=EXTERNAL")
    for name in ("certified", other.name):
        account = replace_password(Account(name, "", other.maildir.parent), "")
        assert Curl(clients, account, "pop3s")("1", *identity).output == canonical(MESSAGE)
    told = everything.server.wait_for("auth.master")
    assert (told["master"], told["user"]) == ("certified", other.name)


def test_curl_is_refused_what_needs_a_certificate(everything: Everything, clients: Clients) -> None:
    curl = Curl(clients, replace_password(everything.account(), ""), "pop3s")
    assert curl("1", "--login-options", "AUTH=EXTERNAL", status=None).status == 67


@pytest.mark.parametrize("road", ["plain", "stls", "pop3s"])
def test_fetchmail_logs_in_by_cram_md5(everything: Everything, clients: Clients, road: str) -> None:
    for options in (("--auth", "cram-md5"), ("--auth", "any")):
        fetchmail = Fetchmail(clients, everything.account())
        told = fetchmail("--verbose", *options, road=road)
        assert "POP3> AUTH CRAM-MD5" in told.output.decode()
        assert fetchmail.got() == [text_form(MESSAGE)]
        for file in (clients.folder / "got", clients.folder / "count"):
            file.rename(file.with_name(f"{file.name}-before"))


def replace_password(account: Account, password: str) -> Account:
    return Account(account.name, password, account.maildir.parent)


# gsasl

CONTEXT = SaslContext(b"mail.example.org", tls=True, nonce=b"0123456789abcdef", bindings={b"tls-exporter": b"E" * 32})


class Gsasl:
    """``gsasl --client``: challenges in, responses out, in base64."""

    def __init__(self, mechanism: bytes, password: str) -> None:
        self._process = subprocess.Popen(
            [
                *("timeout", "30", "stdbuf", "-oL", path_of("gsasl")),  # to a pipe it would speak only at its end
                *("--client", "--mechanism", mechanism.decode(), "--authentication-id", "alice"),
                *("--service", "pop", "--quality-of-protection", "qop-auth", "--password", password),
                # With a host's name it asks for no channel binding, and without one DIGEST-MD5 asks for it.
                *(() if mechanism.endswith(b"-PLUS") else ("--no-cb", "--hostname", "mail.example.org", "--realm", "")),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == mechanism.decode() + "\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def say(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(base64.b64encode(data).decode() + "\n")
        self._process.stdin.flush()

    def hear(self) -> bytes:
        """The next response, in base64 behind the questions for channel bindings; the rest of its talk is on stderr."""
        assert self._process.stdout is not None
        return base64.b64decode(self._process.stdout.readline().rpartition(": ")[2])


@pytest.mark.parametrize("password", ["sesame", "wrong"])
@pytest.mark.parametrize(
    "mechanism",
    [m for m in (*MECHANISMS, *BY_NAME) if m.name not in (b"GSSAPI", b"EXTERNAL", b"OAUTHBEARER", b"XOAUTH2")],
    ids=lambda mechanism: mechanism.name.decode(),
)
def test_gsasl_and_our_exchange_agree(mechanism, password: str) -> None:
    exchange = mechanism.begin(CONTEXT)
    with Gsasl(mechanism.name, password) as client:
        if mechanism.name.endswith(b"-PLUS"):
            client.say(CONTEXT.bindings[b"tls-exporter"])
        step = exchange.step(client.hear() or None)
        while not isinstance(step, Done):
            if isinstance(step, Ask):
                digest = getattr(mechanism, "digest", "")
                step = exchange.answer(
                    derive(b"sesame", b"salt", 4096, digest)
                    if digest
                    else md5(b"alice:mail.example.org:sesame").digest()
                )
                continue
            assert isinstance(step, Challenge)
            client.say(step.data)
            last = step.data.startswith((b"v=", b"rspauth="))
            step = exchange.step(b"" if last else client.hear())
    credentials = step.credentials
    assert credentials.username == b"alice"
    if isinstance(credentials, Password | CramMd5):
        assert credentials.checkPassword(b"sesame") is (password == "sesame")
    else:
        assert credentials == (VerifiedIdentity if password == "sesame" else Unproven)(b"alice")
