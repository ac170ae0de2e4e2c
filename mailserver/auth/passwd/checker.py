"""The passwd-file checker: users, their passwords and home directories from a file in Dovecot's format."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from hashlib import md5
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.internet.defer import Deferred, execute, succeed
from zope.interface import Interface, implementer

from mailserver.answers import Answer, prompt, then
from mailserver.auth.hashing import Hashing
from mailserver.auth.hmac_md5 import CONTEXTS, hmac_md5, read_contexts
from mailserver.auth.passwd.extra_fields import NOWHERE
from mailserver.auth.passwd.reasons import refusal
from mailserver.auth.passwd.table import Entry, Table
from mailserver.auth.passwd.watch import WatchedTable
from mailserver.auth.schemes import Secret, plausible, prepare
from mailserver.auth.scram_keys import DIGESTS, ITERATIONS, ScramSalts, derive, read_keys
from mailserver.auth.users import page
from mailserver.auth.verified import VerifiedPasswords
from mailserver.credentials import CramMd5
from mailserver.errors import LoginRefused
from mailserver.interfaces import Census, IPart, IUserList, IVerifiers, User, UserId
from mailserver.names import Names
from mailserver.saslprep import prepared

UNKNOWN = Entry(User(""))
"""The entry of an unknown user, so that a login by an unknown name takes the same steps."""


@implementer(ICredentialsChecker, IUserList, IVerifiers, IPart)
class PasswordFile:
    """A checker over a passwd-file. Call `start` before the first login, or give `find_reactor` so that it starts itself.

    A change of the file counts from the next login. Fast schemes are verified at once; slow ones in a pool of threads, and
    a right password is then remembered. A refusal takes the same work whether the user exists or not. With a `domain`, in
    lower case, all users of the file are of that domain, and others are refused at once: many files cost a login no more
    than one.
    """

    def __init__(
        self,
        path: str,
        *,
        domain: str = "",
        find_reactor: Callable[[], Any] | None = None,
        seconds: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        prepare()
        self._file = WatchedTable(path, wall, domain)
        self._ending = "@" + domain if domain else ""
        self._wall = wall
        self._find_reactor = find_reactor
        self._cache = VerifiedPasswords(seconds)
        self._salts = ScramSalts()
        self._fake = secrets.token_hex(16).encode("ascii")
        self._fake_contexts = secrets.token_bytes(CONTEXTS)
        self._started = False
        self._sorted: tuple[Table | None, Sequence[str]] = (None, ())
        self.hashing = Hashing()
        """The threads; several passwd-files may share one `Hashing`, which is set before the start."""

    @property
    def naming(self) -> Names:
        """The rules by which the names in the file are read; set before the start."""
        return self._file.names

    @naming.setter
    def naming(self, naming: Names) -> None:
        self._file.names = naming

    def __repr__(self) -> str:
        return f"PasswordFile({self._file.path!r})"

    def start(self, reactor: Any) -> Deferred[None]:
        """Read the file and get the threads ready. Errors: PasswordFileError, NoThreads."""
        return execute(self._start, reactor)

    def _start(self, reactor: Any) -> None:
        if self._started:
            return
        self._file.load()
        self.hashing.start(reactor)
        self._started = True

    def stop(self) -> Deferred[None]:
        """Stop using the threads, and forget the verified passwords."""
        self._find_reactor = None  # a late login would start threads that nobody ends
        started, self._started = self._started, False
        self._cache.clear()
        return self.hashing.stop() if started else succeed(None)

    @prompt
    def reload(self) -> Answer[None]:
        """Read the file again if it has changed; before the start this does nothing."""
        return self._when_fresh(_nothing) if self._started else None

    @property
    def credentialInterfaces(self) -> tuple[type[Interface], ...]:
        """Passwords, and digests while some secret of the file can verify them; before the start, both."""
        if not self._started or b"CRAM-MD5" in self._file.table.able:
            return (IUsernamePassword, IUsernameHashedPassword)
        return (IUsernamePassword,)

    @prompt
    def requestAvatarId(self, credentials: Any) -> Answer[Any]:
        """The user's `UserId`, if the password or the digest is right. Errors: UnauthorizedLogin, TemporaryFailure."""
        if self._ending and not credentials.username.endswith(self._ending.encode("utf-8")):
            raise LoginRefused("unknown user: the domain is not the file's", known=False)
        check = self._check_password if IUsernamePassword.providedBy(credentials) else self._check_digest
        return self._when_fresh(check, credentials)

    @prompt
    def lookup(self, name: str) -> Answer[User | None]:
        """The user with exactly this name."""
        return self._when_fresh(self._lookup, name) if name.endswith(self._ending) else None

    @prompt
    def names(self, after: str, limit: int) -> Answer[Sequence[str]]:
        """A page of the table in force. The first one of a new table waits for its names to be sorted in a thread."""
        return self._when_fresh(self._page, after, limit)

    def mechanisms(self) -> frozenset[bytes]:
        """Those of SCRAM and DIGEST-MD5 that some secret of the file can serve."""
        table = self._file.table
        if table.clear:
            return frozenset({*DIGESTS, b"DIGEST-MD5"})
        return frozenset(name for name in DIGESTS if name.decode("ascii") in table.schemes)

    def census(self) -> Census:
        """The counts of the table in force."""
        return Census(self._file.table.users, self._file.table.able)

    @prompt
    def verifier(self, name: bytes, mechanism: bytes, realm: bytes = b"", typed: bytes = b"") -> Answer[object]:
        """The user's `ScramKeys`, or the MD5 for DIGEST-MD5. Errors: KeyError for a mechanism that is not in `mechanisms`."""
        if mechanism == b"DIGEST-MD5":
            return self._when_fresh(self._digest_key, name, realm, typed or name)
        return self._when_fresh(self._scram_keys, name, mechanism)

    def explain(self, name: str, mechanism: bytes) -> LoginRefused:
        """The reason according to the table in force."""
        table = self._file.table
        entry = table.entries.get(name.encode("utf-8", "surrogateescape"))
        return refusal(table, entry, name, self.naming, mechanism)

    def _when_fresh(self, question: Callable[..., Answer[Any]], *args: Any) -> Answer[Any]:
        if not self._started:
            self._start_late()
        if self._file.fresh():
            return question(*args)
        context = copy_context()  # one reading serves all who wait, but each goes on with its own `asker`
        return self._file.refresh(partial(self.hashing.read, self)).addCallback(lambda _: context.run(question, *args))

    def _start_late(self) -> None:
        if self._find_reactor is None:
            raise RuntimeError(f"{self!r} is not running")
        reactor = self._find_reactor()
        self._start(reactor)
        reactor.addSystemEventTrigger("during", "shutdown", self.stop)

    def _entry(self, name: bytes) -> Entry:
        return self._file.table.entries.get(name, UNKNOWN)

    def _lookup(self, name: str) -> User | None:
        entry = self._entry(name.encode("utf-8", "surrogateescape"))
        return None if entry is UNKNOWN else self._user(entry)

    def _user(self, entry: Entry) -> User:
        if entry.not_before <= self._wall():
            return entry.user
        return replace(entry.user, networks=NOWHERE, denied="delay_until denies the login for now")

    def _page(self, after: str, limit: int) -> Answer[Sequence[str]]:
        table = self._file.table
        if self._sorted[0] is table:
            return page(self._sorted[1], after, limit)
        ordered = self.hashing.read((self, "names"), _sorted_names, table)
        return ordered.addCallback(self._paged, table, after, limit)

    def _paged(self, ordered: Sequence[str], table: Table, after: str, limit: int) -> Sequence[str]:
        self._sorted = table, ordered
        return page(ordered, after, limit)

    def _check_password(self, credentials: Any) -> Answer[bytes]:
        name, password = credentials.username, credentials.password
        entry = self._entry(name)
        if not plausible(password):
            raise LoginRefused("the password is too long, or contains a NUL", known=None)
        if entry.any_password:
            return self._identity(name, entry)
        if entry.secret is None:
            return self._spend(name, password)
        if entry.secret.slow:
            return then(self._check_slowly(name, password, entry.secret), self._identity, entry)
        if entry.secret.verify(password):
            return self._identity(name, entry)
        decoy = self._file.table.decoy
        if decoy and decoy.slow:
            return self._spend(name, password)
        raise self._why(name)

    def _identity(self, name: bytes, entry: Entry) -> bytes:
        return UserId(name, self._user(entry))

    def _check_slowly(self, name: bytes, password: bytes, secret: Secret) -> Answer[bytes]:
        if self._cache.knows(name, password, secret.text):
            return name
        return self.hashing.run(secret.verify, password).addCallback(self._verified, name, password, secret)

    def _verified(self, right: bool, name: bytes, password: bytes, secret: Secret) -> Answer[bytes]:
        decoy = self._file.table.decoy
        if right:
            self._cache.remember(name, password, secret.text)
            return name
        if decoy is not None and decoy.cost != secret.cost:
            return self._spend(name, password)
        raise self._why(name)

    def _spend(self, name: bytes, password: bytes) -> Answer[bytes]:
        """Refuse after the work of the commonest refusal: a quicker one would show which users exist."""
        decoy = self._file.table.decoy
        if decoy is not None and decoy.slow:
            self._cache.knows(name, password, decoy.text)  # costs two microseconds, as for existing users
            return self.hashing.run(decoy.verify, password).addCallback(self._spent, name)
        if decoy is not None:
            decoy.verify(password)
        raise self._why(name)

    def _spent(self, _: object, name: bytes) -> bytes:
        raise self._why(name)

    def _why(self, name: bytes, mechanism: bytes = b"") -> LoginRefused:
        return self.explain(name.decode("utf-8", "replace"), mechanism)

    def _check_digest(self, credentials: Any) -> Answer[bytes]:
        """Verify APOP or CRAM-MD5 with a clear-text secret; for users without one, against a random secret."""
        entry = self._entry(credentials.username)
        secret = entry.secret
        if isinstance(credentials, CramMd5) and self._proved(secret, credentials):
            return self._identity(credentials.username, entry)
        clear = secret.clear if secret else None
        checked = credentials.checkPassword(self._fake if clear is None else clear)
        mechanism = b"CRAM-MD5" if isinstance(credentials, CramMd5) else b"APOP"
        known = None if clear is None else entry
        return then(checked, self._digest_checked, known, credentials.username, mechanism)

    def _proved(self, secret: Secret | None, credentials: CramMd5) -> bool:
        """Whether stored ``{CRAM-MD5}`` contexts produce the digest. The work is the same for all users of a file."""
        if "CRAM-MD5" not in self._file.table.schemes:
            return False
        stored = read_contexts(secret.text) if secret and secret.scheme == "CRAM-MD5" else None
        digest = hmac_md5(stored or self._fake_contexts, credentials.challenge).hex().encode("ascii")
        return hmac.compare_digest(digest, credentials.response) and stored is not None

    def _digest_checked(self, right: bool, known: Entry | None, name: bytes, mechanism: bytes) -> bytes:
        if not right or known is None:
            raise self._why(name, mechanism)
        return self._identity(name, known)

    def _digest_key(self, name: bytes, realm: bytes, typed: bytes) -> bytes:
        secret = self._entry(name).secret
        password = self._fake if secret is None or secret.clear is None else secret.clear
        parts = map(_latin1, (typed, realm, prepared(password)))
        return md5(b":".join(parts), usedforsecurity=False).digest()

    def _scram_keys(self, name: bytes, mechanism: bytes) -> Answer[object]:
        """Keys take the same work for every user: a quicker answer would show who exists, or whose keys are stored."""
        table, secret = self._file.table, self._entry(name).secret
        shown = secret if _has_keys(secret, mechanism) else table.decoy
        keys = read_keys(shown.text) if shown and _has_keys(shown, mechanism) else None
        stored = keys if shown is secret else None
        if not table.clear:
            fake = self._salts.fake(name, mechanism, keys.iterations if keys else ITERATIONS)
            return stored or fake
        password = prepared(secret.clear) if secret and secret.clear else self._fake
        salt = self._salts.salt(name, mechanism)
        derived = self.hashing.run(derive, password, salt, ITERATIONS, DIGESTS[mechanism])
        return derived.addCallback(lambda keys: stored or keys)


def _nothing() -> None:
    """What a reload asks for when the file is read."""


def _sorted_names(table: Table) -> Sequence[str]:
    return sorted(entry.user.name for entry in table.entries.values())


def _has_keys(secret: Secret | None, mechanism: bytes) -> bool:
    """Whether the stored secret is keys of this SCRAM mechanism."""
    return secret is not None and secret.scheme.encode("ascii") == mechanism


def _latin1(octets: bytes) -> bytes:
    """UTF-8 converted to ISO 8859-1 where possible (RFC 2831 section 2.1.2.1)."""
    try:
        return octets.decode("utf-8").encode("latin-1")
    except UnicodeError:
        return octets
