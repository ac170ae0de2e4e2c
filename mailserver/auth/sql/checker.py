"""The ``sql:`` checker: users, their secrets and all that is known of them from a database."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from zope.interface import Interface, alsoProvides, implementer, noLongerProvides

from mailserver import reasons
from mailserver.auth.attributes import Row, read_entry, read_user
from mailserver.auth.decoys import Decoys
from mailserver.auth.entry import ONE_SECRET, Entry, abilities
from mailserver.auth.hashing import Hashing
from mailserver.auth.schemes import prepare
from mailserver.auth.sql.rows import spelling
from mailserver.auth.sql.settings import SqlFileError, read_settings
from mailserver.auth.sql.source import Source
from mailserver.auth.verified import VerifiedPasswords
from mailserver.auth.verifying import UNKNOWN, Others, Verifying
from mailserver.errors import LoginRefused, Unusable
from mailserver.foresight import IForesees, Prospect
from mailserver.interfaces import BY_SECRET, Census, IPart, IUserList, IUsers, IVerifiers, User
from mailserver.names import PLAIN, Names, user_name

MAX_EXPLAINED: Final = 1000
"""Users of whom the last answer can still be explained: an explanation follows at once."""

log = Logger()


@dataclass(frozen=True, slots=True)
class _Seen:
    """What an answer has shown of a user, without the secrets."""

    refusal: LoginRefused | None
    """Why nothing lets the user in; None: the right secret does."""
    able: frozenset[bytes] = frozenset()
    """The mechanisms that some secret can serve."""


@implementer(ICredentialsChecker, IUsers, IVerifiers, IForesees, IPart)
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
        self._reactor: Any = None
        self._source: Source | None = None
        self._verifying = Verifying(VerifiedPasswords(seconds), self._why, wall)
        self._decoys = Decoys()
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self.naming: Names = PLAIN
        """The rules by which names are read; the database must have them as they are read."""

    @property
    def hashing(self) -> Hashing:
        """The threads for slow hashes; checkers may share one `Hashing`, which is set before the start."""
        return self._verifying.hashing

    @hashing.setter
    def hashing(self, hashing: Hashing) -> None:
        self._verifying.hashing = hashing

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
        except BaseException as error:  # also when the start is cancelled
            await source.stop()
            if isinstance(error, SqlFileError):
                raise SqlFileError(f"{self._path}: {error}") from None
            raise
        return source

    def _take(self, source: Source) -> None:
        self._source = source
        self._verifying.verified = VerifiedPasswords(self._seconds, source.settings.remember_seconds)
        if source.lists:
            alsoProvides(self, IUserList)
        elif IUserList.providedBy(self):
            noLongerProvides(self, IUserList)

    def stop(self) -> Deferred[None]:
        """Close the connections, and forget the verified passwords."""
        source, self._source = self._source, None
        self._verifying.verified.clear()
        return succeed(None) if source is None else Deferred.fromCoroutine(self._stop(source))

    async def _stop(self, source: Source) -> None:
        await source.stop()
        await self.hashing.stop()

    def reload(self) -> Deferred[None]:
        """Read the file again, and forget the verified passwords. While the file is wrong, the old settings stay in use."""
        self._verifying.verified.clear()
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
        await old.retire()

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

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """The user's `UserId`, if the password or the digest is right. Errors: UnauthorizedLogin, TemporaryFailure."""
        if IUsernamePassword.providedBy(credentials):
            verify = self._verifying.password
        elif self._is_clear:
            verify = self._verifying.digest
        else:
            return fail(
                LoginRefused(
                    reasons.UNFIT_SECRET, known=None, said='the database has no passwords in clear: secrets is "hashed"'
                )
            )
        return self._entry(credentials.username).addCallback(lambda entry: verify(credentials, entry, self._others))

    def lookup(self, name: str) -> Deferred[User | None]:
        """The user with exactly this name."""
        if user_name(name) is None:
            return succeed(None)
        return self._running.user(name).addCallback(_found, name)

    def names(self, after: str, limit: int) -> Deferred[Sequence[str]]:
        """A page that the database has sorted; names that nobody can log in by are left out."""
        return self._running.names(after, limit, lambda name: self.naming.read(name) == name)

    def mechanisms(self) -> frozenset[bytes]:
        """SCRAM and DIGEST-MD5, if the database has passwords in clear."""
        return ONE_SECRET if self._is_clear else frozenset()

    def census(self) -> Census:
        """Nobody counts the users of a database; the file says what secrets they have."""
        return Census(uncounted=BY_SECRET if self._is_clear else frozenset())

    def verifier(self, name: bytes, mechanism: bytes, realm: bytes = b"", typed: bytes = b"") -> Deferred[object]:
        """The user's `ScramKeys`, or the MD5 for DIGEST-MD5. Errors: KeyError for a mechanism that is not in `mechanisms`."""
        if mechanism == b"DIGEST-MD5":
            return self._entry(name).addCallback(lambda entry: self._verifying.digest_key(typed or name, realm, entry))
        return self._entry(name).addCallback(
            lambda entry: self._verifying.scram_keys(name, mechanism, entry, self._others)
        )

    def foresee(self, name: bytes, mechanism: bytes) -> Deferred[Prospect]:
        """By an answer of the database. Errors: TemporaryFailure."""
        foreseen = self._entry(name).addCallback(lambda entry: self._verifying.foresee(name, entry, mechanism))
        return foreseen.addCallback(lambda prospect: replace(prospect, place=self._path))

    def explain(self, name: str, mechanism: bytes) -> LoginRefused:
        """The reason according to the last answer about this user."""
        seen = self._seen.get(name)
        if seen is None:
            return LoginRefused(reasons.WRONG_PASSWORD, known=None, said="the proof is wrong, or the user is unknown")
        if seen.refusal is not None:
            return seen.refusal
        if mechanism and mechanism not in seen.able:
            shown = mechanism.decode("ascii")
            return LoginRefused(
                reasons.UNFIT_SECRET, said=f"{shown} needs a password in clear, and the database has none of this user"
            )
        return LoginRefused(reasons.WRONG_PASSWORD)

    # How they are answered.

    @property
    def _running(self) -> Source:
        if self._source is None:
            raise RuntimeError(f"{self!r} is not running")
        return self._source

    @property
    def _others(self) -> Others:
        return Others(self._decoys.commonest, clear=self._is_clear)

    def _entry(self, octets: bytes) -> Deferred[Entry]:
        """The user's entry; `UNKNOWN` if there is none. Errors: TemporaryFailure."""
        name = user_name(octets)
        if name is None:
            self._note(octets.decode("utf-8", "replace"), _Seen(LoginRefused(reasons.INVALID_NAME, known=False)))
            return succeed(UNKNOWN)
        source = self._running
        return source.user_and_apps(name).addCallback(self._read, name, source.settings.password_scheme)

    def _read(self, answer: tuple[Row | None, Sequence[Row]], name: str, scheme: str) -> Entry:
        row, apps = answer
        if row is None or (other := spelling(name, row)) is not None:
            hint = "" if row is None else f'{other} is known; capitals matter unless names.case is "lower"'
            self._note(name, _Seen(LoginRefused(reasons.UNKNOWN_USER, hint, known=False)))
            return UNKNOWN
        entry = read_entry(name, row, apps, scheme)
        able = frozenset[bytes]().union(*map(abilities, entry.secrets())) - ONE_SECRET
        if entry.secret is not None:
            self._decoys.note(entry.secret)
            able |= abilities(entry.secret)
        self._note(name, _Seen(entry.refusal if entry.hopeless else None, able))
        return entry

    def _note(self, name: str, seen: _Seen) -> None:
        self._seen[name] = seen
        self._seen.move_to_end(name)
        if len(self._seen) > MAX_EXPLAINED:
            self._seen.popitem(last=False)

    def _why(self, name: bytes, mechanism: bytes) -> LoginRefused:
        return self.explain(name.decode("utf-8", "replace"), mechanism)


def _found(row: Row | None, name: str) -> User | None:
    return None if row is None or spelling(name, row) is not None else read_user(name, row)
