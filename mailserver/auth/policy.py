"""A policy server, such as weakforced: asked before each login whether it may be tried, and told after it how it ended.

It is a second guard behind the throttle, so where it does not answer, logins go on without it: its outage must not be one of the mail.
Then it is left alone for RETRY_SECONDS, so that one that hangs delays one login in that time and not each. It never hears of a password.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit, urlunsplit

from treq.client import HTTPClient
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import CancelledError, Deferred, execute, maybeDeferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http import OK
from zope.interface import implementer

from mailserver import reasons
from mailserver.asker import client
from mailserver.auth.lookups import start_lookups
from mailserver.auth.oauth.introspection import Body, InvalidAnswer
from mailserver.auth.oauth.settings import is_private
from mailserver.errors import AuthenticationFailed, LoginRefused, LoginTooSoon, StoreError, Unusable
from mailserver.interfaces import IPart, IRevocable, Mind
from mailserver.refusals import refusal_for

ANSWER_SECONDS: Final = 2.0
"""How long an answer may take: a policy server counts in memory, and people wait for it at each login."""

RETRY_SECONDS: Final = 10.0
"""How long it is left alone after it has not answered."""

LONGEST_DELAY: Final = 8.0
"""The longest delay that it may order, so that mail programs, which give up after 30 seconds, still get their reply."""

MOST_REQUESTS: Final = 100
"""Requests at once, as many as an issuer of tokens gets; with more it is too slow to be of use."""

Facts = Mapping[str, object]

log = Logger()


@implementer(IPart)
class Policy:
    """The policy server at a URL, with a name and a password for it before the host. Errors: Unusable."""

    def __init__(self, url: str, reactor: Any) -> None:
        parts = urlsplit(url)
        if not is_private(url):
            raise Unusable(
                "it must be an https: URL, or http: with this machine's address: names and addresses go there"
            )
        self._login = (unquote(parts.username or ""), unquote(parts.password or "")) if parts.username else None
        self._url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor)
        self._client: HTTPClient = HTTPClient(Agent(reactor, pool=self._pool))
        self._pending: set[Deferred[Any]] = set()
        self._retry_at = 0.0  # while it does not answer
        self._is_bad = False

    def start(self, _reactor: object) -> Deferred[None]:
        """Get threads ready for its name; a connection is made for the first login. Errors: NoThreads."""
        return execute(start_lookups, self._reactor, "policy servers")

    def reload(self) -> Deferred[None]:
        """Do nothing."""
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Cancel what is under way, and close the connections."""
        for request in tuple(self._pending):
            request.cancel()
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed

    def guard(self, portal: Portal) -> Portal:
        """A portal that lets in whom this one does, as far as the policy server allows."""
        kind = _RevocableRealm if IRevocable.providedBy(portal.realm) else _Realm
        guarded = Portal(kind(self, portal.realm))
        guarded.checkers = {
            iface: cast(ICredentialsChecker, _Checker(self, checker)) for iface, checker in portal.checkers.items()
        }
        return guarded

    @property
    def is_down(self) -> bool:
        """Whether it does not answer, so that logins go on without it."""
        return self._is_bad

    async def allow(self, facts: Facts) -> None:
        """Ask whether the login may be tried, and wait as long as that takes. Errors: LoginRefused."""
        try:
            seconds = await self.judge(facts)
        except LoginRefused:
            self.report(facts, success=False, policy_reject=True)
            raise
        if seconds:
            await deferLater(self._reactor, seconds)

    async def judge(self, facts: Facts) -> float:
        """The seconds that the login must wait; nothing is told of it. Errors: LoginRefused."""
        answer = await self._post("allow", facts)
        status: int = 0 if answer is None else answer["status"]
        if status < 0:
            said = f"the policy server refuses it: {ascii(answer and answer.get('msg'))[:80]}"
            raise LoginRefused(reasons.POLICY, known=None, said=said)
        return min(status, LONGEST_DELAY)

    def report(self, facts: Facts, *, success: bool, policy_reject: bool = False) -> None:
        """Tell how a login ended; nobody waits for that."""
        told = {**facts, "success": success, "policy_reject": policy_reject}
        Deferred.fromCoroutine(self._post("report", told)).addErrback(lambda failure: failure.trap(CancelledError))

    async def _post(self, command: str, facts: Facts) -> dict[str, Any] | None:
        """What the policy server says; None: it is left alone, or does not answer. Errors: CancelledError."""
        now = self._reactor.seconds()
        if now < self._retry_at:
            return None
        if self._is_bad:
            self._retry_at = now + RETRY_SECONDS  # this one tries it for all
        if len(self._pending) >= MOST_REQUESTS:
            self._bad(f"{MOST_REQUESTS} requests wait")
            return None
        request = _droppable(Deferred.fromCoroutine(self._ask(command, facts)))
        self._pending.add(request)
        try:
            answer: dict[str, Any] = await request.addTimeout(ANSWER_SECONDS, self._reactor)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an HTTP client raises, no login may end by it
            self._bad(str(error) if isinstance(error, InvalidAnswer) else type(error).__name__)
            return None
        finally:
            self._pending.discard(request)
        self._good()
        return answer

    async def _ask(self, command: str, facts: Facts) -> dict[str, Any]:
        response = await self._client.post(
            f"{self._url}?command={command}", json=facts, auth=self._login, allow_redirects=False
        )
        body = Body()
        response.deliverBody(body)
        data = await body.whole
        if response.code != OK:
            raise InvalidAnswer(f"status {response.code}")
        try:
            answer = json.loads(data)
        except (ValueError, RecursionError):
            raise InvalidAnswer("it is not JSON") from None
        if not isinstance(answer, dict) or (command == "allow" and type(answer.get("status")) is not int):
            raise InvalidAnswer("it has no status")
        return answer

    def _bad(self, reason: str) -> None:
        self._retry_at = self._reactor.seconds() + RETRY_SECONDS
        if not self._is_bad:
            self._is_bad = True
            log.error(
                "the policy server at {url} does not answer: {reason}; until it does, logins go on without it",
                event="auth.policy.down",
                url=self._url,
                reason=reason,
            )

    def _good(self) -> None:
        self._retry_at = 0.0
        if self._is_bad:
            self._is_bad = False
            log.info("the policy server at {url} answers again", event="auth.policy.up", url=self._url)


@implementer(ICredentialsChecker)
class _Checker:
    """A portal's checker, once the policy server has been asked."""

    def __init__(self, policy: Policy, checker: Any) -> None:
        self._policy = policy
        self._checker = checker

    @property
    def credentialInterfaces(self) -> Sequence[Any]:
        """Those of the checker, which may change."""
        interfaces: Sequence[Any] = self._checker.credentialInterfaces
        return interfaces

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """The checker's answer, or LoginRefused."""
        mind = client()
        if mind is None or not mind.peer:  # a Unix socket has no address to judge by
            return maybeDeferred(self._checker.requestAvatarId, credentials)
        return Deferred.fromCoroutine(self._asked(credentials, facts_of(mind, credentials.username)))

    async def _asked(self, credentials: Any, facts: Facts) -> Any:
        await self._policy.allow(facts)
        try:
            return await maybeDeferred(self._checker.requestAvatarId, credentials)
        except Exception as error:
            # A client that leaves while its password is verified has guessed.
            if isinstance(error, CancelledError) or isinstance(refusal_for(error), AuthenticationFailed):
                self._policy.report(facts, success=False)
            raise


@implementer(IRealm)
class _Realm:
    """A realm whose answers the policy server is told."""

    def __init__(self, policy: Policy, realm: Any) -> None:
        self._policy = policy
        self._realm = realm

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Deferred[Any]:  # noqa: N803 - cred's names
        """The realm's answer."""
        avatar = maybeDeferred(self._realm.requestAvatar, avatarId, mind, *interfaces)
        return Deferred.fromCoroutine(self._told(avatar, facts_of(mind, avatarId))) if mind.peer else avatar

    async def _told(self, avatar: Deferred[Any], facts: Facts) -> Any:
        try:
            answer = await avatar
        except Exception as error:
            if isinstance(refusal_for(error), AuthenticationFailed):
                self._policy.report(facts, success=False)
            elif isinstance(error, StoreError | LoginTooSoon):  # the secret was right
                self._policy.report(facts, success=True)
            raise
        self._policy.report(facts, success=True)
        return answer


@implementer(IRevocable)
class _RevocableRealm(_Realm):
    """As its realm, which releases what it opens when it is cancelled."""


def _droppable(request: Deferred[Any]) -> Deferred[Any]:
    """The same answer. A cancel is told as such, where Twisted's own client tells of a broken connection: nothing is down then."""

    def drop(answer: Deferred[Any]) -> None:
        answer.errback(CancelledError())
        request.cancel()

    answer: Deferred[Any] = Deferred(drop)
    request.addBoth(lambda result: None if answer.called else answer.callback(result))
    return answer


def facts_of(mind: Mind, name: bytes | str) -> Facts:
    """What the policy server is told of a login."""
    login = name if isinstance(name, str) else name.decode("utf-8", "replace")
    return {"login": login, "remote": mind.peer, "protocol": mind.listener, "tls": mind.tls}
