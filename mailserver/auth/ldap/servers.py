"""The servers of a directory: asked in their order, the next one while those before it do not answer.

A question that cannot be answered is a TemporaryFailure, and is logged once for each server until it answers again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.logger import Logger

from mailserver.asker import asker
from mailserver.auth.ldap.connection import Connection, Late, Lost, Trouble, connect
from mailserver.auth.ldap.messages import SUCCESS, Entry, Result, Scope, page, search
from mailserver.auth.ldap.settings import LdapFileError, LdapSettings, Server, Site
from mailserver.auth.ldap.turns import Turns
from mailserver.auth.lookups import start_lookups
from mailserver.auth.outage import Outage
from mailserver.errors import TemporaryFailure

MAX_WAITING: Final = 200
"""Logins that wait for a turn: more than a directory answers within the seconds of a login."""

SHARE: Final = 40
"""Logins of one address among them, such as an office's in the morning."""

Role = Literal["search", "bind"]
ROLES: Final = ("search", "bind")
T = TypeVar("T")
Work = Callable[[Connection], Awaitable[T]]

log = Logger()


class Line:
    """What one login at a time uses: a connection for searches and one for binds, each made when it is needed."""

    __slots__ = ("connections",)

    def __init__(self) -> None:
        self.connections: dict[Role, tuple[Server, Connection]] = {}

    def connection(self, role: Role, server: Server) -> Connection | None:
        """The open connection to this server, if there is one."""
        held = self.connections.get(role)
        return held[1] if held is not None and held[0] is server and not held[1].closed else None

    def close(self) -> None:
        """Close both."""
        for _, connection in self.connections.values():
            connection.close()
        self.connections.clear()


class Servers:
    """The servers of a site. `start` them, ask by a `Line`, and `stop` them."""

    def __init__(self, site: Site, reactor: Any) -> None:
        self._site = site
        self._settings: LdapSettings = site.settings
        self._reactor = reactor
        self._now: Callable[[], float] = reactor.seconds
        self._turns = Turns(self._settings.logins, MAX_WAITING, SHARE)
        self._idle: list[Line] = []
        self._used: set[Line] = set()
        self._contexts: dict[Server, Any] = {}
        # By what for, too: a server may find users and be unable to tell whether a password is right.
        self._down: dict[tuple[Server, Role], float] = {}
        self._outages = defaultdict[tuple[Server, Role], Outage](lambda: Outage(self._now))
        self._open = True
        self._last: Deferred[None] | None = None

    def start(self) -> None:
        """Read the authorities, and get threads ready for names. Errors: LdapFileError, NoThreads."""
        trust = _trust(self._settings.ca_file)
        for server in self._site.servers:
            if server.scheme != "ldapi":
                self._contexts[server] = _context(server, trust)
                start_lookups(self._reactor, "the directory's servers")

    def stop(self) -> Deferred[None]:
        """Close all connections. Questions under way fail; fires when nothing is left."""
        self._open = False
        lines = [*self._used, *self._idle]
        held = [connection for line in lines for _, connection in line.connections.values()]
        for line in tuple(self._used):
            for _, connection in tuple(line.connections.values()):
                connection.fail(Lost("the service ends"))
        for line in self._idle:
            line.close()
        self._idle.clear()
        return DeferredList([connection.gone() for connection in held]).addCallback(lambda _: None)

    def retire(self) -> Deferred[None]:
        """Stop when what is asked is answered, as each login is by its time."""
        if not self._used:
            return self.stop()
        self._last = Deferred[None]()
        return self._last.addCallback(lambda _: self.stop())

    async def in_turn(self, work: Callable[[Line], Awaitable[T]]) -> T:
        """The answer of `work`, when it is its turn to have a line. Errors: those of `work`; TemporaryFailure."""
        await self._turns.take(asker())
        line = self._idle.pop() if self._idle else Line()
        self._used.add(line)
        try:
            if not self._open:
                raise TemporaryFailure
            return await work(line)
        finally:
            self._used.discard(line)
            if self._open:
                self._idle.append(line)
            else:
                line.close()
            self._turns.give_back()
            if self._last is not None and not self._used:
                last, self._last = self._last, None
                last.callback(None)

    async def ask(self, line: Line, role: Role, work: Work[T]) -> T:
        """The answer of `work` by the first server that gives one. Errors: TemporaryFailure.

        A connection that broke while nobody used it, as all do when a server restarts, costs no login: the same server is
        asked once more by a new one.
        """
        for server in self._order(role):
            if not self._open:
                break
            held = line.connection(role, server)
            try:
                try:
                    answer = await self._by(line, role, server, held, work)
                except Lost:
                    if held is None:
                        raise
                    answer = await self._by(line, role, server, None, work)
            except Trouble as error:
                self._note((server, role), error)
            else:
                self._recovered((server, role))
                return answer
        raise TemporaryFailure

    async def _by(self, line: Line, role: Role, server: Server, held: Connection | None, work: Work[T]) -> T:
        if held is None:
            old = line.connections.pop(role, None)
            if old is not None:
                old[1].close()
            held = await self._connected(role, server)
            line.connections[role] = server, held
            if not self._open:
                held.abort()
                raise Lost("the service ends")
        try:
            return await work(held)
        except BaseException:
            held.abort()
            raise

    async def _connected(self, role: Role, server: Server) -> Connection:
        settings = self._settings
        context = self._contexts.get(server)
        made = await connect(self._reactor, server, context, settings.connect_seconds, start_tls=settings.start_tls)
        if role == "search" and settings.service_dn:
            try:
                secret = settings.service_password.encode("utf-8")
                result = await made.bind(settings.service_dn, secret, settings.operation_seconds)
            except BaseException:
                made.abort()
                raise
            if result.code != SUCCESS:
                made.abort()
                raise Trouble(f"service_dn may not log in: {result.words}")
        return made

    # Which server is asked, and what is told of it.

    def _order(self, role: Role) -> Sequence[Server]:
        """The servers that answer, in the file's order, and then the others: perhaps all are down.

        One that is down is tried again after some time, by one login, while others go on with the next server.
        """
        now = self._now()
        up = [each for each in self._site.servers if self._down.get((each, role), now) <= now]
        for each in up:
            if (each, role) in self._down:
                self._down[each, role] = now + self._settings.retry_seconds
        return up + [each for each in self._site.servers if each not in up]

    def _note(self, of: tuple[Server, Role], error: Trouble) -> None:
        now = self._now()
        for role in (
            ROLES if isinstance(error, Late | Lost) else of[1:]
        ):  # who does not answer binds answers no searches
            self._down[of[0], role] = now + self._settings.retry_seconds
        if self._open and self._outages[of].begins():
            log.warn(
                "{server} does not tell who may log in ({reason}): until it does, the next server is asked, and where no "
                "server answers, logins fail for now",
                event="auth.ldap.down",
                server=of[0].url,
                reason=str(error),
            )

    def _recovered(self, of: tuple[Server, Role]) -> None:
        if self._down:
            self._down.pop(of, None)
        if of in self._outages and self._outages[of].ends():
            log.info("{server} answers again", event="auth.ldap.up", server=of[0].url)


async def found(
    connection: Connection, settings: LdapSettings, base: str, scope: Scope, condition: bytes, *names: str
) -> tuple[list[Entry], Result]:
    """The entries of a search for one, of which two are enough to know that it is not one; and how it ended. Errors: Trouble."""
    request = search(base, scope, condition, names, limit=2, seconds=max(1, round(settings.operation_seconds)))
    return await connection.ask("search", request, seconds=settings.operation_seconds)


async def one_page(
    connection: Connection, settings: LdapSettings, condition: bytes, name: str, cookie: bytes
) -> tuple[list[Entry], bytes]:
    """A page of a search's entries, with where the next begins. Errors: Trouble."""
    request = search(settings.base, settings.scope, condition, [name])
    control = page(settings.page_size, cookie)
    entries, result = await connection.ask("search", request, control, seconds=settings.operation_seconds)
    if result.code != SUCCESS:
        raise Trouble(f"listing users: {result.words}")
    return entries, result.cookie


def _context(server: Server, trust: Any) -> Any:
    """What verifies the server. Errors: LdapFileError, for a host that no certificate can name."""
    try:
        return optionsForClientTLS(server.host, trust)
    except ValueError as error:
        raise LdapFileError(f"servers: {server.url}: {error}") from None


def _trust(path: str) -> Any:
    """The authorities of a file; None: the system's. Errors: LdapFileError."""
    if not path:
        return None
    try:
        found = x509.load_pem_x509_certificates(Path(path).read_bytes())
    except OSError as error:
        raise LdapFileError(f"ca_file: {path}: {error.strerror}") from None
    except ValueError:
        raise LdapFileError(f"ca_file: {path} has no certificates in PEM") from None
    return trustRootFromCertificates([Certificate.loadPEM(each.public_bytes(Encoding.PEM)) for each in found])
