"""GSS-API contexts against a real realm, and the traps of the library under them."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mailserver.auth.kerberos.gssapi import MAX_WAITING, THREADS, GssapiAcceptor
from mailserver.auth.kerberos.libkrb5 import KerberosUnavailable
from mailserver.auth.oracle import make_oracle
from mailserver.errors import TemporaryFailure, TicketRefused
from mailserver.exchange import GssToken, GssUnwrap, GssWrap
from mailserver.interfaces import IPart
from tests.gss import GssClient, library
from tests.realm import Realm, realm  # noqa: F401 - a fixture

BINDINGS = b"tls-server-end-point:" + b"h" * 32


class GssapiCase(TestCase):
    @pytest.fixture(autouse=True)
    def _fixtures(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        library()
        self.realm: Realm = request.getfixturevalue("realm")
        self.monkeypatch = monkeypatch
        self.folder = tmp_path

    async def acceptor(self, keytab: Path | None = None, host: str = "") -> GssapiAcceptor:
        from twisted.internet import reactor

        acceptor = GssapiAcceptor(str(keytab or self.realm.keytab), host=host)
        self.addCleanup(acceptor.stop)
        await acceptor.start(reactor)
        return acceptor

    async def refused(self, acceptor: GssapiAcceptor, token: bytes, **more: object) -> str:
        with pytest.raises(TicketRefused) as caught:
            await acceptor.ask(GssToken(token, **more))
        assert caught.value.line == b"[AUTH] authentication failed"
        return caught.value.detail


class ContextsTest(GssapiCase):
    async def test_a_client_that_asks_for_it_learns_that_the_server_has_the_key(self) -> None:
        acceptor = await self.acceptor()
        client = GssClient(self.realm)
        progress = await acceptor.ask(GssToken(client.first))
        assert progress.principal == "alice@KPOP.TEST"
        assert client.step(progress.token) == b""
        assert client.complete

    async def test_a_client_that_does_not_ask_gets_no_token(self) -> None:
        acceptor = await self.acceptor()
        progress = await acceptor.ask(GssToken(GssClient(self.realm, mutual=False).first))
        assert (progress.principal, progress.token) == ("alice@KPOP.TEST", b"")

    async def test_a_context_may_need_several_tokens(self) -> None:
        acceptor = await self.acceptor()
        client = GssClient(self.realm, dce=True)
        begun = await acceptor.ask(GssToken(client.first))
        assert begun.principal is None
        done = await acceptor.ask(GssToken(client.step(begun.token), begun.context))
        assert (done.principal, done.token) == ("alice@KPOP.TEST", b"")

    async def test_messages_cross_wrapped_but_not_encrypted(self) -> None:
        acceptor = await self.acceptor()
        client = GssClient(self.realm)
        progress = await acceptor.ask(GssToken(client.first))
        client.step(progress.token)
        assert client.unwrap(await acceptor.ask(GssWrap(b"\1\0\0\0", progress.context))) == b"\1\0\0\0"
        for encrypt in (False, True):
            token = client.wrap(b"\1\0\0\0alice", encrypt=encrypt)
            assert await acceptor.ask(GssUnwrap(token, progress.context)) == b"\1\0\0\0alice"

    async def test_a_wrapped_message_that_was_altered_is_refused(self) -> None:
        acceptor = await self.acceptor()
        client = GssClient(self.realm)
        progress = await acceptor.ask(GssToken(client.first))
        client.step(progress.token)
        token = client.wrap(b"\1\0\0\0alice")
        for altered in (token.replace(b"alice", b"admin"), token[:-1], b"", b"junk"):
            with pytest.raises(TicketRefused):
                await acceptor.ask(GssUnwrap(altered, progress.context))

    async def test_contexts_are_accepted_in_a_thread_of_the_pool_and_in_any_order(self) -> None:
        threads = set()
        acceptor = await self.acceptor()
        step = acceptor._step
        self.monkeypatch.setattr(acceptor, "_step", lambda *args: (threads.add(threading.get_ident()), step(*args))[1])
        tokens = [GssClient(self.realm, user).first for user in ("alice", "bob", "alice", "bob")]
        asked = [acceptor.ask(GssToken(token)) for token in tokens]
        assert [(await each).principal for each in asked] == ["alice@KPOP.TEST", "bob@KPOP.TEST"] * 2
        assert threading.get_ident() not in threads


class RefusalsTest(GssapiCase):
    async def test_an_error_is_raised_at_once_where_the_library_would_hand_out_a_token_for_it(self) -> None:
        acceptor = await self.acceptor()
        for token in (b"", b"junk", b"\x60" * 100, GssClient(self.realm).first[:-1]):
            assert await self.refused(acceptor, token)

    async def test_a_keytab_that_is_lost_is_no_fault_of_the_ticket_s(self) -> None:
        keytab = self.folder / "keytab"
        keytab.write_bytes(self.realm.keytab.read_bytes())
        acceptor = await self.acceptor(keytab)
        keytab.unlink()
        with pytest.raises(TicketRefused) as caught:
            await acceptor.ask(GssToken(GssClient(self.realm).first))
        assert caught.value.ours

    async def test_a_token_is_good_for_once(self) -> None:
        acceptor = await self.acceptor()
        token = GssClient(self.realm).first
        await acceptor.ask(GssToken(token))
        assert "replay" in await self.refused(acceptor, token)

    async def test_a_ticket_for_another_service_is_refused_though_the_keytab_has_its_key(self) -> None:
        acceptor = await self.acceptor()
        token = GssClient(self.realm, service="host/localhost").first
        assert await self.refused(acceptor, token) == "the ticket is for host/localhost@KPOP.TEST"

    async def test_any_pop_key_of_the_keytab_will_do(self) -> None:
        acceptor = await self.acceptor()
        assert (await acceptor.ask(GssToken(GssClient(self.realm, service="pop/mail.kpop.test").first))).principal

    async def test_with_a_host_no_other_host_will_do(self) -> None:
        acceptor = await self.acceptor(host="Mail.kpop.test")
        assert (await acceptor.ask(GssToken(GssClient(self.realm, service="pop/mail.kpop.test").first))).principal
        assert "pop/localhost" in await self.refused(acceptor, GssClient(self.realm).first)

    async def test_channel_bindings_must_be_ours_if_the_client_sends_some(self) -> None:
        acceptor = await self.acceptor()
        bound, unbound = (GssClient(self.realm, bindings=bindings).first for bindings in (BINDINGS, b""))
        for token in (bound, unbound):
            assert (await acceptor.ask(GssToken(token, bindings=BINDINGS))).principal
        elsewhere = GssClient(self.realm, bindings=BINDINGS[:-1] + b"x").first
        assert await self.refused(acceptor, elsewhere, bindings=BINDINGS)

    async def test_other_mechanisms_than_kerberos_are_refused(self) -> None:
        acceptor = await self.acceptor()
        ntlm = b"\x60\x28\x06\x06\x2b\x06\x01\x05\x05\x02" + b"\xa0\x1e\x30\x1c\xa0\x1a\x30\x18\x06\x0a" + b"\0" * 20
        assert await self.refused(acceptor, ntlm)

    async def test_too_many_waiting_is_no_refusal_of_the_ticket(self) -> None:
        acceptor = await self.acceptor()
        gate = threading.Event()
        held = [acceptor._pool.run(gate.wait, 60) for _ in range(THREADS + MAX_WAITING)]
        with pytest.raises(TemporaryFailure):
            await acceptor.ask(GssToken(b""))
        gate.set()
        await gatherResults(held)


class StartTest(GssapiCase):
    async def test_a_key_that_is_new_in_the_keytab_counts_at_once(self) -> None:
        keytab = self.folder / "new.keytab"
        acceptor = await self.acceptor(self.realm.extract(keytab, "host/localhost"))
        await self.refused(acceptor, GssClient(self.realm).first)
        self.realm.extract(keytab, "pop/localhost")
        assert (await acceptor.ask(GssToken(GssClient(self.realm).first))).principal

    async def test_a_keytab_that_is_missing_is_named(self) -> None:
        with pytest.raises(KerberosUnavailable, match=r"cannot use the keytab /nowhere/pop\.keytab"):
            await self.acceptor(Path("/nowhere/pop.keytab"))

    async def test_a_missing_library_is_named_with_what_installs_it(self) -> None:
        self.monkeypatch.setitem(sys.modules, "gssapi", None)
        with pytest.raises(KerberosUnavailable, match=r"apt-get install .* pip install 'twisted-mailserver\[gssapi\]'"):
            GssapiAcceptor("pop.keytab")

    async def test_what_is_no_host_is_an_error_at_once(self) -> None:
        with pytest.raises(ValueError, match="is not a host name"):
            GssapiAcceptor("pop.keytab", host="pop/localhost")

    async def test_it_is_available_from_its_start_to_its_stop(self) -> None:
        assert verifyObject(IPart, GssapiAcceptor("pop.keytab"))
        assert not GssapiAcceptor("pop.keytab").available
        acceptor = await self.acceptor()
        assert acceptor.available
        await acceptor.reload()
        assert acceptor.available
        await acceptor.stop()
        await acceptor.stop()
        assert not acceptor.available
        with pytest.raises(TemporaryFailure):
            await acceptor.ask(GssToken(b""))

    async def test_the_oracle_answers_for_gssapi_as_long_as_it_is_available(self) -> None:
        assert b"GSSAPI" not in make_oracle([], GssapiAcceptor("pop.keytab")).mechanisms()
        acceptor = await self.acceptor()
        oracle = make_oracle([], acceptor)
        assert oracle.mechanisms() == {b"GSSAPI"}
        assert (await oracle.ask(GssToken(GssClient(self.realm).first))).principal == "alice@KPOP.TEST"
        await acceptor.stop()
        assert oracle.mechanisms() == frozenset()

    async def test_without_a_keytab_a_question_for_it_is_a_bug(self) -> None:
        with pytest.raises(TypeError, match="GssToken"):
            await make_oracle([]).ask(GssToken(b""))
