"""The passwd-file checker: users, their passwords and home directories from a file in Dovecot's format."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.internet.defer import Deferred, execute, succeed
from zope.interface import Interface, implementer

from mailserver.answers import Answer, prompt
from mailserver.auth.entry import Entry
from mailserver.auth.hashing import Hashing
from mailserver.auth.passwd.reasons import refusal
from mailserver.auth.passwd.table import Table
from mailserver.auth.passwd.watch import WatchedTable
from mailserver.auth.schemes import prepare
from mailserver.auth.scram_keys import DIGESTS
from mailserver.auth.users import page
from mailserver.auth.verified import VerifiedPasswords
from mailserver.auth.verifying import UNKNOWN, Verifying
from mailserver.errors import LoginRefused
from mailserver.foresight import IForesees, Prospect
from mailserver.interfaces import Census, IPart, IUserList, IVerifiers, User, UserId
from mailserver.names import Names
from mailserver.reasons import UNKNOWN_USER


@implementer(ICredentialsChecker, IUserList, IVerifiers, IForesees, IPart)
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
        self._find_reactor = find_reactor
        self._verifying = Verifying(VerifiedPasswords(seconds), self._why, wall)
        self._started = False
        self._sorted: tuple[Table | None, Sequence[str]] = (None, ())

    @property
    def hashing(self) -> Hashing:
        """The threads; several passwd-files may share one `Hashing`, which is set before the start."""
        return self._verifying.hashing

    @hashing.setter
    def hashing(self, hashing: Hashing) -> None:
        self._verifying.hashing = hashing

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
        self._verifying.verified.clear()
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
            raise self._elsewhere()
        verify = self._verifying.password if IUsernamePassword.providedBy(credentials) else self._verifying.digest
        return self._when_fresh(self._verify, verify, credentials)

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
        if table.others.clear:
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

    @prompt
    def foresee(self, name: bytes, mechanism: bytes) -> Answer[Prospect]:
        """By the table in force, with the line's number in the file as it is by now."""
        if self._ending and not name.endswith(self._ending.encode("utf-8")):
            return Prospect(False, refusal=self._elsewhere())
        return self._when_fresh(self._foresee, name, mechanism)

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
        return None if entry is UNKNOWN else self._verifying.in_time(entry, entry.user)

    def _foresee(self, name: bytes, mechanism: bytes) -> Answer[Prospect]:
        prospect = self._verifying.foresee(name, self._entry(name), mechanism)
        if not prospect.known:
            return replace(prospect, place=self._file.path)
        return self.hashing.read((self, name), self._file.line_of, name).addCallback(self._placed, prospect)

    def _placed(self, number: int, prospect: Prospect) -> Prospect:
        return replace(prospect, place=f"{self._file.path}, line {number}" if number else self._file.path)

    def _elsewhere(self) -> LoginRefused:
        return LoginRefused(UNKNOWN_USER, known=False, said="unknown user: the domain is not the file's")

    def _page(self, after: str, limit: int) -> Answer[Sequence[str]]:
        table = self._file.table
        if self._sorted[0] is table:
            return page(self._sorted[1], after, limit)
        ordered = self.hashing.read((self, "names"), _sorted_names, table)
        return ordered.addCallback(self._paged, table, after, limit)

    def _paged(self, ordered: Sequence[str], table: Table, after: str, limit: int) -> Sequence[str]:
        self._sorted = table, ordered
        return page(ordered, after, limit)

    def _verify(self, verify: Callable[..., Answer[UserId]], credentials: Any) -> Answer[UserId]:
        return verify(credentials, self._entry(credentials.username), self._file.table.others)

    def _why(self, name: bytes, mechanism: bytes) -> LoginRefused:
        return self.explain(name.decode("utf-8", "replace"), mechanism)

    def _digest_key(self, name: bytes, realm: bytes, typed: bytes) -> bytes:
        return self._verifying.digest_key(typed, realm, self._entry(name))

    def _scram_keys(self, name: bytes, mechanism: bytes) -> Answer[object]:
        return self._verifying.scram_keys(name, mechanism, self._entry(name), self._file.table.others)


def _nothing() -> None:
    """What a reload asks for when the file is read."""


def _sorted_names(table: Table) -> Sequence[str]:
    return sorted(entry.user.name for entry in table.entries.values())
