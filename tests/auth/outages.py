"""Logins while what knows the users is killed or frozen: none may be wrongly refused, none may get in, nothing may block.

    with only_in_threads((Link, "open"), (Link, "ask")) as calls:
        tally = await weather(checker, names, breakdown=database.frozen)
    assert calls                                   # it was asked, and never by the reactor's thread
    tally.check()

The names have the password `password(name)`. Half of the 200 logins are begun before the breakdown, the others during it; each
second one has a wrong password. After the breakdown the checker must serve again by itself.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final

from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.python.failure import Failure

from mailserver.credentials import Password
from mailserver.errors import TemporaryFailure

LOGINS: Final = 200

TRIES: Final = 50
"""After the breakdown each login is either right or refused for now; so many of the latter in a row mean that it stays away."""


def password(name: str) -> bytes:
    """The password of a user in these tests."""
    return f"sesame of {name}".encode()


@dataclass
class Tally:
    """How the logins ended: each "taken", "refused", "temporary", or what went wrong."""

    right: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)

    def check(self) -> None:
        """None was wrongly refused, and none let in; and it serves again."""
        assert set(self.right) <= {"taken", "temporary"}, self
        assert set(self.wrong) <= {"refused", "temporary"}, self
        assert self.right.total() + self.wrong.total() == LOGINS, self
        assert self.after["taken"] == self.after["refused"] == 1, self


async def weather(checker: Any, names: Sequence[str], breakdown: Callable[[], AbstractContextManager[object]]) -> Tally:
    """Let `LOGINS` users log in while there is a `breakdown`, and two when it is over."""
    tally = Tally()
    begun: list[Deferred[None]] = []

    def login(number: int) -> None:
        name, is_right = names[number % len(names)], number % 2 == 0
        begun.append(_login(checker, name, tally.right if is_right else tally.wrong, is_right=is_right))

    answered = Deferred[None]()
    for number in range(LOGINS // 2):
        login(number)
    DeferredList(begun[: LOGINS // 8]).addCallback(lambda _: answered.callback(None))
    await answered
    with breakdown():
        for number in range(LOGINS // 2, LOGINS):
            login(number)
        await DeferredList(begun)
    for is_right in (True, False):
        found: Counter[str] = Counter()
        for _ in range(TRIES):
            await _login(checker, names[0], found, is_right=is_right)
            if set(found) - {"temporary"}:
                break
        del found["temporary"]
        tally.after += found
    return tally


def _login(checker: Any, name: str, found: Counter[str], *, is_right: bool) -> Deferred[None]:
    secret = password(name) if is_right else b"wrong"
    login: Deferred[Any] = maybeDeferred(checker.requestAvatarId, Password(name.encode(), secret))

    def ended(outcome: Any) -> None:
        found[_kind(outcome, name.encode())] += 1

    return login.addBoth(ended)


def _kind(outcome: Any, name: bytes) -> str:
    if not isinstance(outcome, Failure):
        return "taken" if outcome == name else repr(outcome)
    if outcome.check(TemporaryFailure):
        return "temporary"
    return "refused" if outcome.check(UnauthorizedLogin) else outcome.getTraceback()


@contextmanager
def only_in_threads(*methods: tuple[Any, str]) -> Iterator[list[str]]:
    """Note each call of these methods of classes or modules; those by the thread that calls this, the reactor's, fail."""
    here = threading.get_ident()
    calls: list[str] = []
    originals = [(owner, name, getattr(owner, name)) for owner, name in methods]

    def noting(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def noted(*args: Any, **kwargs: Any) -> Any:
            calls.append(f"{name} by the reactor" if threading.get_ident() == here else name)
            return original(*args, **kwargs)

        return noted

    for owner, name, original in originals:
        setattr(owner, name, noting(name, original))
    try:
        yield calls
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)
    assert not [call for call in calls if call.endswith("by the reactor")], calls
