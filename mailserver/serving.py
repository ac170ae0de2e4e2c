"""What serves, made from the settings: the store, the portal, the certificates, and a factory for each kind of listener.

All of it reads files, so it is made by the user that serves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from typing import Any, Final, cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.portal import Portal
from twisted.cred.strcred import InvalidAuthType, findCheckerFactories, findCheckerFactory
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.defer import gatherResults, maybeDeferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from mailserver.auth import MailboxRealm, make_portal
from mailserver.config import Config, ConfigError
from mailserver.config_file import near_miss
from mailserver.interfaces import IStartable, IUsers
from mailserver.net import POP3ServerFactory
from mailserver.net.certificates import CertificateError, CertificateFiles
from mailserver.net.haproxy import ProxyFactory
from mailserver.net.listener import Limits
from mailserver.net.renewal import CertificateWatch
from mailserver.net.throttle import Throttle
from mailserver.net.tls import CertificateStore
from mailserver.store import needs_home, open_store

DRAIN_SECONDS: Final = 10.0
"""How long a stop waits for transfers and commits; service managers kill after 30 to 90 s."""

_CLEARTEXT_ONLY = (
    "pop3 is served without TLS and cleartext is tls: it refuses passwords, and lets in by APOP and the like alone; "
    "give a certificate, or cleartext = loopback"
)

log = Logger()


class Server:
    """One process's share of the work. `start` it, ask it for factories, and `stop` it."""

    def __init__(self, config: Config, reactor: Any) -> None:
        self._config = config
        self._reactor = reactor
        self._startables: list[IStartable] = []
        self._stops: list[Callable[[], object]] = []
        self._factories: list[POP3ServerFactory] = []
        self._certificates: CertificateStore | None = None
        self._watch: CertificateWatch | None = None
        self._portal: Portal
        self._throttle = Throttle(reactor, config.limits.failure_delay_seconds)

    async def start(self) -> None:
        """Read and check everything. Errors: ConfigError, and then nothing of it is left running."""
        try:
            self._load_certificates()
            checkers = [await self._start_checker(description) for description in self._config.auth.checkers]
            self._portal = make_portal(await self._open_realm(checkers), checkers)
        except BaseException:
            await self.stop(0)
            raise

    def factory(self, kind: str, *, proxied: bool) -> IProtocolFactory:
        """What a port of this kind ("pop3", "pop3s") speaks; `proxied`: behind PROXY headers."""
        config = self._config
        if kind == "pop3" and config.auth.cleartext == "tls" and self._certificates is None:
            log.warn(_CLEARTEXT_ONLY, event="service.cleartext")
        with _told("auth.mechanisms", ValueError):
            served = POP3ServerFactory(
                self._portal,
                clock=self._reactor,
                hostname=config.hostname or None,
                tls=self._certificates,
                cleartext=config.auth.cleartext,
                limits=Limits(**{item.name: getattr(config.limits, item.name) for item in fields(Limits)}),
                mechanisms=config.auth.mechanisms,
                listener=kind,
                throttle=self._throttle,
            )
        self._factories.append(served)
        wrapped: IProtocolFactory = served
        if kind == "pop3s":  # config refuses it without a certificate
            wrapped = TLSMemoryBIOFactory(cast(CertificateStore, self._certificates), False, served)
        return ProxyFactory(wrapped, config.limits.proxies, self._reactor) if proxied else wrapped

    def reload(self) -> None:
        """SIGHUP: read certificates and users again; what is broken is logged, and the old state stays."""
        if self._watch is not None:
            self._watch.reload()
        for checker in self._startables:
            maybeDeferred(checker.reload).addErrback(lambda failure: log.failure("a checker's reload failed", failure))
        log.info("certificates and users are read again", event="service.reload")

    async def stop(self, seconds: float = DRAIN_SECONDS) -> None:
        """End idle sessions, wait at most `seconds` for the others, and let go of everything."""
        factories, self._factories = self._factories, []
        drained = gatherResults([factory.drain() for factory in factories], consumeErrors=True)
        try:
            await drained.addTimeout(seconds, self._reactor)
        except DeferredTimeout:
            log.warn("sessions still under way after {seconds} s are cut", event="service.cut", seconds=seconds)
            for factory in factories:
                factory.abort()
        while self._stops:
            await maybeDeferred(self._stops.pop())

    def _load_certificates(self) -> None:
        tls = self._config.tls
        if not tls.certificate:
            return
        files = [CertificateFiles(tls.certificate, tls.key)]
        files += [CertificateFiles(pair.certificate, pair.key) for pair in tls.certificates]
        with _told("tls", CertificateError):
            self._certificates = CertificateStore(files, tls.profile)
        in_thread = partial(deferToThreadPool, self._reactor, self._reactor.getThreadPool())
        self._watch = CertificateWatch(self._certificates, self._reactor, in_thread)
        self._watch.start()
        self._stops.append(self._watch.stop)

    async def _start_checker(self, description: str) -> ICredentialsChecker:
        checker = make_checker(description)
        if IStartable.providedBy(checker):
            with _told(
                "auth.checkers", Exception
            ):  # whatever a checker's start raises is for the operator (IStartable)
                await checker.start(self._reactor)
            self._startables.append(checker)
            self._stops.append(checker.stop)
        return checker

    async def _open_realm(self, checkers: list[ICredentialsChecker]) -> MailboxRealm:
        settings = self._config.store
        with _told("store.url", ValueError):
            store = open_store(settings.url, self._reactor, seen=settings.seen, io=settings.io)
        users = [checker for checker in checkers if IUsers.providedBy(checker)]
        if needs_home(settings.url) and not users:
            raise ConfigError(["store.url: no checker knows the {home} of users: use {user}, or a passwd-file"])
        with _told("store.url", Exception):  # as with a checker (IStore)
            await store.start()
        self._stops.append(store.stop)
        return MailboxRealm(store, users)


def make_checker(description: str) -> ICredentialsChecker:
    """The checker of a strcred string. Errors: ConfigError, which quotes the kind alone: the rest may hold a secret."""
    kind, _, argument = description.partition(":")
    try:
        factory = findCheckerFactory(kind)
    except InvalidAuthType:
        known = [factory.authType for factory in findCheckerFactories()]
        text = f'auth.checkers: no kind of checker is called "{kind}"{near_miss(kind, known)}; see --help-auth'
        raise ConfigError([text]) from None
    with _told(f"auth.checkers: {kind}", Exception):  # a plugin may raise what it likes
        return cast(ICredentialsChecker, factory.generateChecker(argument))


@contextmanager
def _told(setting: str, errors: type[Exception]) -> Iterator[None]:
    """Turn `errors` into words for the operator."""
    try:
        yield
    except ConfigError:
        raise
    except errors as error:
        raise ConfigError([f"{setting}: {error}"]) from error
