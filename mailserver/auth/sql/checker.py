"""The ``sql:`` checker: users, their secrets and all that is known of them from a database."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import md5
from typing import Any, Final

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import Interface, alsoProvides, implementer, noLongerProvides

from mailserver.auth.hashing import Hashing
from mailserver.auth.schemes import plausible, prepare
from mailserver.auth.scram_keys import DIGESTS, ITERATIONS, ScramSalts, derive
from mailserver.auth.sql.entries import Entry, Row, Stored, read_entry, read_user
from mailserver.auth.sql.settings import SqlFileError, read_settings
from mailserver.auth.sql.source import Source
from mailserver.auth.sql.work import Decoys
from mailserver.auth.verified import VerifiedPasswords
from mailserver.credentials import NO_NAME, CramMd5
from mailserver.errors import LoginRefused, Unusable
from mailserver.interfaces import BY_SECRET, Census, IPart, IUserList, IUsers, IVerifiers, User, UserId
from mailserver.names import PLAIN, Names, user_name
from mailserver.saslprep import prepared

MAX_EXPLAINED: Final = 1000
"""Users whose last exchange can still be explained: an explanation follows at once."""

log = Logger()


@implementer(ICredentialsChecker, IUsers, IVerifiers, IPart)
class SqlUsers:
    """A checker over a database, with its settings in a file. Call `start` before the first login.

    A login asks once. It also is an `IUserList` while the file has a statement that lists users.
    """

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
        self._source: Source | None = None
        self._cache = VerifiedPasswords(seconds)
        self._decoys = Decoys()
        self._salts = ScramSalts()
        self._fake = secrets.token_hex(16).encode("ascii")
        self._explained: OrderedDict[str, LoginRefused] = OrderedDict()
        self.naming: Names = PLAIN
        """The rules by which names are read; the database must have them as they are read."""
        self.hashing = Hashing()
        """The threads for slow hashes; checkers may share one `Hashing`, which is set before the start."""

    def __repr__(self) -> str:
        return f"SqlUsers({self._path!r})"

    # The part.

    def start(self, reactor: Any) -> Deferred[None]:
        """Read the file, and let the database read the statements; one that does not answer is logged.

        Errors: SqlFileError, ImportError, NoThreads.
        """
        self._reactor = reactor
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        source = await self._made()
        try:
            self.hashing.start(self._reactor)
        except Unusable:
            await source.stop()
            raise
        self._take(source)

    async def _made(self) -> Source:
        """A new source that has been checked. Errors: as `start`; then nothing is left running."""
        source = Source(read_settings(self._path), self._reactor)
        source.start()
        try:
            await source.check()
        except SqlFileError as error:
            await source.stop()
            raise SqlFileError(f"{self._path}: {error}") from None
        return source

    def _take(self, source: Source) -> None:
        self._source = source
        self._cache = VerifiedPasswords(self._seconds, source.settings.remember_seconds)
        if source.lists:
            alsoProvides(self, IUserList)
        elif IUserList.providedBy(self):
            noLongerProvides(self, IUserList)

    def stop(self) -> Deferred[None]:
        """Close the connections, and forget the verified passwords."""
        source, self._source = self._source, None
        self._cache.clear()
        return succeed(None) if source is None else Deferred.fromCoroutine(self._stop(source))

    async def _stop(self, source: Source) -> None:
        await source.stop()
        await self.hashing.stop()

    def reload(self) -> Deferred[None]:
        """Read the file again, and forget the verified passwords. While the file is wrong, the old settings stay in use."""
        self._cache.clear()
        return succeed(None) if self._source is None else Deferred.fromCoroutine(self._reload())

    async def _reload(self) -> None:
        try:
            new = await self._made()
        except (Unusable, ImportError) as error:
            log.warn(
                "{reason}; the old settings stay in use",
                event="auth.sql.kept",
                reason="; ".join(str(error).splitlines()),
            )
            return
        old = self._source
        if old is None:  # stopped meanwhile
            await new.stop()
            return
        self._take(new)
        await old.stop()

    # Questions.

    @property
    def credentialInterfaces(self) -> tuple[type[Interface], ...]:
        """Passwords; also digests, if the database has passwords in clear. Before the start, both."""
        if self._source is None or self._is_clear:
            return (IUsernamePassword, IUsernameHashedPassword)
        return (IUsernamePassword,)

    @property
    def _is_clear(self) -> bool:
        return self._source is not None and self._source.settings.secrets == "clear"

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """The user's `UserId`, if the password or the digest is right. Errors: UnauthorizedLogin, TemporaryFailure."""
        check = self._by_password if IUsernamePassword.providedBy(credentials) else self._by_digest
        return Deferred.fromCoroutine(check(credentials))

    def lookup(self, name: str) -> Deferred[User | None]:
        """The user with exactly this name."""
        if user_name(name) is None:
            return succeed(None)
        return self._running.user(name).addCallback(lambda row: self._found(name, row))

    def names(self, after: str, limit: int) -> Deferred[Sequence[str]]:
        """A page that the database has sorted; names that nobody can log in by are left out."""
        return self._running.names(after, limit, lambda name: self.naming.read(name) == name)

    def mechanisms(self) -> frozenset[bytes]:
        """SCRAM and DIGEST-MD5, if the database has passwords in clear."""
        return frozenset({*DIGESTS, b"DIGEST-MD5"}) if self._is_clear else frozenset()

    def census(self) -> Census:
        """Nobody counts the users of a database; the file says what secrets they have."""
        return Census(uncounted=BY_SECRET if self._is_clear else frozenset())

    def verifier(self, name: bytes, mechanism: bytes, realm: bytes = b"", typed: bytes = b"") -> Deferred[object]:
        """The user's `ScramKeys`, or the MD5 for DIGEST-MD5. Errors: KeyError for a mechanism that is not in `mechanisms`."""
        return Deferred.fromCoroutine(self._verifier(name, mechanism, realm, typed or name))

    def explain(self, name: str, mechanism: bytes) -> LoginRefused:  # noqa: ARG002 - the last question was for it
        """What the last question about this user has shown."""
        return self._explained.get(name) or LoginRefused("the proof is wrong, or the user is unknown", known=None)

    # How they are answered.

    @property
    def _running(self) -> Source:
        if self._source is None:
            raise RuntimeError(f"{self!r} is not running")
        return self._source

    def _found(self, name: str, row: Row | None) -> User | None:
        return None if row is None or _spelling(name, row) is not None else read_user(name, row)

    async def _entry(self, octets: bytes) -> Entry:
        """The user's entry. Errors: LoginRefused, if there is none; TemporaryFailure."""
        name = user_name(octets)
        if name is None:
            raise LoginRefused(NO_NAME, known=False)
        source = self._running
        row, apps = await source.user_and_apps(name)
        if row is None:
            raise LoginRefused("unknown user", known=False)
        other = _spelling(name, row)
        if other is not None:
            raise LoginRefused(
                "unknown user", f'{other} is known; capitals matter unless names.case is "lower"', known=False
            )
        entry = read_entry(name, row, apps, source.settings.password_scheme, self._wall())
        for each in entry.stored[:1]:
            self._decoys.note(each.secret)
        return entry

    async def _by_password(self, credentials: Any) -> bytes:
        name, password = credentials.username, credentials.password
        if not plausible(password):
            raise LoginRefused("the password is too long, or contains a NUL", known=None)
        try:
            entry = await self._entry(name)
        except LoginRefused:
            await self._spend(name, password, ())
            raise
        right = await self._right(name, password, entry.stored)
        if right is not None:
            return UserId(name, right.user)
        await self._spend(name, password, entry.stored)
        raise LoginRefused(entry.trouble or "wrong password")

    async def _right(self, name: bytes, password: bytes, stored: Sequence[Stored]) -> Stored | None:
        """The secret that the password is; those that cost a slow hash come last."""
        slow = []
        for each in stored:
            if not each.secret.slow:
                if each.secret.verify(password):
                    return each
            elif self._cache.knows(name, password, each.secret.text):
                return each
            else:
                slow.append(each)
        for each in slow:
            if await self.hashing.run(each.secret.verify, password):
                self._cache.remember(name, password, each.secret.text)
                return each
        return None

    async def _spend(self, name: bytes, password: bytes, stored: Sequence[Stored]) -> None:
        """Do the work of the commonest refusal, unless it is done: a quicker one would show which users exist."""
        decoy = self._decoys.commonest
        if any(each.secret.cost == decoy.cost for each in stored):
            return
        if decoy.slow:
            self._cache.knows(name, password, decoy.text)  # costs two microseconds, as for existing users
            await self.hashing.run(decoy.verify, password)
        else:
            decoy.verify(password)

    async def _by_digest(self, credentials: Any) -> bytes:
        """Verify APOP or CRAM-MD5 with a clear-text secret; for users without one, against a random secret."""
        try:
            entry = await self._entry(credentials.username)
        except LoginRefused:
            credentials.checkPassword(self._fake)
            raise
        clear = [each for each in entry.stored if each.secret.clear is not None] if self._is_clear else []
        for each in clear:
            if credentials.checkPassword(each.secret.clear):
                return UserId(credentials.username, each.user)
        if not clear:
            credentials.checkPassword(self._fake)
            mechanism = "CRAM-MD5" if isinstance(credentials, CramMd5) else "APOP"
            raise LoginRefused(entry.trouble or f"{mechanism} needs a password in clear, and the database has a hash")
        raise LoginRefused("wrong password")

    async def _verifier(self, octets: bytes, mechanism: bytes, realm: bytes, typed: bytes) -> object:
        clear, why = await self._clear(octets, mechanism)
        self._explained[octets.decode("utf-8", "replace")] = why
        if len(self._explained) > MAX_EXPLAINED:
            self._explained.popitem(last=False)
        password = prepared(self._fake if clear is None else clear)
        if mechanism == b"DIGEST-MD5":
            return md5(b":".join(map(_latin1, (typed, realm, password))), usedforsecurity=False).digest()
        salt = self._salts.salt(octets, mechanism)
        return await self.hashing.run(derive, password, salt, ITERATIONS, DIGESTS[mechanism])

    async def _clear(self, octets: bytes, mechanism: bytes) -> tuple[bytes | None, LoginRefused]:
        """The own password in clear, for an app password would let in with more rights; and why a proof by it is refused."""
        try:
            entry = await self._entry(octets)
        except LoginRefused as error:
            return None, error
        own = next((each.secret for each in entry.stored if not each.user.secret), None)
        if own is None or own.clear is None:
            said = f"{mechanism.decode('ascii')} needs a password in clear, and the database has none"
            return None, LoginRefused(entry.trouble or said)
        return own.clear, LoginRefused("wrong password")


def _spelling(name: str, row: Row) -> str | None:
    """The name as the database has it, for the log, if it is another; its collation may have taken both for the same."""
    octets = row.get("user")
    if octets is None or octets == name.encode("utf-8"):
        return None if "user" not in row or octets is not None else "no name"
    return ascii(octets.decode("utf-8", "replace")[:80])


def _latin1(octets: bytes) -> bytes:
    """UTF-8 converted to ISO 8859-1 where possible (RFC 2831 section 2.1.2.1)."""
    try:
        return octets.decode("utf-8").encode("latin-1")
    except UnicodeError:
        return octets
