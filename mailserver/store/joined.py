"""A deposit for users of several stores, or of whom some have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.answers import unstoppable
from mailserver.incoming import IDeposit

Part = tuple[IDeposit, Sequence[int]]
"""A deposit, and the numbers of its users among all."""


def joined(parts: Sequence[Part], errors: Mapping[int, Exception]) -> IDeposit:
    """One deposit for all users; `errors` are those of users who are in no part, by their numbers."""
    return parts[0][0] if len(parts) == 1 and not errors else _JoinedDeposit(parts, errors)


@implementer(IDeposit)
class _JoinedDeposit:
    """The same octets for all parts."""

    def __init__(self, parts: Sequence[Part], errors: Mapping[int, Exception]) -> None:
        self._parts = parts
        self._errors = dict(errors)

    def write(self, data: bytes) -> Deferred[None] | None:
        """As the slowest store's."""
        waits = [wait for deposit, _ in self._parts if (wait := deposit.write(data)) is not None]
        return DeferredList(waits).addCallback(lambda _: None) if waits else None

    def commit(self) -> Deferred[Sequence[Exception | None]]:
        """Once all stores have answered; a fault of one concerns its own users."""
        commits = [maybeDeferred(deposit.commit) for deposit, _ in self._parts]
        return unstoppable(DeferredList(commits, consumeErrors=True).addCallback(self._outcomes))

    def abort(self) -> None:
        """In all stores."""
        for deposit, _ in self._parts:
            deposit.abort()

    def _outcomes(
        self, answers: Sequence[tuple[bool, Sequence[Exception | None] | Failure]]
    ) -> Sequence[Exception | None]:
        outcomes: dict[int, Exception | None] = dict(self._errors)
        for (_, users), (_, answer) in zip(self._parts, answers, strict=True):
            found = [_error(answer)] * len(users) if isinstance(answer, Failure) else answer
            outcomes.update(zip(users, found, strict=True))
        return [outcomes[user] for user in sorted(outcomes)]


def _error(failure: Failure) -> Exception:
    return failure.value if isinstance(failure.value, Exception) else RuntimeError(str(failure.value))
