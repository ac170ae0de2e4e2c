"""The ``ldap:`` checker: users of a directory, whose passwords it proves by a bind, or by hashes that it reads."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from secrets import token_bytes
from typing import Any, Final, TypeVar

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred, execute, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer, noLongerProvides

from mailserver import reasons
from mailserver.auth.hashing import Hashing
from mailserver.auth.ldap.entries import read_found, read_secrets, spelled, version, why_refused
from mailserver.auth.ldap.filters import filled, given
from mailserver.auth.ldap.hashes import Hashes
from mailserver.auth.ldap.listing import first_names
from mailserver.auth.ldap.messages import Entry
from mailserver.auth.ldap.questions import Proof, Questions, Several
from mailserver.auth.ldap.servers import Line, Servers
from mailserver.auth.ldap.settings import LdapFileError, Site, read_settings
from mailserver.auth.schemes import plausible, prepare
from mailserver.auth.verified import VerifiedPasswords
from mailserver.errors import LoginRefused, TemporaryFailure, Unusable
from mailserver.foresight import IForesees, Prospect, Way
from mailserver.interfaces import IPart, IUserList, IUsers, User, UserId
from mailserver.names import PLAIN, Names

MAX_TOLD: Final = 1000
"""Names with several entries that were logged; each is logged once."""

UNREAD: Final = 'in mode = "bind" only users read their own entries: look with `ldapsearch -D` as the user; with service_dn it is told here'
UNPROVED: Final = "no server takes binds now, so that only a password gets in that is still remembered: see the log"
BOUND: Final = (
    "whether the directory lets the user in, who may be locked or expired, only a login tells: see the entry there"
)
"""What a login would tell besides the password."""

T = TypeVar("T")

log = Logger()


@implementer(ICredentialsChecker, IUsers, IForesees, IPart)
class LdapUsers:
    """A checker over a directory, with its settings in a file. Call `start` before the first login.

    It also is an `IUserList` while the directory lets it search for all users.
    """

    credentialInterfaces = (IUsernamePassword,)  # noqa: N815 - ICredentialsChecker names it so

    def __init__(
        self,
        path: str,
        *,
        seconds: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        prepare()
        self._path = path
        self._seconds = seconds
        self._wall = wall
        self._reactor: Any = None
        self._state: _State | None = None
        self.naming: Names = PLAIN
        """The rules by which names are read; set before the start."""
        self.hashing = Hashing()
        """The threads for slow hashes; checkers may share one `Hashing`, which is set before the start."""

    def __repr__(self) -> str:
        return f"LdapUsers({self._path!r})"

    # The part.

    def start(self, reactor: Any) -> Deferred[None]:
        """Read the file. The directory need not answer yet. Errors: LdapFileError, NoThreads."""
        return execute(self._start, reactor)

    def _start(self, reactor: Any) -> None:
        self._reactor = reactor
        made = self._made()
        self.hashing.start(reactor)
        self._take(made)

    def _made(self) -> _State:
        try:
            return _State(read_settings(self._path), self)
        except LdapFileError as error:
            raise LdapFileError(_placed(self._path, error)) from None

    def _take(self, state: _State) -> None:
        self._state = state
        if state.questions.lists:
            alsoProvides(self, IUserList)
        elif IUserList.providedBy(self):
            noLongerProvides(self, IUserList)

    def stop(self) -> Deferred[None]:
        """Close the connections, and forget the verified passwords."""
        state, self._state = self._state, None
        if state is None:
            return succeed(None)
        return state.servers.stop().addCallback(lambda _: self.hashing.stop())

    def reload(self) -> Deferred[None]:
        """Read the file again, and forget the verified passwords. While the file is wrong, the old settings stay in use.

        Logins under way are answered by the settings with which they began.
        """
        old = self._state
        if old is None:
            return succeed(None)
        old.hashes.memory.clear()
        try:
            self._take(self._made())
        except Unusable as error:
            log.warn("{reason}; the old settings stay in use", event="auth.ldap.kept", reason="; ".join(error.problems))
            return succeed(None)
        return old.servers.retire()

    # Questions.

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """The user's `UserId`, if the password is right. Errors: UnauthorizedLogin, TemporaryFailure."""
        state = self._running
        return state.in_time(state.login(credentials.username, credentials.password))

    def lookup(self, name: str) -> Deferred[User | None]:
        """The user with this name, as the account that searches sees it."""
        state = self._running
        return state.in_time(state.lookup(name))

    def foresee(self, name: bytes, mechanism: bytes) -> Deferred[Prospect]:  # noqa: ARG002 - it takes passwords alone
        """By the entry, and by its hashes where passwords are compared here. Errors: TemporaryFailure."""
        state = self._running
        return state.in_time(state.foresee(name.decode("utf-8", "replace")))

    def names(self, after: str, limit: int) -> Deferred[Sequence[str]]:
        """The first names after `after`: all entries are read, page by page, and no more than these names are kept."""
        return Deferred.fromCoroutine(self._running.names(after, limit))

    @property
    def _running(self) -> _State:
        if self._state is None:
            raise RuntimeError(f"{self!r} is not running")
        return self._state

    @property
    def reactor(self) -> Any:
        """The reactor, from the start on."""
        return self._reactor

    def now(self) -> float:
        """Seconds of the Unix epoch."""
        return self._wall()

    def memory(self, lifetime: float) -> VerifiedPasswords:
        """A new memory of passwords."""
        return VerifiedPasswords(self._seconds, lifetime)


class _State:
    """The state from one reading of the file; a reload replaces it as a whole."""

    def __init__(self, site: Site, checker: LdapUsers) -> None:
        self._site = site
        self._settings = site.settings
        self._checker = checker
        self.servers = Servers(site, checker.reactor)
        self.servers.start()
        self.questions = Questions(site, self.servers)
        self.hashes = Hashes(checker.hashing, checker.memory(site.settings.remembers), checker.now)
        self._several: OrderedDict[str, None] = OrderedDict()

    def in_time(self, question: Coroutine[Any, Any, T]) -> Deferred[T]:
        """The answer within the seconds that a login has. Errors: TemporaryFailure, and those of the question."""
        answer = Deferred.fromCoroutine(question)
        return answer.addTimeout(self._settings.seconds, self._checker.reactor, lambda *_: Failure(TemporaryFailure()))

    async def login(self, octets: bytes, password: bytes) -> bytes:
        """Prove a password. Errors: LoginRefused, TemporaryFailure."""
        try:
            name = octets.decode("utf-8")
        except UnicodeDecodeError:
            raise LoginRefused(reasons.INVALID_NAME, known=False, said="the name is not UTF-8") from None
        if not password:  # a directory would take it for a wish to stay anonymous, and say yes (RFC 4513 section 5.1.2)
            raise LoginRefused(reasons.ODD_PASSWORD, known=None, said="the password is empty")
        if not plausible(password):
            raise LoginRefused(reasons.ODD_PASSWORD, known=None)
        by = {"search": self._by_search, "bind": self._by_bind, "compare": self._by_hash}[self._settings.mode]
        return await self._told(name, self.servers.in_turn(lambda line: by(line, name, password)))

    async def lookup(self, name: str) -> User | None:
        """The user. Errors: TemporaryFailure."""
        entry = await self._told(name, self.servers.in_turn(lambda line: self.questions.entry(line, name)))
        if entry is None:
            return None
        canonical, _ = spelled(self._settings, entry, name, self._checker.naming)
        return None if canonical is None else read_found(self._settings, entry, canonical, self._checker.now())

    async def foresee(self, name: str) -> Prospect:
        """What a login of this name would be. Errors: TemporaryFailure."""
        if not self.questions.searches:
            await self.servers.in_turn(self._proves)
            return Prospect(None, doubt=UNREAD)
        compares = self._settings.mode == "compare"
        found = self.servers.in_turn(lambda line: self.questions.entry(line, name, secrets=compares))
        entry = await self._told(name, found)
        canonical, why = self._spelled(entry, name)
        if entry is None and self._settings.mode == "bind":  # as the bind will be refused
            return Prospect(
                None, refusal=LoginRefused(reasons.BACKEND, known=None, said="the directory has no such user")
            )
        if entry is None or canonical is None:
            return Prospect(False, refusal=LoginRefused(reasons.UNKNOWN_USER, why, known=False))
        if compares:
            read = read_secrets(self._settings, entry, canonical, self._checker.now())
            return replace(self.hashes.foresee(canonical, read), place=entry.dn)
        identity = self._identity(entry, canonical)
        bound = Prospect(True, [Way("", "", identity)], user=identity.user, place=entry.dn, doubt=BOUND)
        try:
            await self.servers.in_turn(self._proves)
        except TemporaryFailure:
            if not self._settings.remembers:
                raise
            return replace(bound, doubt=UNPROVED, down=True)
        return bound

    async def _proves(self, line: Line) -> None:
        """Whether the directory can tell right from wrong now, by a bind as nobody. Errors: TemporaryFailure."""
        await self.questions.bind(line, self.questions.nobody, token_bytes(16).hex().encode("ascii"))

    async def names(self, after: str, limit: int) -> Sequence[str]:
        """A page of names."""
        naming = self._checker.naming
        return await self.servers.in_turn(
            lambda line: first_names(self.questions.everybody(line), naming, after, limit)
        )

    async def _told(self, name: str, answer: Awaitable[T]) -> T:
        """The answer; that a name has several entries is logged, once, and is no answer about any of them."""
        try:
            return await answer
        except Several:
            if name not in self._several:
                self._several[name] = None
                if len(self._several) > MAX_TOLD:
                    self._several.popitem(last=False)
                log.error(  # noqa: TRY400 - it is not a fault of ours
                    "the directory has several entries for {user!r}, so that nobody can tell whose password is meant: "
                    "let the filter find one alone, or remove the others",
                    event="auth.ldap.several",
                    user=name,
                )
            raise TemporaryFailure from None

    # The three ways to prove a password.

    async def _by_search(self, line: Line, name: str, password: bytes) -> bytes:
        """Find the entry, and bind as it. For an unknown user there is a bind as well, which fails: it takes the same steps."""
        entry = await self.questions.entry(line, name)
        canonical, why = self._spelled(entry, name)
        if entry is not None and canonical is not None and self._remembers(canonical, password, entry):
            return self._identity(entry, canonical)
        dn = entry.dn if entry is not None and canonical is not None else self.questions.nobody
        result = await self.questions.bind(line, dn, password)
        if entry is None or canonical is None:
            raise LoginRefused(reasons.UNKNOWN_USER, why, known=False)
        if result.proof is not Proof.RIGHT:
            raise LoginRefused(reasons.BACKEND, said=why_refused(result.result))
        if self._settings.remembers:
            self.hashes.memory.remember(canonical.encode("utf-8"), password, version(entry))
        return self._identity(entry, canonical)

    async def _by_bind(self, line: Line, name: str, password: bytes) -> bytes:
        """Bind as the user, who then reads the own entry."""
        dn = filled(self._settings.bind_as, given(name))
        if not dn:  # the directory might take it for an anonymous bind, as with an empty password
            raise LoginRefused(reasons.INVALID_NAME, known=False)
        answer = await self.questions.bind_and_read(line, dn, name, password)
        if answer.proof is not Proof.RIGHT or answer.entry is None:
            known = False if answer.proof is Proof.NOBODY else None
            raise LoginRefused(reasons.BACKEND, known=known, said=why_refused(answer.result))
        canonical, why = self._spelled(answer.entry, name)
        if canonical is None:
            raise LoginRefused(reasons.UNKNOWN_USER, why, known=None)
        return self._identity(answer.entry, canonical)

    async def _by_hash(self, line: Line, name: str, password: bytes) -> bytes:
        """Read the hashes, and verify the password here."""
        entry = await self.questions.entry(line, name, secrets=True)
        canonical, why = self._spelled(entry, name)
        read = None
        if entry is not None and canonical is not None:
            read = read_secrets(self._settings, entry, canonical, self._checker.now())
        try:
            return await self.hashes.proved(canonical or name, password, read)
        except LoginRefused:
            if read is None:
                raise LoginRefused(reasons.UNKNOWN_USER, why, known=False) from None
            if read.hopeless:
                raise read.refusal from None
            raise

    def _remembers(self, canonical: str, password: bytes, entry: Entry) -> bool:
        """Whether a bind was right a short time ago; the search has just shown what attributes show."""
        return self.hashes.memory.knows(canonical.encode("utf-8"), password, version(entry))

    def _spelled(self, entry: Entry | None, name: str) -> tuple[str | None, str]:
        """The user's name, and the hint of a refusal."""
        return (None, "") if entry is None else spelled(self._settings, entry, name, self._checker.naming)

    def _identity(self, entry: Entry, canonical: str) -> UserId:
        return UserId(canonical.encode("utf-8"), read_found(self._settings, entry, canonical, self._checker.now()))


def _placed(path: str, error: Exception) -> str:
    """The error's lines, each with the file's name."""
    return "\n".join(line if line.startswith(path) else f"{path}: {line}" for line in str(error).splitlines())
