"""A lost connection cancels its login; who comes out of it all the same is logged out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase
from zope.interface import directlyProvides, implementer

from mailserver.asker import asker
from mailserver.interfaces import IMaildrop, IRevocable
from mailserver.net.throttle import Throttle
from mailserver.pool import Pool
from tests.net.sessions import LOGIN, Maildrop, Talk, make_factory


@implementer(ICredentialsChecker)
class Checker:
    credentialInterfaces = (IUsernamePassword,)  # noqa: N815 - ICredentialsChecker names it so

    def __init__(self, check: Callable[[], Any]) -> None:
        self.check = check

    def requestAvatarId(self, credentials: Any) -> Any:
        return self.check()


@implementer(IRealm)
class Realm:
    """Its avatars come when they come."""

    def __init__(self) -> None:
        self.cancelled: list[object] = []
        self.avatar: Deferred[Any] = Deferred(self.cancelled.append)
        self.logouts: list[str] = []

    def requestAvatar(self, avatar_id: object, mind: object, *interfaces: object) -> Any:
        return self.avatar

    def arrive(self) -> None:
        self.avatar.callback((IMaildrop, Maildrop(()), lambda: self.logouts.append("out")))


class Own(Portal):
    """Somebody else's."""


class Cancelling(TestCase):
    def session(self, check: Callable[[], Any], realm: Realm, kind: type[Portal] = Portal) -> Talk:
        talk = Talk(make_factory(portal=kind(realm, [Checker(check)])), logged_in=False)
        talk.say(LOGIN)
        return talk

    def test_a_check_is_cancelled_and_nobody_is_told(self) -> None:
        gone: list[object] = []
        talk = self.session(lambda: Deferred(gone.append), Realm())
        with capturedLogs() as events:
            talk.lose()
        assert len(gone) == 1
        assert [event["event"] for event in events if event["event"] == "fault"] == []

    def test_an_avatar_that_comes_of_being_cancelled_is_logged_out(self) -> None:
        realm = Realm()
        directlyProvides(realm, IRealm, IRevocable)
        realm.avatar = Deferred(lambda _: realm.arrive())
        talk = self.session(lambda: succeed(b"alice"), realm)
        talk.lose()
        assert realm.logouts == ["out"]

    def test_an_avatar_that_arrives_late_is_logged_out(self) -> None:
        for kind in (Portal, Own):
            realm = Realm()
            talk = self.session(lambda: succeed(b"alice"), realm, kind)
            talk.lose()
            assert realm.logouts == realm.cancelled == []
            realm.arrive()
            assert realm.logouts == ["out"]

    def test_a_realm_that_says_so_is_cancelled_too(self) -> None:
        realm = Realm()
        directlyProvides(realm, IRealm, IRevocable)
        self.session(lambda: succeed(b"alice"), realm).lose()
        assert len(realm.cancelled) == 1

    def test_an_avatar_that_fails_late_is_nobodys_business(self) -> None:
        realm = Realm()
        self.session(lambda: succeed(b"alice"), realm).lose()
        realm.avatar.errback(RuntimeError())

    def test_a_logout_that_fails_late_is_told(self) -> None:
        realm = Realm()
        self.session(lambda: succeed(b"alice"), realm).lose()
        realm.avatar.callback((IMaildrop, Maildrop(()), lambda: 1 // 0))
        assert [failure.type for failure in self.flushLoggedErrors()] == [ZeroDivisionError]

    def test_a_commit_is_not_cancelled(self) -> None:
        gone: list[object] = []
        maildrop = Maildrop([b"one\r\n"])
        maildrop.commits = lambda: Deferred(gone.append)
        talk = Talk(make_factory(maildrop))
        talk.say(b"DELE 1\r\nQUIT\r\n")
        talk.lose()
        assert gone == []

    def test_a_fetch_is_not_cancelled_for_its_file_would_stay_open(self) -> None:
        gone: list[object] = []
        maildrop = Maildrop([b"one\r\n"])
        maildrop.answer = lambda body: Deferred(gone.append)
        talk = Talk(make_factory(maildrop))
        talk.say(b"RETR 1\r\n")
        talk.lose()
        assert gone == []
        assert maildrop.told == ["release"]

    async def test_forty_that_reset_cost_the_hashes_that_ran_and_the_next_is_somebody_elses(self) -> None:
        pool, gate = Pool(reactor, 2, 100, "passwords", share=20), threading.Event()
        hashed: list[str | None] = []
        done = threading.Semaphore(0)
        pool.start()
        self.addCleanup(pool.stop)
        self.addCleanup(gate.set)
        who: list[str | None] = []

        def hash_(name: str | None) -> bytes:
            gate.wait(60)
            hashed.append(name)
            done.release()
            return b"alice"

        def check() -> Deferred[bytes]:
            who.append(asker())
            return pool.run(hash_, asker(), key=asker())

        portal, clock = Portal(Realm(), [Checker(check)]), Clock()
        factory = make_factory(portal=portal, clock=clock, throttle=Throttle(clock, 0))

        def begin(peer: str) -> Talk:
            talk = Talk(factory, IPv4Address("TCP", peer, 1), logged_in=False)
            talk.say(LOGIN)
            return talk

        clients = [begin("192.0.2.1") for _ in range(40)]
        begin("2001:db8::1")
        for client in clients:
            client.lose()
        waited = pool.run(int, key="afterwards")
        gate.set()
        await gatherResults([waited])
        assert all(done.acquire(timeout=60) for _ in range(3))  # either thread may be the last
        assert sorted(map(str, hashed)) == ["192.0.2.1", "192.0.2.1", "20010db800000000"]
        assert who == ["192.0.2.1"] * 40 + ["20010db800000000"]
