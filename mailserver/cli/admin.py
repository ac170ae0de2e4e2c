"""What the operator's commands need of a configuration: its users and their maildrops, without a port, for as long as one command.

They work beside a running server, with the same files and databases. What they make in a maildrop must be the serving user's,
so they become this user first, as the server does.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogBeginner
from twisted.python.failure import Failure
from zope.interface import provider

from mailserver.auth import Users
from mailserver.cli.main import INTERRUPTED, tell, typed
from mailserver.config.problems import load_usable
from mailserver.config.settings import Config
from mailserver.config.shown import shown_checker
from mailserver.delivery.quota import Quotas
from mailserver.errors import ConfigError, MaildropInUse, NoMaildrop, Refusal, StoreError
from mailserver.incoming import IDeposits, Usage
from mailserver.interfaces import IPrivileged, IStore, IUserList, Quota, User
from mailserver.names import Names
from mailserver.service.checkers import make_checkers, make_users
from mailserver.service.failures import report
from mailserver.service.parts import Parts
from mailserver.service.preload import load_all
from mailserver.service.privileges import become
from mailserver.service.reporting import sentence
from mailserver.service.stores import make_store
from mailserver.upkeep import IUpkeep

PAGE: Final = 500
"""Names that are asked for at once: a second's work, and some kilobytes."""


class Denied(Exception):
    """This process has not the rights of the user that serves. The text says who has."""


class Unheard(Exception):
    """What the operator asked for cannot be written. The text is the system's; "": the reader has read enough."""


class Maildrops(NamedTuple):
    """Users, and the store of their maildrops."""

    config: Config
    naming: Names
    users: Users
    store: IStore

    async def find(self, name: str) -> User | None:
        """The user of a name as it may be typed at a login. Errors: a Refusal, if the database does not answer."""
        canonical = self.naming.read(name)
        return None if canonical is None else await self.users.lookup(canonical)

    async def usage(self, user: User) -> tuple[Quota, Usage]:
        """How full the user's maildrop may be, 0: there is no limit; and how full it is. Errors: StoreError."""
        limits = self.limits(user)
        return limits, await IDeposits(self.store).usage(replace(user, quota=limits))

    def limits(self, user: User) -> Quota:
        """How full the user's maildrop may be: the user's own quota, or the site's."""
        return Quotas(IDeposits(self.store), self.config.quota).of(user) or Quota()

    async def chosen(self, users: Sequence[str], everybody: bool) -> AsyncIterator[str]:
        """These names, each once, or those of all users. Errors: as of `names`."""
        if everybody:
            async for name in self.names():
                yield name
        for name in dict.fromkeys(users):
            yield name

    async def names(self) -> AsyncIterator[str]:
        """The names of all users. Errors: a Refusal; ConfigError where a checker cannot list its users."""
        if self.silent:
            raise ConfigError([f"auth.checkers: {', '.join(self.silent)} cannot list its users; name them"])
        async for name in self.listed():
            yield name

    async def listed(self) -> AsyncIterator[str]:
        """The names of the users of those checkers that can list them. Errors: a Refusal."""
        after = ""
        while page := await self.users.names(after, PAGE):
            for name in page:
                yield name
            after = page[-1]

    @property
    def silent(self) -> Sequence[str]:
        """The checkers that cannot list their users, as the settings name them."""
        return [name for name, each in self.checkers if not IUserList.providedBy(each)]

    @property
    def checkers(self) -> Sequence[tuple[str, object]]:
        """The checkers in their order, each with what the settings call it; what may be a secret is not in that."""
        names = map(shown_checker, self.config.auth.checkers)
        return list(zip(names, self.users.backends, strict=True))

    def upkeep(self) -> IUpkeep:
        """The store, for looking at maildrops and mending them."""
        return IUpkeep(self.store)


def unlisted(maildrops: Maildrops) -> int:
    """Say which checkers cannot list their users; the exit status of a command that has shown the others'."""
    for name in maildrops.silent:
        tell(f"mailserver: {name} cannot list its users: name them")
    return os.EX_UNAVAILABLE if maildrops.silent else os.EX_OK


Work = Callable[[Maildrops], Coroutine[Any, Any, int]]


def run(path: str, user: str | None, work: Work) -> int:
    """Do the work with the maildrops of the configuration at `path`, as `user` or else as its own; the exit status."""
    return in_reactor(partial(attempt, path, user, work), told)


def in_reactor(work: Callable[[Any], Coroutine[Any, Any, int]], observer: ILogObserver) -> int:
    """Do the work, which is handed the reactor, and let the observer have the log; the exit status."""
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)
    outcome: list[int] = []

    async def whole(reactor: Any) -> None:
        outcome.append(await work(reactor))

    try:
        react(lambda reactor: Deferred.fromCoroutine(whole(reactor)))
    except SystemExit as ended:
        return outcome[0] if outcome else int(ended.code or INTERRUPTED)  # Ctrl-C stops the reactor


def say(line: str) -> None:
    """Say something on standard output. Errors: Unheard."""
    with unheard():
        print(line, flush=True)  # noqa: T201 - this is for whom it is


@contextmanager
def unheard() -> Iterator[None]:
    """For writes to standard output, whose errors become Unheard."""
    try:
        yield
    except OSError as error:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)  # Python tries again at its end, and would complain
        raise Unheard("" if isinstance(error, BrokenPipeError) else str(error.strerror)) from None


def worst(statuses: Sequence[int]) -> int:
    """The status of a command about several users: what may be different later counts most, then what is the operator's to mend."""
    order = (os.EX_TEMPFAIL, os.EX_SOFTWARE, os.EX_CONFIG, os.EX_UNAVAILABLE)
    return next((each for each in order if each in statuses), max(statuses, default=os.EX_OK))


def excuse(error: Exception) -> tuple[str, int]:
    """What to say of an error that concerns one user, and the exit status. Errors: faults, as they came."""
    if isinstance(error, NoMaildrop):
        return str(error), os.EX_CONFIG
    if isinstance(error, MaildropInUse):
        return f"{str(error) or 'the maildrop is in use'}; `mailserver locks` tells more", os.EX_TEMPFAIL
    if isinstance(error, StoreError):
        return str(error) or type(error).__name__, os.EX_TEMPFAIL
    if isinstance(error, Refusal):
        return "the users' database does not answer now", os.EX_TEMPFAIL
    raise error


async def about(name: str, maildrops: Maildrops, act: Callable[[User], Awaitable[int]]) -> int:
    """Do something about one user; the exit status, also where there is no such user, or where it fails, which is said.

    Errors: faults; Unheard.
    """
    try:
        found = await maildrops.find(name)
        if found is not None:
            return await act(found)
        text, status = "there is no such user", 1
    except (StoreError, Refusal) as error:
        text, status = excuse(error)
    tell(f"mailserver: {typed(name)}: {text}")
    return status


async def attempt(path: str, user: str | None, work: Work, reactor: Any) -> int:
    """As `run`, in a reactor that runs already."""
    try:
        return await _work(path, user, work, reactor)
    except Denied as error:
        tell(f"mailserver: {error}")
        return os.EX_NOPERM
    except Unheard as error:
        if str(error):
            tell(f"mailserver: standard output: {error}")
        return os.EX_IOERR
    except Refusal:
        tell("mailserver: the users' database does not answer now")
        return os.EX_TEMPFAIL
    except Exception:  # noqa: BLE001 - `report` distinguishes configuration errors and faults
        return report(Failure())


async def _work(path: str, user: str | None, work: Work, reactor: Any) -> int:
    load_all()
    config, problems = load_usable(path)
    naming = config.naming() if problems.sound("names", "sdps") else None
    checkers = make_checkers(config.auth.checkers, naming, problems)
    store = make_store(config, naming, checkers, problems, reactor)
    parts = Parts(problems)
    for checker in checkers:
        parts.add(checker, "auth.checkers")
    parts.add(store, "store.url")
    if config.store.url.startswith("memory:"):
        problems.add("store.url: the maildrops are in the server's own memory, where no command sees them")
    if problems.sound("user"):
        with problems.collect("user"):
            for checker in filter(IPrivileged.providedBy, checkers):
                IPrivileged(checker).begin(reactor)
            take_rights(user or config.user)
    await parts.start(reactor)  # which also raises the problems so far
    try:
        assert naming is not None  # noqa: S101 - for mypy; without them there are problems
        assert store is not None  # noqa: S101
        return await work(Maildrops(config, naming, make_users(naming, checkers), store))
    finally:
        await parts.stop()


def take_rights(name: str) -> None:
    """Become the user that serves. Errors: Denied; ConfigError where there is no such user."""
    root = os.geteuid() == 0
    if root and not name:
        raise Denied(
            "root would leave files that the server cannot change: name the user that serves, by --user or by `user` in the settings"
        )
    if name and not root:
        try:
            own = pwd.getpwnam(name).pw_uid == os.geteuid()
        except KeyError:
            own = True  # `become` says it better
        if not own:
            raise Denied(f"the maildrops are {name}'s: run this as root, or as {name}")
    become(name)


@provider(ILogObserver)
def told(event: LogEvent) -> None:
    """What the operator should know of the log: warnings, and faults with their tracebacks."""
    level = event.get("log_level")
    if level is None or level < LogLevel.warn or event.get("event") == "service.config":  # which `report` has printed
        return
    if text := sentence(event):
        tell(f"mailserver: {text}")
