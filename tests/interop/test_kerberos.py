"""Kerberos end to end: a KDC of our own, real clients, and those that mean no good."""

from __future__ import annotations

import socket
import ssl
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from mailserver.net import Limits
from tests.gss import GssClient
from tests.interop.kerberos import REJECTED, TEXT, KerberosCase, KerberosThreads, sendauth, talk
from tests.net.sessions import Client
from tests.protocol import der
from tests.rawpop3 import RawPOP3
from tests.realm import Initiator, KerberosError, ap_req, realm  # noqa: F401 - realm is a fixture

HELLO = b"\0\0\0\x13KRB5_SENDAUTH_V1.0\0\0\0\0\x09KPOPV1.0\0"
ACCEPTED = b"\0\0\0\0"
NO_KERBEROS = b"-ERR this port needs Kerberos 5 (KPOP)\r\n"
OPENED = b"+OK maildrop has 1 messages (%d octets)\r\n" % len(TEXT.replace(b"\n", b"\r\n"))
PRINCIPAL = "alice@KPOP.TEST"
LOGIN = b"USER alice\r\nPASS krb_ticket\r\n"


def lines_have_come(count: int, received: bytes) -> bool:
    return received.count(b"\n") >= count


def piece(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


class FetchmailTest(KerberosCase):
    async def test_it_reads_a_message_by_kpop(self) -> None:
        port = await self.kpop()
        said = await self.fetchmail(*self.kpop_options(port, tls=False))
        assert self.got() == TEXT
        assert "POP3> PASS" in said
        (event,) = self.named("pop3.session")
        fields = ("user", "principal", "listener", "tls", "retrieved")
        assert [event[field] for field in fields] == ["alice", "alice@KPOP.TEST", "kpop", False, 1]

    async def test_it_begins_tls_after_the_ticket(self) -> None:
        port = await self.kpop(tls=self.tls, require_tls=True)
        await self.fetchmail(*self.kpop_options(port, tls=True))
        assert self.got() == TEXT
        assert self.named("pop3.session")[0]["tls"] is True

    async def test_it_finds_a_virtual_host_by_the_ticket_for_its_name(self) -> None:
        port = await self.kpop(host="mail.kpop.test")
        rc = self.home / "fetchmailrc"
        rc.touch(mode=0o600)
        plugin = self.kpop_options(port, tls=False)[3]
        rc.write_text(
            f'poll mail.kpop.test protocol KPOP auth kerberos_v5 no dns plugin "{plugin}"\n'
            f'user alice sslproto "" keep fetchall mda "cat >> {self.home}/got"\n'
        )
        await self.run_client("fetchmail", "--nodetach", "--daemon", "0", "--fetchmailrc", str(rc), "--invisible")
        assert self.got() == TEXT

    async def test_a_ticket_for_another_host_is_refused_by_a_server_of_one(self) -> None:
        port = await self.kpop(host="mail.kpop.test")
        said = await self.fetchmail(*self.kpop_options(port, tls=False), status=7)
        assert "Server rejected authentication" in said
        assert "[server says 'the ticket is for another server" in said

    async def test_it_hears_that_a_maildrop_is_somebody_else_s(self) -> None:
        port = await self.kpop()
        said = await self.fetchmail(*self.kpop_options(port, tls=False), name="bob", status=3)
        assert "-ERR [AUTH] authentication failed" in said
        assert "lock busy" not in said.lower()


class SendauthTest(KerberosCase):
    """libkrb5's own client."""

    async def login(self, port: int, **options: Any) -> bytes:
        with Initiator(self.realm, **options) as client:
            received: bytes = await deferToThread(sendauth, port, client, LOGIN + b"RETR 1\r\nQUIT\r\n")
        return received

    async def test_with_and_without_mutual_authentication_it_ends_at_the_greeting(self) -> None:
        port = await self.kpop()
        for mutual in (True, False):
            received = await self.login(port, mutual=mutual)
            assert received.startswith(b"+OK localhost POP3 server ready\r\n")
            assert TEXT.replace(b"\n", b"\r\n") in received

    async def test_it_reads_the_error_that_refuses_it(self) -> None:
        port = await self.kpop()
        with pytest.raises(KerberosError) as caught:
            await self.login(port, service="host/localhost")
        assert caught.value.args == ("krb5_sendauth", REJECTED)

    async def test_an_ap_rep_proves_the_server(self) -> None:
        port = await self.kpop()
        with Initiator(self.realm) as client:
            answer = await deferToThread(talk, port, HELLO, piece(client.ap_req) + b"QUIT\r\n")
            assert answer[:5] == b"\0" + ACCEPTED
            length = int.from_bytes(answer[5:9], "big")
            client.check(answer[9 : 9 + length])
            assert answer[9 + length :].startswith(b"+OK localhost POP3 server ready\r\n+OK ")


class RefusalsTest(KerberosCase):
    async def error(self, port: int, *sent: bytes) -> Any:
        """What a KRB-ERROR says, after which the server closed."""
        answer = await deferToThread(talk, port, *sent)
        assert answer[:1] == b"\0"
        assert answer[1:] == piece(answer[5:])
        return der.error(answer[5:])

    async def test_a_request_is_good_for_once(self) -> None:
        port = await self.kpop()
        request = piece(ap_req(self.realm, mutual=False))
        assert (await deferToThread(talk, port, HELLO + request + LOGIN + b"QUIT\r\n")).startswith(b"\0" + ACCEPTED)
        error = await self.error(port, HELLO + request + LOGIN)
        assert (error["code"], error["text"]) == (34, b"the request was used before\0")

    async def test_a_ticket_for_another_service_is_refused_though_the_keytab_has_its_key(self) -> None:
        port = await self.kpop()
        assert (await self.error(port, HELLO + piece(ap_req(self.realm, service="host/localhost"))))["code"] == 35

    async def test_garbage_is_refused_as_such(self) -> None:
        port = await self.kpop()
        for garbage in (b"x" * 600, b"\x6e", b"\x6e\x82\x02\x00" + b"\0" * 512, b"\0"):
            assert (await self.error(port, HELLO + piece(garbage)))["code"] in {40, 60}

    async def test_nothing_of_the_server_s_files_and_keys_is_told(self) -> None:
        port = await self.kpop()
        request = bytearray(ap_req(self.realm))
        request[-40:] = b"\0" * 40
        answer = await deferToThread(talk, port, HELLO + piece(bytes(request)))
        for secret in (b"keytab", b"kvno", b"alice", str(self.realm.folder).encode()):
            assert secret not in answer

    async def test_strangers_hear_what_they_have_come_to(self) -> None:
        port = await self.kpop()
        for hello in (b"AUTHV0.1KPOPV0.1\0\0\0\x04KTXT", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"USER alice\r\n"):
            assert await deferToThread(talk, port, hello) == NO_KERBEROS

    async def test_two_gigabytes_are_not_waited_for(self) -> None:
        port = await self.kpop()
        assert await deferToThread(talk, port, HELLO + b"\x7f\xff\xff\xff" + b"x" * 10_000) == b"\0"

    async def test_a_client_that_leaves_while_it_is_verified_leaves_nothing_behind(self) -> None:
        port = await self.kpop()
        request = HELLO + piece(ap_req(self.realm, mutual=False)) + LOGIN

        def leave() -> None:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(request)

        await deferToThread(leave)
        assert b"+OK maildrop has 1 messages" in await deferToThread(
            talk, port, HELLO + piece(ap_req(self.realm, mutual=False)) + LOGIN + b"QUIT\r\n"
        )


class GssapiTest(KerberosCase):
    """SASL GSSAPI, on every road."""

    async def fetch(self, road: str, client: Callable[[str, int], Deferred[str]], user: str = PRINCIPAL) -> None:
        ports = await self.gssapi()
        await client(road, ports["pop3s" if road == "pop3s" else "plain"])
        assert TEXT in self.got().replace(b"\r\n", b"\n")
        (event,) = self.named("pop3.session")
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


class GssapiOctetsTest(KerberosCase):
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
        assert self.named("pop3.session")[0]["user"] == "alice@KPOP.TEST"

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
        assert self.named("ticket")[0]["reason"] == "the ticket is for host/localhost@KPOP.TEST"

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


class CrowdTest(KerberosCase):
    LOGINS = 200
    POLLERS = ("carol", "dave", "erin")
    rules = [f"alice@KPOP.TEST -> user{number}" for number in range(LOGINS)]  # noqa: RUF012 - nobody changes it

    async def test_tickets_of_a_crowd_are_verified_beside_the_mail_of_others(self) -> None:
        threads = KerberosThreads(self.monkeypatch)
        port, plain = await self.kpop(waiting=self.LOGINS), self.pop3(cleartext="always")
        pollers = [await self.connect(plain) for _ in self.POLLERS]
        requests = [ap_req(self.realm, mutual=False) for _ in range(self.LOGINS)]
        crowd = gatherResults([self.visit(port, request, number) for number, request in enumerate(requests)])
        polls = [Deferred.fromCoroutine(self.poll(*each, crowd)) for each in zip(pollers, self.POLLERS, strict=True)]
        for answer in await crowd:
            assert answer.endswith(b"+OK 0 0\r\n+OK signing off\r\n"), answer
        for answered in polls:
            assert await answered > 10
        assert threads.seen
        assert threading.get_ident() not in threads.seen
        assert len(self.named("pop3.session")) == self.LOGINS + len(self.POLLERS)

    async def test_more_than_may_wait_are_refused_and_the_others_served(self) -> None:
        port = await self.kpop(waiting=5)
        requests = [ap_req(self.realm, mutual=False) for _ in range(50)]
        answers = await gatherResults([self.visit(port, request, number) for number, request in enumerate(requests)])
        served = [answer for answer in answers if answer.endswith(b"+OK signing off\r\n")]
        assert len(served) >= 5
        for answer in answers:
            assert answer in served or der.error(answer[5:])["code"] == 60

    def visit(self, port: int, request: bytes, number: int) -> Deferred[bytes]:
        """All that a client hears who says all at once."""

        def say(client: Client) -> Deferred[bytes]:
            login = b"USER user%d\r\nPASS krb_ticket\r\n" % number
            client.transport.write(HELLO + piece(request) + login + b"STAT\r\nQUIT\r\n")
            return client.ended

        return Deferred.fromCoroutine(self.connect(port)).addCallback(say)

    async def poll(self, client: Client, name: str, until: Deferred[Any]) -> int:
        """How many commands of a plain session were answered until others had done."""
        client.transport.write(b"USER %b\r\nPASS secret\r\n" % name.encode())
        lines = 3  # the greeting, and two
        while not until.called:
            await client.until(partial(lines_have_come, lines))
            client.transport.write(b"NOOP\r\n")
            lines += 1
        client.transport.write(b"QUIT\r\n")
        await client.ended
        return lines
