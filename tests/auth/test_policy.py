"""A policy server is asked before each login and told after it; what it does not answer delays and ends no login."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import Interface, implementer

from mailserver.answers import prompt
from mailserver.auth.policy import LONGEST_DELAY, MOST_REQUESTS, RETRY_SECONDS, Policy
from mailserver.credentials import Password, Unproven
from mailserver.errors import AuthenticationFailed, LoginRefused, MaildropInUse, TemporaryFailure, Unusable
from mailserver.interfaces import IPart, IRevocable, Mind
from mailserver.net.door import Door, Visit
from mailserver.net.throttle import Throttle

FACTS = {"peer": "192.0.2.1", "user": "alice", "who": "alice"}
TOLD = {"login": "alice", "remote": "192.0.2.1", "protocol": "pop3s", "tls": True}
RIGHT, WRONG = Password(b"alice", b"secret"), Password(b"alice", b"guess")
GOOD = {"status": 0, "msg": ""}


class Server(Resource):
    """weakforced, as far as a client sees it. `answer` makes the reply of a command: JSON, octets, or None for silence."""

    isLeaf = True  # noqa: N815 - Twisted's

    def __init__(self) -> None:
        super().__init__()
        self.answer: Callable[[str], Any] = lambda command: GOOD if command == "allow" else {"status": "ok"}
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.raw = b""
        self.code = 200
        self.elsewhere = b""
        self.authorization: set[bytes | None] = set()
        self.waiting: list[Request] = []
        self._awaited: list[tuple[int, Deferred[None]]] = []

    def render_POST(self, request: Request) -> Any:
        data = request.content.read()
        self.raw += data
        self.authorization.add(request.getHeader(b"authorization"))
        command = request.args[b"command"][0].decode()
        self.told.append((command, json.loads(data)))
        due = [each for each in self._awaited if each[0] <= len(self.told)]
        self._awaited = [each for each in self._awaited if each not in due]
        for _count, awaited in due:
            awaited.callback(None)
        request.setResponseCode(self.code)
        if self.elsewhere:
            request.setHeader(b"location", self.elsewhere)
        said = self.answer(command)
        if said is None:
            request.notifyFinish().addErrback(lambda _: None)
            self.waiting.append(request)
            return NOT_DONE_YET
        return said if isinstance(said, bytes) else json.dumps(said).encode()

    def came(self, count: int) -> Deferred[None]:
        """Fires when so many requests have come."""
        if len(self.told) >= count:
            return succeed(None)
        awaited: Deferred[None] = Deferred()
        self._awaited.append((count, awaited))
        return awaited


@implementer(IRealm, IRevocable)
class Realm:
    trouble: Exception | None = None

    @prompt
    def requestAvatar(self, avatarId: bytes, mind: object, *interfaces: type[Interface]) -> Any:  # noqa: N803 - cred's
        if self.trouble is not None:
            raise self.trouble
        return interfaces[0], avatarId, lambda: None


class Late(Clock):
    """A clock of ours over the reactor's sockets: so no test waits."""

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class PolicyTests(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.server = Server()
        site = Site(self.server)
        self.port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.clock = Late()
        self.policy = Policy(f"http://wforce:s%20e@127.0.0.1:{self.port.getHost().port}/", self.clock)
        self.addCleanup(self.port.stopListening)
        self.addCleanup(self.policy.stop)
        self.realm = Realm()
        self.checker = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret")
        self.asked = 0
        check = self.checker.requestAvatarId

        def counted(credentials: Any) -> Any:
            self.asked += 1
            return check(credentials)

        self.checker.requestAvatarId = counted
        portal = self.policy.guard(Portal(self.realm, [self.checker]))
        self.door = Door(portal, Throttle(Clock(), 0), interfaces=(Interface,), adapt=lambda _, avatar: avatar)

    def log_in(self, credentials: Any = RIGHT, peer: str = "192.0.2.1") -> Deferred[Any]:
        visit = Visit(self.door, peer)
        return maybeDeferred(visit.log_in, credentials, Mind(peer, tls=True, listener="pop3s"))

    async def refused(self, credentials: Any = RIGHT) -> Exception:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - which one, the test says
            await self.log_in(credentials)
        return caught.value

    async def test_it_is_asked_before_a_login_and_told_how_it_ended_but_no_password(self) -> None:
        assert IPart.providedBy(self.policy)
        assert await self.log_in() == b"alice"
        await self.server.came(2)
        await self.refused(WRONG)
        await self.server.came(4)
        end = {**TOLD, "policy_reject": False}
        assert self.server.told == [
            ("allow", TOLD),
            ("report", {**end, "success": True}),
            ("allow", TOLD),
            ("report", {**end, "success": False}),
        ]
        assert b"secret" not in self.server.raw
        assert b"guess" not in self.server.raw
        assert self.server.authorization == {b"Basic d2ZvcmNlOnMgZQ=="}

    async def test_whom_it_rejects_is_refused_as_for_a_wrong_password_and_nothing_is_verified(self) -> None:
        self.server.answer = lambda _: {"status": -1, "msg": "too many\n" * 99}
        error = await self.refused()
        assert isinstance(error, LoginRefused)
        assert error.reason.isprintable()
        assert len(error.reason) < 120
        assert not self.asked
        await self.server.came(2)
        assert self.server.told[1] == ("report", {**TOLD, "success": False, "policy_reject": True})

    async def test_a_delay_that_it_orders_is_waited_for_but_not_for_ever(self) -> None:
        self.server.answer = lambda command: {"status": 3600 if command == "allow" else "ok"}
        login = self.log_in()
        await self.server.came(1)
        while not any(call.getTime() == LONGEST_DELAY for call in self.clock.getDelayedCalls()):
            await turn()
        assert not self.asked
        self.clock.advance(LONGEST_DELAY)
        assert await login == b"alice"

    async def test_where_it_is_down_or_lies_logins_go_on_and_that_is_said_once(self) -> None:
        lies = (b"<html>", b"[]", {"status": "0"}, {"status": True}, {}, b"[" * 60_000)
        for said in lies:
            self.server.answer = lambda _, said=said: said
            with capturedLogs() as events:
                for _ in range(3):
                    assert await self.log_in() == b"alice"
            assert [each["event"] for each in events if "event" in each] == ["auth.policy.down"], said
            assert "wforce" not in str(events)
            self.server.answer = lambda _: GOOD
            self.clock.advance(RETRY_SECONDS)
            count = len(self.server.told)
            with capturedLogs() as events:
                assert await self.log_in() == b"alice"
            await self.server.came(count + 2)
            assert [each["event"] for each in events if "event" in each] == ["auth.policy.up"]
        self.server.code = 500
        assert await self.log_in() == b"alice"
        self.server.code, self.server.answer = 200, lambda _: b'"' + b"x" * 70_000
        self.clock.advance(RETRY_SECONDS)
        assert await self.log_in() == b"alice"
        assert self.policy._is_bad
        await self.port.stopListening()
        self.clock.advance(RETRY_SECONDS)
        assert await self.log_in() == b"alice"

    async def test_nobody_is_asked_to_whom_it_points(self) -> None:
        self.server.code, self.server.elsewhere = 307, b"/elsewhere?command=allow"
        assert await self.log_in() == b"alice"
        assert len(self.server.told) == 1
        assert self.policy._is_bad

    async def test_one_that_hangs_delays_one_login_and_then_one_in_each_ten_seconds(self) -> None:
        self.server.answer = lambda _: None
        for round_ in range(1, 3):
            login = self.log_in()
            await self.server.came(round_)
            self.clock.advance(2)
            assert await login == b"alice"
            assert await self.log_in() == b"alice"
            assert len(self.server.told) == round_
            self.clock.advance(RETRY_SECONDS)

    async def test_a_login_that_is_given_up_asks_no_more(self) -> None:
        self.server.answer = lambda _: None
        login = self.log_in()
        await self.server.came(1)
        login.addErrback(lambda failure: failure.trap(CancelledError))
        login.cancel()
        await login
        assert not self.asked
        assert not self.policy._pending
        self.server.answer = lambda _: GOOD
        assert await self.log_in() == b"alice"
        await self.server.came(3)  # it is not taken for one that is down: else who leaves early could be rid of it

    async def test_a_client_that_leaves_while_its_password_is_verified_has_failed(self) -> None:
        self.checker.requestAvatarId = lambda _: Deferred()
        login = self.log_in()
        await self.server.came(1)
        while self.policy._pending:
            await turn()
        login.addErrback(lambda failure: failure.trap(CancelledError))
        login.cancel()
        await self.server.came(2)
        assert self.server.told[1][1]["success"] is False

    async def test_a_right_password_is_a_success_whatever_the_maildrop_does_but_not_where_the_realm_refuses(
        self,
    ) -> None:
        for trouble, success in (
            (MaildropInUse("held"), [True]),
            (LoginRefused("x"), [False]),
            (TemporaryFailure(), []),
        ):
            self.realm.trouble, self.server.told = trouble, []
            assert await self.refused() is trouble
            await self.server.came(1 + len(success))
            assert [facts["success"] for command, facts in self.server.told if command == "report"] == success

    async def test_a_login_that_failed_in_its_exchange_is_told_too(self) -> None:
        self.checker.credentialInterfaces = (*self.checker.credentialInterfaces, *implemented(Unproven))
        portal = self.policy.guard(Portal(self.realm, [self.checker]))
        self.door = Door(portal, Throttle(Clock(), 0), interfaces=(Interface,), adapt=lambda _, avatar: avatar)
        self.checker.requestAvatarId = lambda _: (_ for _ in ()).throw(AuthenticationFailed())
        await self.refused(Unproven(b"alice"))
        await self.server.came(2)
        assert self.server.told[1][1]["success"] is False

    async def test_over_a_unix_socket_there_is_no_address_to_ask_for(self) -> None:
        assert await self.log_in(peer="") == b"alice"
        assert not self.server.told

    async def test_too_many_requests_at_once_mean_that_it_is_too_slow(self) -> None:
        self.server.answer = lambda _: None
        logins = [self.log_in(Password(b"u%d" % n, b"x")) for n in range(MOST_REQUESTS)]
        with capturedLogs() as events:
            assert await self.log_in() == b"alice"
        assert [each["event"] for each in events if "event" in each] == ["auth.policy.down"]
        assert len(self.policy._pending) == MOST_REQUESTS
        for login in logins:
            login.addErrback(lambda _: None)
            login.cancel()


def implemented(kind: type) -> tuple[Any, ...]:
    from zope.interface import implementedBy

    return tuple(implementedBy(kind))[:1]


def turn() -> Deferred[None]:
    waited: Deferred[None] = Deferred()
    reactor.callLater(0, waited.callback, None)
    return waited


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1:8084/", "http://policy.example.org/", "ftp://127.0.0.1/", "127.0.0.1:8084", ""]
)
def test_a_url_by_which_others_could_listen_is_refused(url: str) -> None:
    with pytest.raises(Unusable, match="https"):
        Policy(url, Clock())


def test_what_the_portal_can_take_is_seen_through_it() -> None:
    class Checker:
        credentialInterfaces: tuple[Any, ...] = ()  # noqa: N815 - cred's

    checker, portal = Checker(), Portal(Realm())
    portal.checkers = {IPart: checker}
    guarded = Policy("https://policy.example.org/", Clock()).guard(portal)
    checker.credentialInterfaces = (IPart,)
    assert guarded.checkers[IPart].credentialInterfaces == (IPart,)
    assert type(guarded) is Portal
    assert IRevocable.providedBy(guarded.realm)
