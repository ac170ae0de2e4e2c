"""Stores by the scheme of a user's own mail location: each under the contract, and what only the router has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from mailserver.errors import MaildropUnavailable, NoMaildrop, PermanentFailure, Unusable
from mailserver.interfaces import IStore, User
from mailserver.store import MaildirStore, MemoryStore, Router, open_stores
from mailserver.store.deleting import read_deleting
from mailserver.testing.contracts.store import ONE, TWO, contents
from tests.store.maildir.maildirs import MaildirCase
from tests.store.test_memory import MemoryContract
from tests.store.whole import WholeContract


class RoutedMemoryContract(MemoryContract):
    def setUp(self) -> None:
        self.inner = MemoryStore()
        self.store: Any = Router("memory", self.inner, {})

    def deliver(self, name: str, message: bytes) -> None:
        self.inner.add(name, message)

    def vanish(self, name: str, message: bytes) -> None:
        maildrop = self.inner.maildrop(name)
        for uidl in [uidl for uidl, stored in maildrop.items() if stored == message]:
            del maildrop[uidl]

    def stored(self, name: str) -> list[bytes]:
        return list(self.inner.maildrop(name).values())

    def make_deleting(self, setting: str) -> Any:
        self.inner = MemoryStore(deleting=read_deleting(setting))
        return Router("memory", self.inner, {})

    def trash(self, name: str) -> list[bytes]:
        return self.inner.trash(name)


class OwnMemoryContract(RoutedMemoryContract):
    """In a store that is made for those whose own mail location names it."""

    def setUp(self) -> None:
        self.inner = MemoryStore()
        self.store = Router("rados", Other(), {"memory": lambda: self.inner})

    def user(self, name: str) -> User:
        return User(name, mail="memory:")

    def make_deleting(self, setting: str) -> Any:
        super().make_deleting(setting)
        return Router("rados", Other(), {"memory": lambda: self.inner})


class RoutedMaildirContract(MaildirCase, WholeContract):
    def make(self, **options: Any) -> Any:
        return Router("maildir", super().make(**options), {})


class OwnMaildirContract(MaildirCase, WholeContract):
    def make(self, **options: Any) -> Any:
        return Router("memory", MemoryStore(), {"maildir": partial(self.made, **options)})

    def made(self, **options: Any) -> MaildirStore:
        store = MaildirStore(None, reactor, **options)
        self.addCleanup(store.stop)
        return store

    def user(self, name: str) -> User:
        (self.homes / name).mkdir(exist_ok=True)
        return User(name, mail=f"maildir:{self.homes}/%u/Maildir")


class DepositsInSeveralStores(MaildirCase):
    """Of one message for users of a Maildir, of memory, of no store, and of one that cannot be started or takes nothing."""

    def make(self, **options: Any) -> Any:
        self.memory = MemoryStore()
        schemes = {
            "memory": lambda: self.memory,
            "rados": lambda: Other(started=fail(Unusable("no server"))),
            "pop": Other,
        }
        return Router("maildir", super().make(**options), schemes)

    async def test_each_user_has_an_outcome_of_his_own(self) -> None:
        mails = (None, "memory:", "nfs:x", "rados:x", "pop:x", None, "memory:")
        users = [User(f"user{at}", mail=mail) for at, mail in enumerate(mails)]
        for message in (ONE, b"x" * 600_000 + b"\r\n"):
            deposit = await self.store.deposit(users, len(message))
            wait = deposit.write(message)
            assert (wait is None) is (message is ONE)
            if wait is not None:
                assert await wait is None
            outcomes = await deposit.commit()
            assert [type(each) for each in outcomes] == [
                type(None), type(None), NoMaildrop, MaildropUnavailable, NoMaildrop, type(None), type(None)
            ]  # fmt: skip
            for at in (0, 1, 5, 6):
                maildrop = await self.store.open(users[at], "me")
                assert await contents(await maybeDeferred(maildrop.fetch, len(maildrop.messages)), 1 << 20) == message
                maildrop.release()

    async def test_an_abort_is_one_of_all_stores(self) -> None:
        deposit = await self.store.deposit([User("alice"), User("bob", mail="memory:")], None)
        await deposit.write(b"x" * 600_000)
        deposit.abort()
        await self.store.stop()
        assert self.stored("alice") == []
        assert list((self.root("alice") / "tmp").iterdir()) == []
        assert self.memory.maildrop("bob") == {}

    async def test_a_fault_of_one_store_is_its_own_users(self) -> None:
        users = [User("alice"), User("bob", mail="memory:"), User("carol")]
        deposit = await self.store.deposit(users, None)
        deposit.write(ONE)
        self.patch(MemoryStore, "add", None)
        first, second, third = await deposit.commit()
        assert (first, third) == (None, None)
        assert isinstance(second, TypeError)

    async def test_a_commit_in_several_stores_cannot_be_cancelled(self) -> None:
        deposit = await self.store.deposit([User("alice"), User("bob", mail="memory:")], None)
        deposit.write(ONE)
        answer = deposit.commit().addErrback(lambda failure: failure.trap(CancelledError))
        answer.cancel()
        await self.store.stop()
        assert self.stored("alice") == list(self.memory.maildrop("bob").values()) == [ONE]

    async def test_the_usage_is_that_of_the_user_s_store(self) -> None:
        self.memory.add("bob", TWO)
        assert await self.store.usage(User("bob", mail="memory:")) == (1, len(TWO))
        assert await self.store.usage(User("bob")) == (0, 0)
        for mail in ("nfs:x", "pop:x"):
            with pytest.raises(NoMaildrop):
                await self.store.usage(User("bob", mail=mail))
        with pytest.raises(MaildropUnavailable):
            await self.store.usage(User("bob", mail="rados:x"))


@implementer(IStore)
class Other:
    """A store that notes what is asked of it; `started` and `stopped` are what its start and its stop answer."""

    needs = frozenset({"home"})

    def __init__(self, started: Deferred[None] | None = None, stopped: Deferred[None] | None = None) -> None:
        self.calls: list[Any] = []
        self.started = started
        self.stopped = stopped
        self.reloaded: Deferred[None] | None = None

    def start(self, reactor: object = None) -> Deferred[None]:
        self.calls.append(("start", reactor))
        return self.started or succeed(None)

    def reload(self) -> Deferred[None]:
        self.calls.append("reload")
        return self.reloaded or succeed(None)

    def stop(self) -> Deferred[None]:
        self.calls.append("stop")
        return self.stopped or succeed(None)

    def open(self, user: User, owner: str) -> Deferred[Any]:
        self.calls.append(user.name)
        return succeed(self)


def broken(error: Exception) -> Callable[[], IStore]:
    def make() -> IStore:
        raise error

    return make


class Routes(SynchronousTestCase):
    def router(self, **schemes: Any) -> Router:
        self.configured = Other()
        made = {name: (lambda store=store: store) for name, store in schemes.items()}
        return Router("maildir", self.configured, {"maildir": lambda: self.configured, **made})

    def opened(self, router: Router, name: str, mail: str | None = None) -> Any:
        return self.successResultOf(router.open(User(name, mail=mail), "me"))

    def test_each_user_gets_the_store_of_his_own_location_or_the_configured_one(self) -> None:
        rados = Other()
        router = self.router(rados=rados)
        self.successResultOf(router.start("the reactor"))
        assert self.opened(router, "alice") is self.configured
        assert self.opened(router, "bob", "maildir:/srv/bob") is self.configured
        assert rados.calls == [], "it is not made before it is used"
        assert self.opened(router, "carol", "rados:pool") is rados
        assert self.opened(router, "dave", "rados:pool") is rados
        assert self.configured.calls == [("start", "the reactor"), "alice", "bob"]
        assert rados.calls == [("start", "the reactor"), "carol", "dave"]

    def test_a_location_that_names_no_store_is_refused_and_nothing_else_is_opened(self) -> None:
        router = self.router(rados=Other())
        for mail in ("mbox:~/mail", "", ":", "~/Maildir", "Maildir:/srv/x", "/srv/alice", "rado"):
            why = self.failureResultOf(router.open(User("alice", mail=mail), "me"), NoMaildrop).value
            assert str(why) == f"the mail location {mail!r} of 'alice' names no store; known are maildir:, rados:"
            assert why.refusal is PermanentFailure
        assert self.configured.calls == []

    def test_a_long_location_is_shown_in_part(self) -> None:
        why = self.failureResultOf(self.router().open(User("alice", mail="x" * 1000), "me")).value
        assert len(str(why)) < 200

    def test_what_the_configured_store_needs_is_told(self) -> None:
        assert self.router(memory=MemoryStore()).needs == {"home"}
        assert open_stores("maildir:{home}/M", None).needs == {"home"}
        assert open_stores("memory:", None).needs == frozenset()

    def test_logins_that_come_together_wait_for_one_start(self) -> None:
        rados = Other(started=Deferred())
        router = self.router(rados=rados)
        first, second = (router.open(User(name, mail="rados:"), "me") for name in ("alice", "bob"))
        self.assertNoResult(second)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        assert rados.started is not None
        rados.started.callback(None)
        assert self.successResultOf(second) is rados
        assert rados.calls == [("start", None), "bob"]

    def test_a_store_that_cannot_be_started_is_reported_and_tried_again(self) -> None:
        rados = Other(started=fail(Unusable("no such cluster; write ceph.conf")))
        router = self.router(rados=rados)
        why = self.failureResultOf(router.open(User("alice", mail="rados:"), "me"), MaildropUnavailable).value
        assert str(why) == "the store rados: cannot be started: no such cluster; write ceph.conf"
        rados.started = None
        assert self.opened(router, "alice", "rados:") is rados

    def test_a_missing_library_is_reported_and_a_fault_is_one(self) -> None:
        for error, kind in ((ImportError("no rados", name="rados"), MaildropUnavailable), (KeyError("slip"), KeyError)):
            router = Router("maildir", Other(), {"rados": broken(error)})
            self.failureResultOf(router.open(User("alice", mail="rados:"), "me"), kind)

    def test_all_stores_in_use_are_reloaded_and_stopped_and_started_again(self) -> None:
        rados = Other()
        router = self.router(rados=rados, unused=(unused := Other()))
        self.successResultOf(router.start())
        self.opened(router, "alice", "rados:")
        for done in (router.reload(), router.stop(), router.start()):
            self.successResultOf(done)
        assert self.configured.calls == [("start", None), "reload", "stop", ("start", None)]
        assert rados.calls == [("start", None), "alice", "reload", "stop", ("start", None)]
        assert unused.calls == []

    def test_one_that_cannot_be_stopped_keeps_no_other_from_it(self) -> None:
        rados = Other()
        router = self.router(rados=rados)
        self.opened(router, "alice", "rados:")
        self.configured.stopped = fail(RuntimeError("stuck"))
        self.failureResultOf(router.stop(), RuntimeError)
        assert rados.calls[-1] == "stop"

    def test_a_start_that_fails_leaves_nothing_running(self) -> None:
        router = self.router(rados=(rados := Other()))
        self.opened(router, "alice", "rados:")
        rados.started = fail(Unusable("gone"))
        self.failureResultOf(router.start(), Unusable)
        assert self.configured.calls[-1] == rados.calls[-1] == "stop"

    def test_a_start_that_fails_is_reported_even_when_what_runs_cannot_be_stopped(self) -> None:
        router = self.router(rados=(rados := Other()))
        self.opened(router, "alice", "rados:")
        self.configured.stopped = fail(RuntimeError("stuck"))
        rados.started = fail(Unusable("gone"))
        self.failureResultOf(router.start(), Unusable)
        assert rados.calls[-1] == "stop"

    def test_one_that_cannot_be_reloaded_keeps_no_other_from_it_and_all_are_waited_for(self) -> None:
        rados = Other()
        router = self.router(rados=rados)
        self.opened(router, "alice", "rados:")
        self.configured.reloaded = fail(RuntimeError("broken"))
        rados.reloaded = Deferred()
        reloaded = router.reload()
        assert rados.calls[-1] == "reload"
        self.assertNoResult(reloaded)
        rados.reloaded.callback(None)
        self.failureResultOf(reloaded, RuntimeError)

    def test_a_stop_waits_for_a_start_and_no_other_begins(self) -> None:
        rados = Other(started=Deferred())
        router = self.router(rados=rados, late=(late := Other()))
        waiting = router.open(User("alice", mail="rados:"), "me")
        stopped = router.stop()
        self.assertNoResult(stopped)
        assert rados.started is not None
        rados.started.callback(None)
        self.successResultOf(waiting)
        self.successResultOf(stopped)
        assert rados.calls[-1] == "stop"
        self.failureResultOf(router.open(User("bob", mail="late:"), "me"), MaildropUnavailable)
        assert late.calls == []


class OpenedStores(TestCase):
    def setUp(self) -> None:
        self.homes = Path(self.mktemp()).absolute()
        self.homes.mkdir()

    async def test_one_user_s_mail_lies_in_a_maildir_and_another_s_in_memory(self) -> None:
        homes = self.homes
        for url, alice in (("memory:", f"maildir:{homes}/alice"), (f"maildir:{homes}/{{user}}", None)):
            router = open_stores(url, reactor)
            await router.start(reactor)
            (homes / "alice" / "new").mkdir(parents=True, exist_ok=True)
            (homes / "alice" / "new" / "1.M1P1.host").write_bytes(ONE)
            (homes / "bob").mkdir(exist_ok=True)
            first = await router.open(User("alice", mail=alice), "me")
            second = await router.open(User("bob", mail="memory:"), "me")
            assert [len(first.messages), len(second.messages)] == [1, 0]
            for maildrop in (first, second):
                maildrop.release()
            await router.stop()
        assert list((homes / "bob").iterdir()) == []


class StoresAlone(SynchronousTestCase):
    """Without a router a store refuses what is another's, too."""

    def test_a_location_elsewhere_is_refused(self) -> None:
        store = MemoryStore({"alice": [ONE, TWO]})
        for mail in ("maildir:~/Maildir", "memory:x", "memory", ""):
            self.failureResultOf(store.open(User("alice", mail=mail), "me"), NoMaildrop)
        self.successResultOf(store.open(User("alice", mail="memory:"), "me")).release()

    def test_a_maildir_store_for_own_locations_alone_has_no_place_for_others(self) -> None:
        store = MaildirStore(None, reactor)
        assert store.needs == frozenset()
        self.failureResultOf(store.open(User("alice", home="/home/alice"), "me"), NoMaildrop)


@pytest.mark.parametrize("url", ["maildri:/srv/{user}", "memory:x", "maildir:/srv"])
def test_a_url_that_cannot_be_is_as_wrong_for_all_stores_as_for_one(url: str) -> None:
    with pytest.raises(ValueError, match=r"scheme|path"):
        open_stores(url, None)
