"""The checker of system users: PAM verifies the password, and the system's list of users has the home."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver import reasons
from mailserver.asker import client
from mailserver.auth.pam.link import Link
from mailserver.auth.pam.options import Options
from mailserver.auth.schemes import plausible
from mailserver.auth.verified import MAX_ENTRIES, VerifiedPasswords
from mailserver.errors import LoginRefused, TemporaryFailure
from mailserver.foresight import IForesees, Prospect, Way
from mailserver.interfaces import IPart, IPrivileged, IUsers, User, UserId
from mailserver.names import PLAIN, Names, user_name
from mailserver.pam.libpam import MAX_PASSWORD

LONGEST_DELAY: Final = 5.0
"""Seconds that modules may hold a refusal back; pam_unix wants about two, and nobody waits for more than is left of a login."""

LISTED: Final = "whether PAM lets the user in, who may be locked or expired, only a login tells: see `passwd -S`, `chage -l` and the service's file"
UNLISTED: Final = "the system's list of users has no such name (see `getent passwd`), so a module with users of its own has to know it"
REMEMBERED: Final = "PAM cannot be asked now, so that only a password gets in that is still remembered: see the log"
"""What a login would tell besides the password."""


@implementer(ICredentialsChecker, IUsers, IForesees, IPart, IPrivileged)
class PamUsers:
    """A checker that asks PAM by a process with rights of its own.

    Call `begin` before the process gives up root, and `start` after it; or give `find_reactor` so that it starts itself at its
    first login, with the rights of that moment.
    """

    credentialInterfaces = (IUsernamePassword,)  # noqa: N815 - ICredentialsChecker names it so

    def __init__(
        self,
        options: Options,
        *,
        find_reactor: Callable[[], Any] | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.options = options
        self._ending = "@" + options.domain if options.domain else ""
        self._find_reactor = find_reactor
        self._link = Link(options)
        self._cache = VerifiedPasswords(seconds, options.remember)
        self._remembered: dict[bytes, UserId] = {}
        self._reactor: Any = None
        self.naming: Names = PLAIN
        """The rules by which names that PAM tells are read; set before the start."""

    def __repr__(self) -> str:
        return f"PamUsers({self.options.service!r})"

    def begin(self, reactor: Any) -> None:
        """Start the process that asks PAM, with the rights of this moment. Errors: OSError."""
        self._link.begin(reactor)

    def stands_for(self, other: object) -> bool:
        """Whether it was made of the same options; its `naming` can be the other one's."""
        return isinstance(other, PamUsers) and other.options == self.options

    def start(self, reactor: Any) -> Deferred[None]:
        """Get ready, and find out whether PAM can work. Errors: PamUnusable, NoThreads, OSError."""
        self._reactor = reactor
        return self._link.start(reactor)

    def reload(self) -> Deferred[None]:
        """Forget the verified passwords. PAM reads its own files at each login."""
        self._forget()
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """End the process, and forget the verified passwords."""
        self._find_reactor = None  # a late login would start what nobody ends
        self._forget()
        return self._link.stop()

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """The user's `UserId`, if PAM takes the password. Errors: UnauthorizedLogin, TemporaryFailure."""
        name, password = credentials.username, credentials.password
        bare = self._bare(user_name(name))
        if bare is None:
            return fail(self._foreign())
        if not password or not plausible(password) or len(password) > MAX_PASSWORD:
            said = f"the password is empty, has more than {MAX_PASSWORD} octets, or contains a NUL"
            return fail(LoginRefused(reasons.ODD_PASSWORD, known=None, said=said))
        mind = client()
        peer = mind.peer if mind else ""
        if self._cache.knows(name, password, peer.encode()) and name in self._remembered:
            return succeed(self._remembered[name])
        question = {
            "ask": "login",
            "name": bare,
            "password": password.decode("utf-8", "surrogateescape"),
            "peer": peer,
        }
        return self._ask(question).addCallback(self._judged, name, password, peer)

    def lookup(self, name: str) -> Deferred[User | None]:
        """The system's user, if one may log in by this name. Errors: TemporaryFailure."""
        bare = self._bare(user_name(name))
        if bare is None:
            return succeed(None)
        return self._ask({"ask": "user", "name": bare}).addCallback(self._found)

    def foresee(self, name: bytes, mechanism: bytes) -> Deferred[Prospect]:  # noqa: ARG002 - it takes passwords alone
        """By the system's list of users: the modules are not asked, since they count what they are asked. Errors: TemporaryFailure."""
        bare = self._bare(user_name(name))
        if bare is None:
            return succeed(Prospect(False, refusal=self._foreign()))
        return self._ask({"ask": "user", "name": bare}).addCallbacks(
            self._foreseen, self._unforeseen, (name,), errbackArgs=(name,)
        )

    def _unforeseen(self, failure: Failure, name: bytes) -> Prospect:
        failure.trap(TemporaryFailure)
        if name not in self._remembered:
            raise TemporaryFailure
        return Prospect(True, [Way("", "", self._remembered[name])], doubt=REMEMBERED, down=True)

    def _foreseen(self, answer: dict[str, Any], name: bytes) -> Prospect:
        if answer["verdict"] != "taken" and answer.get("reason"):
            return Prospect(False, refusal=LoginRefused(reasons.UNKNOWN_USER, known=False, said=answer["reason"]))
        user = self._found(answer)
        way = Way("", "", UserId(name, user or User(name.decode("utf-8"))))
        return Prospect(True if user else None, [way], user=user, doubt=LISTED if user else UNLISTED)

    def _foreign(self) -> LoginRefused:
        """The refusal of a name that can be no user's here."""
        if self._ending:
            return LoginRefused(reasons.UNKNOWN_USER, known=False, said="unknown user: the domain is not PAM's")
        return LoginRefused(reasons.INVALID_NAME, known=False)

    def _bare(self, name: str | None) -> str | None:
        """The name as PAM has it; None if it can be no user's here."""
        if name is None or not name.endswith(self._ending):
            return None
        return name.removesuffix(self._ending) or None

    def _ask(self, question: dict[str, Any]) -> Deferred[dict[str, Any]]:
        if self._link.running or self._find_reactor is None:
            return self._link.ask(question)
        reactor = self._find_reactor()
        end = partial(reactor.addSystemEventTrigger, "during", "shutdown", self.stop)
        return (
            self.start(reactor).addCallback(lambda _: cast(None, end())).addCallback(lambda _: self._link.ask(question))
        )

    def _judged(self, answer: dict[str, Any], name: bytes, password: bytes, peer: str) -> Any:
        if answer["verdict"] != "taken":
            why = reasons.UNKNOWN_USER if answer["known"] is False else reasons.BACKEND
            refusal = LoginRefused(why, answer["hint"], known=answer["known"], said=answer["reason"])
            delay = min(float(answer["delay"]), LONGEST_DELAY)
            return deferLater(self._reactor, delay, fail, refusal) if delay else fail(refusal)
        user = self._user(answer)
        if user is None:
            raise LoginRefused(
                reasons.INVALID_NAME,
                known=False,
                said=f"PAM calls the user {answer['user']!r}: {reasons.INVALID_NAME.words}",
            )
        user_id = UserId(user.name.encode("utf-8"), user)
        if self.options.remember:
            self._remember(name, password, peer, user_id)
        return user_id

    def _found(self, answer: dict[str, Any]) -> User | None:
        return self._user(answer) if answer["verdict"] == "taken" else None

    def _user(self, answer: dict[str, Any]) -> User | None:
        """The user by the name that PAM has made of the typed one."""
        name = self.naming.read(answer["user"] + self._ending)
        return None if name is None else User(name, home=answer["home"] or None)

    def _remember(self, name: bytes, password: bytes, peer: str, user_id: UserId) -> None:
        """For this address alone: a module may let the user in from there, and from nowhere else."""
        if len(self._remembered) >= MAX_ENTRIES and name not in self._remembered:
            self._forget()
        self._remembered[name] = user_id
        self._cache.remember(name, password, peer.encode())

    def _forget(self) -> None:
        self._cache.clear()
        self._remembered.clear()
