"""The acceptor and the checker, on a real reactor and against a real realm."""

from __future__ import annotations

import shutil
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import reactor
from twisted.internet.defer import DeferredList, gatherResults
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mailserver.auth import MailboxRealm, PasswordFile, make_portal
from mailserver.auth.kerberos import libkrb5
from mailserver.auth.kerberos.libkrb5 import KerberosUnavailable
from mailserver.auth.kerberos.threads import Krb5Pool
from mailserver.auth.kerberos.tickets import KerberosAcceptor, KerberosChecker
from mailserver.credentials import IKerberosIdentity, KerberosIdentity
from mailserver.errors import LoginRefused, TemporaryFailure, TicketRefused
from mailserver.interfaces import IAcceptor, IMaildrop, IPart, Mind
from mailserver.refusals import login_refused
from mailserver.testing.contracts.checkers import NameRealm
from tests.auth.kerberos.realms import HomeStore, Store
from tests.realm import Initiator, Realm, ap_req


class RealmCase(TestCase):
    @pytest.fixture(autouse=True)
    def _in_the_realm(self, realm: Realm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.realm, self.folder, self.patch_ = realm, tmp_path, monkeypatch

    def copy_of_keytab(self) -> Path:
        return Path(shutil.copy(self.realm.keytab, self.folder / "keytab"))

    async def started(self, startable: Any) -> Any:
        self.addCleanup(startable.stop)
        await startable.start(reactor)
        return startable

    def watch_calls(self) -> set[int]:
        """The threads that call libkrb5 from now on."""
        threads: set[int] = set()
        library = libkrb5.load()

        class Watched:
            def __getattr__(self, name: str) -> Any:
                threads.add(threading.get_ident())
                return getattr(library, name)

        self.patch_.setattr(libkrb5, "load", Watched)
        return threads


class AcceptorTests(RealmCase):
    async def acceptor(self, keytab: Path | None = None, **options: Any) -> KerberosAcceptor:
        acceptor: KerberosAcceptor = await self.started(KerberosAcceptor(str(keytab or self.realm.keytab), **options))
        return acceptor

    async def refusal(self, acceptor: KerberosAcceptor, request: bytes, *, ours: bool = False) -> int:
        with pytest.raises(TicketRefused) as caught:
            await acceptor.accept(request)
        assert caught.value.ours is ours
        return caught.value.error_code

    def test_it_provides_its_interfaces(self) -> None:
        acceptor = KerberosAcceptor(str(self.realm.keytab))
        verifyObject(IAcceptor, acceptor)
        verifyObject(IPart, acceptor)

    async def test_a_ticket_is_taken_and_answered(self) -> None:
        acceptor = await self.acceptor()
        with Initiator(self.realm) as client:
            accepted = await acceptor.accept(client.ap_req)
            assert accepted.principal == "alice@KPOP.TEST"
            client.check(accepted.ap_rep)
        assert (await acceptor.accept(ap_req(self.realm, "bob", mutual=False))).ap_rep is None

    async def test_a_refusal_has_a_code_and_its_reason_is_not_for_the_client(self) -> None:
        acceptor = await self.acceptor()
        request = ap_req(self.realm, service="host/localhost")
        with pytest.raises(TicketRefused) as caught:
            await acceptor.accept(request)
        assert caught.value.error_code == 35
        assert b"host" not in caught.value.line
        assert "host/localhost" not in repr(caught.value)
        assert "host/localhost@KPOP.TEST" in caught.value.detail
        assert not caught.value.ours

    async def test_each_refusal_has_its_code(self) -> None:
        acceptor = await self.acceptor(host="LocalHost")
        used = ap_req(self.realm)
        await acceptor.accept(used)
        assert await self.refusal(acceptor, used) == 34
        assert await self.refusal(acceptor, ap_req(self.realm, service="pop/mail.kpop.test")) == 35
        assert await self.refusal(acceptor, ap_req(self.realm, skew=1000)) == 37
        assert await self.refusal(acceptor, b"rubbish") == 40
        assert await self.refusal(acceptor, b"n" * 128 * 1024) == 60

    async def test_a_keytab_may_go_and_come_back(self) -> None:
        keytab = self.copy_of_keytab()
        acceptor = await self.acceptor(keytab)
        keytab.unlink()
        assert await self.refusal(acceptor, ap_req(self.realm), ours=True) == 45
        self.copy_of_keytab()
        await acceptor.accept(ap_req(self.realm))

    async def test_nothing_is_taken_while_the_replay_cache_cannot_be_written(self) -> None:
        acceptor = await self.acceptor()
        self.patch_.setenv("KRB5RCACHEDIR", str(self.folder / "gone"))
        assert await self.refusal(acceptor, ap_req(self.realm), ours=True) == 60

    async def test_many_at_once_are_taken_and_never_on_the_reactors_thread(self) -> None:
        threads = self.watch_calls()
        acceptor = await self.acceptor(waiting=200)
        requests = [ap_req(self.realm) for _ in range(200)]
        accepted = await gatherResults([acceptor.accept(request) for request in requests])
        assert {each.principal for each in accepted} == {"alice@KPOP.TEST"}
        assert len({each.ap_rep for each in accepted}) == 200
        assert 1 <= len(threads) <= 2
        assert threading.get_ident() not in threads

    async def test_of_one_request_at_many_doors_only_one_is_taken(self) -> None:
        acceptor = await self.acceptor(waiting=50)
        request = ap_req(self.realm)
        outcomes = await DeferredList([acceptor.accept(request) for _ in range(50)], consumeErrors=True)
        assert [good for good, _ in outcomes].count(True) == 1
        assert {failure.value.error_code for good, failure in outcomes if not good} == {34}

    async def test_what_waits_has_an_end(self) -> None:
        acceptor = await self.acceptor(threads=2, waiting=64)
        request = ap_req(self.realm, mutual=False)
        outcomes = await DeferredList([acceptor.accept(request) for _ in range(200)], consumeErrors=True)
        assert [good or failure.type for good, failure in outcomes].count(TemporaryFailure) == 200 - 2 - 64

    async def test_contexts_end_with_their_threads(self) -> None:
        threads = threading.active_count()
        for _ in range(3):
            acceptor = await self.acceptor()
            await gatherResults([acceptor.accept(ap_req(self.realm)) for _ in range(4)])
            await acceptor.stop()
        assert threading.active_count() == threads
        with pytest.raises(TemporaryFailure):
            await acceptor.accept(ap_req(self.realm))

    async def test_a_start_that_fails_says_why_and_leaves_no_thread(self) -> None:
        threads = threading.active_count()
        acceptor = KerberosAcceptor(str(self.folder / "nowhere"))
        with pytest.raises(KerberosUnavailable, match="there is no keytab"):
            await acceptor.start(reactor)
        assert threading.active_count() == threads
        await acceptor.stop()

    async def test_a_start_without_a_replay_cache_fails(self) -> None:
        self.patch_.setenv("KRB5RCACHENAME", "none:")
        with pytest.raises(KerberosUnavailable, match="the replay cache is switched off"):
            await KerberosAcceptor(str(self.realm.keytab)).start(reactor)

    async def test_a_start_without_the_library_fails(self) -> None:
        self.patch_.setattr(libkrb5, "load", partial(libkrb5.load, "libkrb5.so.nowhere"))
        with pytest.raises(KerberosUnavailable, match="apt-get install libkrb5-3"):
            await KerberosAcceptor(str(self.realm.keytab)).start(reactor)

    async def test_a_start_with_a_broken_krb5_conf_fails(self) -> None:
        config = self.folder / "krb5.conf"
        config.write_text("[libdefaults\n{")
        self.patch_.setenv("KRB5_CONFIG", str(config))
        with pytest.raises(KerberosUnavailable, match=r"see krb5\.conf"):
            await KerberosAcceptor(str(self.realm.keytab)).start(reactor)

    async def test_what_libkrb5_minds_at_the_start_is_told(self) -> None:
        pool = Krb5Pool(1, 1)
        with pytest.raises(KerberosUnavailable, match=r"libkrb5 does not work here: .*/nowhere"):
            await pool.start(reactor, lambda krb5: krb5.keys("/nowhere", ""))
        assert not pool.running

    async def test_it_starts_once_and_has_nothing_to_reload(self) -> None:
        acceptor = await self.acceptor()
        await acceptor.start(reactor)
        await acceptor.reload()
        assert repr(acceptor) == f"KerberosAcceptor({str(self.realm.keytab)!r})"

    def test_what_is_no_host_is_an_error(self) -> None:
        for host in ("a/b", "a@b", "a b", "ä"):
            with pytest.raises(ValueError, match="is not a host name"):
                KerberosAcceptor("/keytab", host=host)


class CheckerTests(RealmCase):
    async def portal(self, *rules: str, **options: Any) -> Any:
        self.checker = await self.started(KerberosChecker(rules, **options))
        return make_portal(NameRealm(), [self.checker])

    async def refused(self, portal: Any, principal: str, user: bytes) -> LoginRefused:
        with capturedLogs() as events, pytest.raises(UnauthorizedLogin) as caught:
            await portal.login(KerberosIdentity(principal, user), None)
        assert events == [], "the session tells it"
        return login_refused(caught.value)

    def test_it_provides_its_interfaces(self) -> None:
        verifyObject(ICredentialsChecker, KerberosChecker())
        verifyObject(IPart, KerberosChecker())

    async def test_it_is_announced(self) -> None:
        portal = await self.portal()
        assert portal.checkers[IKerberosIdentity].credentialInterfaces == (IKerberosIdentity,)

    async def test_without_rules_a_principal_of_the_realm_is_its_own_user(self) -> None:
        portal = await self.portal()
        for asked in (b"alice", b""):
            assert await portal.login(KerberosIdentity("alice@KPOP.TEST", asked), None) == b"alice"
        for asked in (b"bob", b"Alice", b"alice@KPOP.TEST", b"\xff", b"../alice", b"alice\0", b"root"):
            await self.refused(portal, "alice@KPOP.TEST", asked)
        for principal in ("alice@OTHER.TEST", "alice/admin@KPOP.TEST", "@KPOP.TEST"):
            await self.refused(portal, principal, b"alice")
            await self.refused(portal, principal, b"")

    async def test_rules_come_first_and_alone_decide_for_whom_they_fit(self) -> None:
        portal = await self.portal(
            "alice@KPOP.TEST -> support", "alice@KPOP.TEST -> sales", r"~ (\w+)/mail@KPOP\.TEST -> \1"
        )
        for asked, user in ((b"support", b"support"), (b"sales", b"sales"), (b"", b"support")):
            assert await portal.login(KerberosIdentity("alice@KPOP.TEST", asked), None) == user
        await self.refused(portal, "alice@KPOP.TEST", b"alice")
        assert await portal.login(KerberosIdentity("bob/mail@KPOP.TEST", b""), None) == b"bob"
        assert await portal.login(KerberosIdentity("bob@KPOP.TEST", b"bob"), None) == b"bob"

    async def test_names_that_are_not_ascii_work(self) -> None:
        portal = await self.portal()
        assert await portal.login(KerberosIdentity("jörg@KPOP.TEST", b""), None) == "jörg".encode()

    async def test_nobody_becomes_root_unless_he_may(self) -> None:
        portal = await self.portal("alice@KPOP.TEST -> root")
        for principal in ("alice@KPOP.TEST", "root@KPOP.TEST"):
            for asked in (b"root", b""):
                await self.refused(portal, principal, asked)
        portal = await self.portal(deny=["bob"])
        await self.checker.reload()
        assert await portal.login(KerberosIdentity("root@KPOP.TEST", b"root"), None) == b"root"
        await self.refused(portal, "bob@KPOP.TEST", b"bob")

    async def test_users_of_the_system_let_in_others_only_where_that_is_wanted(self) -> None:
        portal = await self.portal(deny=[], kuserok=True)
        assert await portal.login(KerberosIdentity("root@KPOP.TEST", b"root"), None) == b"root"
        await self.refused(portal, "alice@KPOP.TEST", b"root")
        await self.refused(portal, "alice@KPOP.TEST", b"no such user")

    async def test_a_refusal_says_whose_maildrops_the_principal_may_open(self) -> None:
        portal = await self.portal()
        for principal, may in {"alice@KPOP.TEST": "'alice'", "alice@OTHER.TEST": "none"}.items():
            why = await self.refused(portal, principal, b"bob")
            assert why.reason == f"the principal {principal!r} may not open this maildrop"
            assert why.hint == f"it may open {may}"

    async def test_libkrb5_is_asked_in_another_thread(self) -> None:
        threads = self.watch_calls()
        portal = await self.portal()
        await portal.login(KerberosIdentity("alice@KPOP.TEST", b""), None)
        assert len(threads) == 1
        assert threading.get_ident() not in threads

    async def test_a_user_whom_the_passwd_file_does_not_list_is_refused_as_any_other(self) -> None:
        users = self.folder / "users"
        users.write_text("alice:{PLAIN}x::::/home/alice\n")
        checkers = [await self.started(PasswordFile(str(users))), await self.started(KerberosChecker())]
        store, mind = HomeStore(), Mind("192.0.2.1", False, "kpop")
        portal = make_portal(MailboxRealm(store, checkers), checkers)
        await portal.login(KerberosIdentity("alice@KPOP.TEST", b""), mind, IMaildrop)
        assert store.opened[0][0].home == "/home/alice"
        with capturedLogs() as events, pytest.raises(UnauthorizedLogin):
            await portal.login(KerberosIdentity("bob@KPOP.TEST", b""), mind, IMaildrop)
        assert [event["event"] for event in events] == ["auth.unlisted"]
        anywhere = make_portal(MailboxRealm(Store(), checkers), checkers)
        await anywhere.login(KerberosIdentity("bob@KPOP.TEST", b""), mind, IMaildrop)

    async def test_what_was_not_started_says_that_it_cannot_now(self) -> None:
        with pytest.raises(TemporaryFailure):
            await KerberosChecker().requestAvatarId(KerberosIdentity("alice@KPOP.TEST", b""))
