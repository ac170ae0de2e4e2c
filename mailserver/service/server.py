"""What serves, made from the settings: the store, the portal, the certificates, and a factory for each kind of listener.

A process makes one of it, alone or as one of many workers.
"""

from __future__ import annotations

import socket
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields
from importlib import import_module
from typing import Any, Final, cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.portal import Portal
from twisted.cred.strcred import StrcredException, findCheckerFactory
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from mailserver.auth import Accounts, Hashing, MailboxRealm, PasswordFile, Users, make_oracle, make_portal
from mailserver.config.checks import mechanism_lists, unknown_kind
from mailserver.config.problems import Problems
from mailserver.config.settings import Config
from mailserver.envelope import EnvelopeHeaders
from mailserver.errors import ConfigError, unusable_for
from mailserver.interfaces import BY_SECRET, Census, IPart, IStore, IUsers
from mailserver.net import POP3ServerFactory
from mailserver.net.kpop import KPOPServerFactory
from mailserver.net.listener import Limits
from mailserver.net.places import Places
from mailserver.net.pop3_listener import chosen
from mailserver.net.stamp import MAX_GREETING, greeting_octets
from mailserver.net.story import Fetches
from mailserver.net.throttle import Throttle
from mailserver.pool import Pool
from mailserver.service.closing import stop_all
from mailserver.service.kerberos import Kerberos, make_kerberos
from mailserver.service.preload import load_all
from mailserver.store import SharedStore, open_store
from mailserver.tls.certificate_store import CertificateStore
from mailserver.tls.certificates import CertificateFiles
from mailserver.tls.renewal import CertificateWatch

DRAIN_SECONDS: Final = 10.0
"""How long a stop waits for transfers and commits; service managers kill after 30 to 90 s."""

_CLEARTEXT_ONLY = (
    "pop3 is served without TLS and cleartext is tls: it refuses passwords, and lets in by APOP and the like alone; "
    "give a certificate, or cleartext = loopback"
)

_NAMED = "which auth.mechanisms names: clients that choose it fail for all others"
_NOT_NAMED = "so it is not announced: clients that choose it would fail for all others; auth.mechanisms can name it"

log = Logger()


class Server:
    """One process's share of the work: make it, `start` it, ask it for factories, and `stop` it.

    Make it before root is given up, for it imports plugins and codecs, which the serving user need not be able to read.
    Start it after, for then it reads the files that it will read again. What is wrong with the settings is collected, with
    what the caller found in `problems`, and raised by `start`.
    """

    _portal: Portal
    _store: IStore | None = None

    def __init__(self, config: Config, reactor: Any, problems: Problems | None = None) -> None:
        load_all()
        self._problems = problems = Problems(config.places) if problems is None else problems
        self._config = config
        self._reactor = reactor
        self._hostname = config.hostname or socket.getfqdn()
        self._checkers: list[ICredentialsChecker] = []
        for description in config.auth.checkers:
            with problems.told("auth.checkers"):
                self._checkers.append(make_checker(description))
        named = problems.sound("names", "sdps")
        hashing = Hashing()  # one for all files: there may be a hundred
        for checker in self._checkers:
            if isinstance(checker, PasswordFile):
                checker.naming, checker.hashing = config.naming() if named else checker.naming, hashing
        if named and problems.sound("store.url", "auth.checkers"):
            with problems.told("store.url", ValueError):
                self._store = make_store(config, self._checkers, reactor)
        octets = greeting_octets(self._hostname, config.sdps.greeting)
        if octets > MAX_GREETING and problems.sound("hostname", "sdps.greeting"):
            problems.add(
                f"sdps.greeting: with the hostname, the greeting has {octets} octets; RFC 2449 allows {MAX_GREETING}"
            )
        for key, names in mechanism_lists(config):
            with problems.told(".".join(map(str, key)), ValueError):
                chosen(names)
        self._kerberos = make_kerberos(config, problems)
        self._places = Places(config.limits.connections, config.limits.connections_per_address)
        self._throttle = Throttle(reactor, config.limits.failure_delay_seconds)
        self._fetches = Fetches()
        self._certificates: CertificateStore | None = None
        self._watch: CertificateWatch | None = None
        self._factories: list[POP3ServerFactory] = []
        self._stops: list[Callable[[], object]] = []
        self._told: Census | None = None
        if not problems:
            self._assemble()

    def _assemble(self) -> None:
        """Put the parts together, when all of them could be made."""
        if self._kerberos is not None:
            self._checkers.append(self._kerberos.checker)
        users = make_users(self._config, self._checkers)
        realm = MailboxRealm(cast(IStore, self._store), users)
        self._portal = make_portal(realm, users, self._config.auth.masters)
        self._oracle = make_oracle(users, self._kerberos.gssapi if self._kerberos else None)

    async def start(self) -> None:
        """Read and check everything. Errors: ConfigError with all that is wrong; and faults. Then nothing is left running."""
        try:
            with self._problems.told("tls"):
                self._load_certificates()
            await self._start_kerberos()
            await self._start_checkers()
            await self._start_store()
            self._problems.check()
            self._tell_census()
        except BaseException:
            await self.stop(0)
            raise

    def factory(self, kind: str, endpoint: str) -> IProtocolFactory:
        """What a port of this kind ("pop3", "pop3s", "kpop") speaks, which was bound by this endpoint string."""
        served = self._kpop(endpoint) if kind == "kpop" else self._pop3(kind, endpoint)
        self._factories.append(served)
        return served.behind(
            tls=self._certificates if kind == "pop3s" else None,  # config refuses it without a certificate
            proxies=self._config.limits.proxies if endpoint.startswith("haproxy:") else None,
        )

    def _pop3(self, kind: str, endpoint: str) -> POP3ServerFactory:
        auth = self._config.auth
        if kind == "pop3" and auth.cleartext == "tls" and self._certificates is None:
            log.warn(_CLEARTEXT_ONLY, event="service.cleartext")
        return POP3ServerFactory(
            self._portal,
            cleartext=auth.cleartext,
            mechanisms=self._config.mechanisms(endpoint),
            client_name=self._config.tls.client_name if self._config.tls.client_ca else "",
            listener=kind,
            oracle=self._oracle,
            **self._common(endpoint),
        )

    def _kpop(self, endpoint: str) -> POP3ServerFactory:
        kerberos = cast(Kerberos, self._kerberos)  # config refuses KPOP without a keytab
        require_tls = self._config.kerberos.require_tls
        return KPOPServerFactory(self._portal, kerberos.acceptor, require_tls=require_tls, **self._common(endpoint))

    def _common(self, endpoint: str) -> dict[str, Any]:
        """What is the same for all kinds of listeners."""
        limits = self._config.limits
        return {
            "clock": self._reactor,
            "hostname": self._hostname,
            "tls": self._certificates,
            "limits": Limits(**{item.name: getattr(limits, item.name) for item in fields(Limits)}),
            "throttle": self._throttle,
            "places": self._places,
            "names": self._config.naming(endpoint),
            "greeting": self._config.sdps.greeting,
            "fetches": self._fetches,
        }

    def reload(self) -> Deferred[None]:
        """SIGHUP: read certificates and users again; what is broken is logged, and the old state stays. Never fails."""
        reloads: list[Deferred[None]] = [] if self._watch is None else [self._watch.reload()]
        for checker in self._checkers:
            if IPart.providedBy(checker):
                reloaded = maybeDeferred(cast(IPart, checker).reload)
                reloads.append(reloaded.addErrback(_not_reloaded))
        log.info("certificates and users are read again", event="service.reload")
        return DeferredList(reloads, consumeErrors=True).addCallback(lambda _: self._tell_census())

    async def stop(self, seconds: float = DRAIN_SECONDS) -> None:
        """End idle sessions, wait at most `seconds` for the others, and let go of everything."""
        factories, self._factories = self._factories, []
        drains = [factory.drain().addTimeout(seconds, self._reactor) for factory in factories]
        outcomes = await DeferredList(drains, consumeErrors=True)
        if not all(drained for drained, _ in outcomes):
            log.warn("sessions still under way after {seconds} s are cut", event="service.cut", seconds=seconds)
            for factory in factories:
                factory.abort()
        await stop_all(self._stops)

    def _load_certificates(self) -> None:
        tls = self._config.tls
        if not (tls.certificate and self._problems.sound("tls.certificate", "tls.key")):
            return
        files = [CertificateFiles(tls.certificate, tls.key)]
        if self._problems.sound("tls.certificates"):
            files += [CertificateFiles(pair.certificate, pair.key) for pair in tls.certificates]
        self._certificates = CertificateStore(files, tls.profile, client_ca=tls.client_ca)
        thread = Pool(
            self._reactor, 1, 10, "certificates"
        )  # a poll and a few reloads; what a hung disk holds up is its own
        thread.start()
        self._stops.append(thread.stop)
        self._watch = CertificateWatch(self._certificates, self._reactor, thread.run)
        self._watch.start()
        self._stops.append(self._watch.stop)

    async def _start_kerberos(self) -> None:
        if self._kerberos is None:
            return
        for each in filter(None, (self._kerberos.acceptor, self._kerberos.gssapi)):
            with self._problems.told("kerberos.keytab"):
                await each.start(self._reactor)
                self._stops.append(each.stop)

    async def _start_checkers(self) -> None:
        for checker in self._checkers:
            if IPart.providedBy(checker):
                with self._problems.told("auth.checkers"):
                    await checker.start(self._reactor)
                    self._stops.append(checker.stop)

    def _tell_census(self) -> None:
        """Say which mechanisms some users can use and others cannot, when that has changed."""
        census, told = self._oracle.census(), self._told
        self._told = census
        named = {name.encode("ascii") for _, names in mechanism_lists(self._config) for name in names}
        for mechanism in sorted(BY_SECRET):
            able = census.able.get(mechanism, 0)
            if mechanism in census.everybodys or not able:
                continue
            if told is not None and (told.users, told.able.get(mechanism)) == (census.users, able):
                continue
            log.emit(
                LogLevel.warn if mechanism in named else LogLevel.info,
                "{able} of {users} users can use {mechanism}, {consequence}",
                event="auth.mechanism",
                able=able,
                users=census.users if census.uncounted is None else f"{census.users} and uncounted",
                mechanism=mechanism.decode("ascii"),
                consequence=_NAMED if mechanism in named else _NOT_NAMED,
            )

    async def _start_store(self) -> None:
        if self._store is not None:
            with self._problems.told("store.url"):
                await self._store.start(self._reactor)
                self._stops.append(self._store.stop)


def _not_reloaded(failure: Failure) -> None:
    log.failure("a checker could not reload", failure, event="service.reload_failed")


def make_store(config: Config, checkers: Sequence[ICredentialsChecker], reactor: Any) -> IStore:
    """The store of the settings, if these checkers can serve it. Errors: ConfigError; ValueError, for the operator."""
    settings = config.store
    headers = EnvelopeHeaders(config.sdps.sender_headers, config.sdps.recipient_headers)
    store = open_store(settings.url, reactor, seen=settings.seen, io=settings.io, headers=headers)
    made = len(checkers) == len(config.auth.checkers)  # else one that could not be made may know the homes
    if made and "home" in store.needs and not any(map(IUsers.providedBy, checkers)):
        raise ConfigError(["store.url: no checker knows the {home} of users: use {user}, or a passwd-file"])
    return SharedStore(store, config.naming()) if config.sdps.accounts else store


def make_users(config: Config, checkers: Sequence[ICredentialsChecker]) -> Users:
    """The users of the checkers, and of the accounts of many users."""
    return Accounts(config.naming(), checkers) if config.sdps.accounts else Users(checkers)


def make_checker(description: str) -> ICredentialsChecker:
    """The checker of a strcred string. Errors: ConfigError, which quotes the kind alone: the rest may hold a secret."""
    problems = [f"auth.checkers: {text}" for text in unknown_kind(description)]
    if problems:
        raise ConfigError(problems)
    kind, _, argument = description.partition(":")
    if kind == "unix":
        _check_unix()
    if kind == "file" and not argument:
        # Twisted's own raises a ValueError for it, which from anybody else is a fault.
        raise ConfigError(["auth.checkers: file needs the location of a file: file:/path"])
    try:
        return cast(ICredentialsChecker, findCheckerFactory(kind).generateChecker(argument))
    except Exception as error:
        unusable = unusable_for(error, StrcredException)
        if unusable is None:
            raise
        raise ConfigError([f"auth.checkers: {kind}: {text}" for text in unusable.problems]) from error


def _check_unix() -> None:
    """Import what Twisted's checker of the system's users imports at a login. Errors: ConfigError, where it would let nobody in."""
    for name in ("crypt", "spwd"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they are deprecated, and the checker is Twisted's
                import_module(name)
        except ImportError:
            version = ".".join(map(str, sys.version_info[:2]))
            text = f"Python {version} has no module {name} (3.12 was the last), so nobody could log in"
            raise ConfigError([f"auth.checkers: unix: {text}: use passwd-file, or an older Python"]) from None
