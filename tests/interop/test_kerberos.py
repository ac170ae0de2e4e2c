"""KPOP end to end: a KDC of our own, fetchmail, libkrb5's own client, and those that mean no good."""

from __future__ import annotations

import socket
import threading
from functools import partial
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from tests.interop.kerberos import REJECTED, TEXT, KerberosCase, KerberosThreads, sendauth, talk
from tests.net.sessions import Client
from tests.protocol import der
from tests.realm import Initiator, KerberosError, ap_req, realm  # noqa: F401 - realm is a fixture

HELLO = b"\0\0\0\x13KRB5_SENDAUTH_V1.0\0\0\0\0\x09KPOPV1.0\0"
ACCEPTED = b"\0\0\0\0"
NO_KERBEROS = b"-ERR this port needs Kerberos 5 (KPOP)\r\n"
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
        event = await self.sessions()
        fields = ("user", "principal", "listener", "tls", "retrieved")
        assert [event[field] for field in fields] == ["alice", PRINCIPAL, "kpop", False, 1]

    async def test_it_begins_tls_after_the_ticket(self) -> None:
        port = await self.kpop(tls=self.tls, require_tls=True)
        await self.fetchmail(*self.kpop_options(port, tls=True))
        assert self.got() == TEXT
        assert (await self.sessions())["tls"] is True

    async def test_it_finds_a_virtual_host_by_the_ticket_for_its_name(self) -> None:
        port = await self.kpop(host="mail.kpop.test")
        rc = self.home / "fetchmailrc"
        rc.touch(mode=0o600)
        rc.write_text("poll mail.kpop.test auth kerberos_v5 no dns\n")
        await self.fetchmail(*self.kpop_options(port, tls=False), host="mail.kpop.test", rc=str(rc))
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


class CrowdTest(KerberosCase):
    LOGINS = 200
    POLLERS = ("carol", "dave", "erin")
    rules = [f"alice@KPOP.TEST -> user{number}" for number in range(LOGINS)]  # noqa: RUF012 - nobody changes it

    async def test_tickets_of_a_crowd_are_verified_beside_the_mail_of_others(self) -> None:
        threads = KerberosThreads(self.monkeypatch)
        port, plain = await self.kpop(), self.pop3(cleartext="always")
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
        await self.sessions(self.LOGINS + len(self.POLLERS))

    async def test_more_than_may_wait_are_refused_and_the_others_served(self) -> None:
        port = await self.kpop(waiting=5)
        requests = [ap_req(self.realm, mutual=False) for _ in range(50)]
        answers = await gatherResults([self.visit(port, request, number) for number, request in enumerate(requests)])
        served = [answer for answer in answers if answer.endswith(b"+OK signing off\r\n")]
        assert len(served) >= 5
        for answer in answers:
            assert answer in served or der.error(answer[5:])["code"] == 60

    def visit(self, port: int, request: bytes, number: int) -> Deferred[bytes]:
        """All that a client hears who says all at once, at an address of its own: each has a share of what may wait."""

        def say(client: Client) -> Deferred[bytes]:
            login = b"USER user%d\r\nPASS krb_ticket\r\n" % number
            client.transport.write(HELLO + piece(request) + login + b"STAT\r\nQUIT\r\n")
            return client.ended

        return Deferred.fromCoroutine(self.connect(port, f"127.0.1.{number}")).addCallback(say)

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
