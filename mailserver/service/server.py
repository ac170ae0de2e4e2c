"""The server of one process, made from the settings: a list of parts, and a factory for each port.

Each process that serves has one: a single process, or each worker process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger

from mailserver.auth import MailboxRealm, Users, make_oracle, make_portal
from mailserver.config.cores import cores
from mailserver.config.kinds import KINDS
from mailserver.config.problems import Problems
from mailserver.config.settings import Config
from mailserver.config.settings import Web as WebSettings
from mailserver.delivery.sweep import Sweep
from mailserver.errors import Unusable
from mailserver.interfaces import IDelays, IStore
from mailserver.modules import why_not
from mailserver.net.common.memory import CommonMemory
from mailserver.service import health
from mailserver.service.census import CensusLog
from mailserver.service.certificates import Certificates
from mailserver.service.checkers import make_checkers, make_users
from mailserver.service.control import control_factories
from mailserver.service.counting import LogCounts, databases, time_questions
from mailserver.service.deliveries import make_deliveries
from mailserver.service.explaining.walk import Explainer
from mailserver.service.gathering import Gathering
from mailserver.service.health import Readiness
from mailserver.service.kerberos import Kerberos, make_kerberos
from mailserver.service.listeners import Entrance, Listeners
from mailserver.service.measures import Measures
from mailserver.service.memories import Memories
from mailserver.service.parts import Parts
from mailserver.service.pauses import ShortPauses
from mailserver.service.preload import load_all
from mailserver.service.privileged import Privileged
from mailserver.service.questions import questions
from mailserver.service.questions.facts import Facts
from mailserver.service.record import Record, Watch
from mailserver.service.retention import make_expiry, make_sweep
from mailserver.service.stores import innermost, make_store, same_store
from mailserver.service.whole import Whole
from mailserver.tls.tickets import MemoryTickets
from mailserver.web.pages import Page

if TYPE_CHECKING:
    from mailserver.service.web import Web

log = Logger()


class Server:
    """One process's share of the work: make it, `start` it, ask it for factories, and `stop` it.

    Make it before root is given up, for it imports plugins and codecs, which the serving user need not be able to read.
    Start it after, for then its parts read the files that they will read again. What is wrong with the settings is collected,
    with what the caller has found, and raised by `start`. The server of a worker process has a memory in `common` with the others, and
    one of them `sweeps`. `whole` is whom operators' questions ask for a reload and a restart. A process that `was_root` cannot begin what begins as root.

    At a reload, another is made beside the one `before` it, which goes on if this one cannot start. With `take_over` the ports are
    this one's, and the other stays for its sessions.
    """

    _entrance: Entrance
    _census: CensusLog
    explainer: Explainer
    """What would become of a login."""
    store: IStore | None
    tickets: MemoryTickets
    whole: Whole | None
    privileged: Privileged
    memories: Memories
    pauses: ShortPauses
    sweep: Sweep | None = None
    _record: Record | None = None
    measures: Measures | None = None
    """What is shown of this process; None: nothing is counted."""

    def __init__(  # noqa: PLR0913 - what a process is given, the last by name
        self,
        config: Config,
        reactor: Any,
        problems: Problems,
        tickets: MemoryTickets | None = None,
        common: CommonMemory | None = None,
        *,
        sweeps: bool = True,
        before: Server | None = None,
        whole: Whole | None = None,
        was_root: bool = False,
    ) -> None:
        load_all()
        self._reactor = reactor
        self.readiness = Readiness(reactor)
        self.gathering = Gathering()
        self.config = config
        self.sweeps = sweeps
        self._before = before
        self.whole = before.whole if before else whole
        self.tickets = before.tickets if before else tickets or MemoryTickets()
        naming = config.naming() if problems.sound("names", "sdps") else None
        checkers = make_checkers(config.auth.checkers, naming, problems)
        self.privileged = Privileged(
            checkers, problems, reactor, before.privileged if before else None, was_root=was_root
        )
        checkers = self.privileged.checkers
        expiry = make_expiry(config.retention)
        opened = before.store if before and same_store(before.config, config) else None
        self.store = store = make_store(
            config, naming, checkers, problems, reactor, expiry, None if opened is None else innermost(opened)
        )
        kerberos = make_kerberos(config, problems)
        self._certificates = certificates = Certificates(config.tls, problems, self.tickets)
        self.memories = memories = before.memories if before else Memories.made(config, reactor, common)
        self.readiness.counts = memories.counts
        self.listeners = Listeners(config, certificates, problems, reactor, memories)
        self.parts = Parts(problems)
        """The parts; each comes after those that it needs."""
        self.parts.add(certificates, "tls")
        for part in kerberos.parts if kerberos else ():
            self.parts.add(part, "kerberos.keytab")
        for checker in checkers:
            self._add(checker, checker if self.privileged.is_kept(checker) else None, "auth.checkers")
        self._add(store, opened, "store.url")
        self._web = self._make_web(config.web, certificates, problems) if config.listen.shows_pages else None
        self.parts.add(self._web, "web.token_file")
        if store is not None and naming is not None and not problems:  # else `start` raises them, and nothing is served
            users = make_users(naming, [*checkers, kerberos.checker] if kerberos else checkers)
            if config.listen.shows_pages:
                named = databases(config.auth.checkers, checkers)
                self._count(named, users, store, certificates, config.workers or cores())
            self._entrance = make_entrance(config.auth.masters, users, store, kerberos, delays=memories.delays)
            if config.listen.lmtp:
                deliveries = make_deliveries(config, users, store, problems, self.parts)
                self._entrance = replace(self._entrance, deliveries=deliveries)
            if sweeps:
                self.sweep = make_sweep(config.retention, config.delivery.delete, users, store, expiry)
                self.parts.add(self.sweep, "retention")
            self.explainer = Explainer(
                config, self._entrance.portal, users, store, self.listeners, memories, reactor, kerberos
            )
            with problems.collect("auth.policy_url"):
                self._guard(config.auth.policy_url)
            mechanisms = chain.from_iterable(config.auth.mechanism_lists.values())
            self._census = CensusLog(self._entrance.oracle, mechanisms, problems)
            self.parts.add(self._census, "auth.mechanisms")
        self.parts.add(self.listeners, "listen")
        self.pauses = before.pauses if before else ShortPauses()
        self._add(self.pauses, self.pauses if before else None, "listen")

    def _add(self, part: object, running: object, setting: str) -> None:
        """Add a part; one that is `running` already, if under another name, is the one before's until `take_over`."""
        if running is None:
            self.parts.add(part, setting)
        else:
            self.parts.borrow(part, running, setting)

    def _count(
        self, named: Mapping[str, object], users: Users, store: IStore, certificates: Certificates, workers: int
    ) -> None:
        """Count what is shown on pages."""
        counts = self.memories.counts
        time_questions(users, named, store, counts, self._reactor)
        self.parts.add(LogCounts(counts), "listen")
        self.measures = Measures(
            counts=counts,
            listeners=self.listeners,
            throttle=self.memories.throttle,
            certificates=lambda: certificates.store,
            databases=named,
            workers=workers,
        )

    def _make_web(self, settings: WebSettings, certificates: Certificates, problems: Problems) -> Web:
        from mailserver.service.web import Web, metrics_page  # it imports an HTTP server, which few servers need

        pages = {
            "/healthz": Page(health.alive, public=True),
            "/readyz": Page(self.readiness.page, public=True),
            "/metrics": Page(metrics_page(self.gathering)),
        }
        if settings.status_page:
            from mailserver.service.status_page import StatusPage  # as above

            self._record = self.memories.record
            self.parts.add(Watch(self._record, self.memories.counts), "web.status_page")
            pages["/"] = Page(StatusPage(self.gathering, self._record, self.listeners.hostname, self._reactor).answer)
        return Web(pages, settings.token_file, certificates, problems)

    def _guard(self, policy_url: str) -> None:
        """Put a policy server in front of the portal, where one is configured. Errors: Unusable."""
        if not policy_url:
            return
        try:
            import treq  # noqa: F401 - to distinguish its absence from a fault of our module that imports it
        except ImportError as error:
            raise Unusable(f"a policy server needs more: {why_not(error, 'oauth')}") from None
        from mailserver.auth.policy import Policy  # it imports an HTTP client, which few servers need

        policy = Policy(policy_url, self._reactor)
        self._entrance = replace(self._entrance, portal=policy.guard(self._entrance.portal))
        self.explainer = replace(self.explainer, policy=policy)
        self.parts.add(policy, "auth.policy_url")

    async def start(self) -> None:
        """Read and check everything. Errors: ConfigError with all problems; faults. Then nothing is left running."""
        await self.parts.start(self._reactor)
        self.readiness.draining = False

    def factory(self, kind: str, endpoint: str) -> IProtocolFactory:
        """The factory for a port of this kind, such as "pop3", bound by this endpoint string."""
        if KINDS[kind].pages and self._web is not None:
            return self._web.factory(kind)
        return self.listeners.factory(kind, endpoint, self._entrance)

    def controls(self, number: int = 0, workers: int = 0) -> Sequence[IProtocolFactory]:
        """The factories of the operators' socket, and of the own one of a worker process with this number; no `workers`: they have none."""
        facts = Facts(
            self.listeners,
            self.memories,
            self._reactor,
            number,
            self.explainer,
            self.whole,
            config=self.config,
            measures=self.measures,
            certificates=self._certificates,
            record=self._record,
            ports=[(kind, endpoint) for kind in KINDS for endpoint in self.config.listen.of(kind)],
        )
        made = control_factories(questions(facts), self.config.listen.control, self._reactor, number, workers)
        self.gathering.begin(made[0], number, workers)
        if self.gathering.alone and self._web is not None:
            log.warn(
                "pages tell of one worker process at a time, whichever is asked: the others are asked by listen.control, which is not there",
                event="metrics.alone",
            )
        return made

    def successor(self, config: Config, problems: Problems) -> Server:
        """The server of other settings, with what this one remembers and what must go on. `start` it, and let it `take_over`."""
        return Server(config, self._reactor, problems, sweeps=self.sweeps, before=self)

    async def take_over(self) -> None:
        """Have what the one before has until now: its ports are for this one's factories."""
        before, self._before = self._before, None
        if before is None:
            return
        self.memories.adjust(self.config)
        self.privileged.follow()
        self.parts.take_over(before.parts)
        self.listeners.follow(before.listeners)
        if before.sweep is not None:
            await before.sweep.stop()

    def empty(self) -> Deferred[None]:
        """Fires when it has no session any more; it gets none when its ports are another's."""
        return Deferred.fromCoroutine(self.listeners.empty())

    def reload(self) -> Deferred[None]:
        """At SIGHUP: read certificates and users again. Errors are logged, and the old state stays. Never fails."""
        log.info("certificates and users are read again", event="service.reload")
        return self.parts.reload().addCallback(lambda _: self._census.log_changes())

    def drain(self) -> Deferred[None]:
        """End idle sessions, and wait some time for the others."""
        self.readiness.draining = True
        return self.listeners.stop()

    async def stop(self) -> None:
        """End idle sessions, wait some time for the others, and release everything."""
        self.readiness.draining = True
        await self.parts.stop()


def make_entrance(
    masters: Iterable[str], users: Users, store: IStore, kerberos: Kerberos | None, *, delays: IDelays | None = None
) -> Entrance:
    """The portal over all users and the store, and what else answers a login."""
    portal = make_portal(MailboxRealm(store, users, delays), users, masters)
    if kerberos is None:
        return Entrance(portal, make_oracle(users), None)
    return Entrance(portal, make_oracle(users, kerberos.gssapi), kerberos.acceptor)
