"""SASL GSSAPI end to end: real clients on every road, and line by line."""

from __future__ import annotations

import ssl
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from mailserver.net import Limits
from tests.gss import GssClient
from tests.interop.kerberos import TEXT, KerberosCase
from tests.rawpop3 import RawPOP3
from tests.realm import realm  # noqa: F401 - a fixture

PRINCIPAL = "alice@KPOP.TEST"
OPENED = b"+OK maildrop has 1 messages (%d octets)\r\n" % len(TEXT.replace(b"\n", b"\r\n"))


class ClientsTest(KerberosCase):
    """SASL GSSAPI, on every road."""

    async def fetch(self, road: str, client: Callable[[str, int], Deferred[str]], user: str = "alice") -> None:
        ports = await self.gssapi()
        await client(road, ports["pop3s" if road == "pop3s" else "plain"])
        assert TEXT in self.got().replace(b"\r\n", b"\n")
        event = await self.sessions()
        assert (event["user"], event["principal"], event["tls"]) == (user, PRINCIPAL, road != "plain")

    def by_fetchmail(self, road: str, port: int) -> Deferred[str]:
        tls = {
            "plain": ("--sslproto", ""),
            "stls": ("--sslcertck", "--sslcertfile", self.files.certificate),
            "pop3s": ("--ssl", "--sslcertck", "--sslcertfile", self.files.certificate),
        }
        return self.fetchmail("--protocol", "POP3", "--service", str(port), "--auth", "gssapi", *tls[road])

    async def test_fetchmail(self) -> None:
        await self.fetch("plain", self.by_fetchmail, "alice")

    async def test_fetchmail_with_stls(self) -> None:
        await self.fetch("stls", self.by_fetchmail, "alice")

    async def test_fetchmail_with_pop3s(self) -> None:
        await self.fetch("pop3s", self.by_fetchmail, "alice")

    def by_mpop(self, road: str, port: int) -> Deferred[str]:
        tls = {
            "plain": ("--tls=off",),
            "stls": ("--tls=on", "--tls-starttls=on", f"--tls-trust-file={self.files.certificate}"),
            "pop3s": ("--tls=on", "--tls-starttls=off", f"--tls-trust-file={self.files.certificate}"),
        }
        return self.run_client(
            "mpop",
            *("--host=localhost", f"--port={port}", "--auth=gssapi", "--user=alice", "--keep=on", "--timeout=30"),
            *(f"--uidls-file={self.home}/uidls", f"--delivery=mbox,{self.home}/got", "--received-header=off"),
            *tls[road],
        )

    async def test_mpop(self) -> None:
        await self.fetch("plain", self.by_mpop)

    async def test_mpop_with_stls(self) -> None:
        await self.fetch("stls", self.by_mpop)

    async def test_mpop_with_pop3s(self) -> None:
        await self.fetch("pop3s", self.by_mpop)

    def by_curl(self, road: str, port: int) -> Deferred[str]:
        """curl wants a realm in the user's name, and asks for no proof of the server."""
        scheme = "pop3s" if road == "pop3s" else "pop3"
        return self.run_client(
            "curl",
            *("--silent", "--show-error", "--max-time", "30", "--login-options", "AUTH=GSSAPI"),
            *("--user", "alice@KPOP.TEST:", "--cacert", self.files.certificate, "--output", f"{self.home}/got"),
            *(("--ssl-reqd",) if road == "stls" else ()),
            f"{scheme}://localhost:{port}/1",
        )

    async def test_curl(self) -> None:
        await self.fetch("plain", self.by_curl)

    async def test_curl_with_stls(self) -> None:
        await self.fetch("stls", self.by_curl)

    async def test_curl_with_pop3s(self) -> None:
        await self.fetch("pop3s", self.by_curl)


class OctetsTest(KerberosCase):
    """SASL GSSAPI line by line."""

    def log_in(self, port: int, client: GssClient, message: bytes, *, tls: bool = False) -> list[bytes]:
        """The server's lines from its layers on, if it gets so far. For a thread."""
        with RawPOP3(port) as wire:
            if tls:
                wire.ok(b"STLS")
                wire.start_tls(ssl.create_default_context(cafile=self.files.certificate))
            assert wire.command(b"AUTH GSSAPI") == b"+ \r\n"
            reply = wire.command(b64encode(client.first))
            if not client.complete and reply.startswith(b"+ "):
                assert client.step(b64decode(reply[2:])) == b""
                reply = wire.command(b"")
            if not reply.startswith(b"+ "):
                return [reply]
            layers = client.unwrap(b64decode(reply[2:]))
            return [layers, wire.command(b64encode(client.wrap(message)))]

    async def attempt(self, message: bytes, *, tls: bool = False, **options: Any) -> list[bytes]:
        ports = await self.gssapi(limits=Limits(failure_delay_seconds=0))
        client = GssClient(self.realm, **options)
        lines: list[bytes] = await deferToThread(self.log_in, ports["plain"], client, message, tls=tls)
        return lines

    async def test_the_own_maildrop_needs_no_name(self) -> None:
        assert await self.attempt(b"\1\0\0\0") == [b"\1\0\0\0", OPENED]
        assert (await self.sessions())["user"] == "alice"

    async def test_a_client_may_ask_for_no_proof_of_the_server(self) -> None:
        assert await self.attempt(b"\1\0\0\0alice", mutual=False) == [b"\1\0\0\0", OPENED]

    async def test_a_nul_at_the_name_s_end_is_forgiven(self) -> None:
        assert await self.attempt(b"\1\0\0\0alice\0") == [b"\1\0\0\0", OPENED]

    async def test_another_s_maildrop_stays_closed(self) -> None:
        assert await self.attempt(b"\1\0\0\0bob") == [b"\1\0\0\0", b"-ERR [AUTH] authentication failed\r\n"]

    async def test_a_layer_that_was_not_offered_is_refused(self) -> None:
        assert (await self.attempt(b"\4\0\xff\xffalice"))[1].startswith(b"-ERR ")

    async def test_a_ticket_for_another_service_is_refused_without_a_token(self) -> None:
        assert await self.attempt(b"", service="host/localhost") == [b"-ERR [AUTH] authentication failed\r\n"]
        assert self.named("kerberos.refused")[0]["reason"] == "the ticket is for host/localhost@KPOP.TEST"

    async def test_what_a_client_binds_to_must_be_our_certificate(self) -> None:
        bindings = b"tls-server-end-point:" + sha256(self.certificate).digest()
        assert (await self.attempt(b"\1\0\0\0", tls=True, bindings=bindings))[1] == OPENED

    async def test_bound_to_another_certificate_it_comes_by_a_relay_and_is_refused(self) -> None:
        bindings = b"tls-server-end-point:" + sha256(b"the relay's").digest()
        assert await self.attempt(b"", tls=True, bindings=bindings) == [b"-ERR [AUTH] authentication failed\r\n"]

    async def test_it_stands_where_fetchmail_sees_it(self) -> None:
        """fetchmail reads CAPA in pieces of 63 octets, and misses a name that two of them share."""
        ports = await self.gssapi()

        def rows() -> list[bytes]:
            with RawPOP3(ports["plain"]) as wire:
                return wire.fetch(b"CAPA").splitlines()

        (row,) = [row for row in await deferToThread(rows) if row.startswith(b"SASL")]
        assert row.index(b"GSSAPI") + len(b"GSSAPI") <= 63
        assert row.split()[1] == b"GSSAPI"
