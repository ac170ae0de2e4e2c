"""The waiting of a connection, for one answer or one timer at a time, and the cancel when the connection is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from mailserver.answers import Answer, is_later
from mailserver.net.outlet import Outlet


class Waiting(Outlet):
    """A connection that waits. A subclass gives `pump`, which goes on, and `fault`, which handles an error meanwhile."""

    __slots__ = ("_answer", "_later", "_waiting", "lost")

    def __init__(self, clock: IReactorTime, peer: str) -> None:
        super().__init__(clock, peer)
        self.lost = False
        self._waiting = False
        self._answer: Deferred[Any] | None = None  # cancelled with the connection
        self._later: IDelayedCall | None = None

    def pump(self) -> None:
        """Run the session until it waits."""
        raise NotImplementedError

    def fault(self, failure: Failure) -> None:
        """End the connection."""
        raise NotImplementedError

    def wait(
        self,
        answer: Deferred[Any],
        then: Callable[[Any], object],
        otherwise: Callable[[Failure], object],
        *,
        revocable: bool = False,
    ) -> None:
        """Run nothing until `answer` fires, then go on. If `revocable`, it is cancelled when the connection is lost.

        `then` must release a result that arrives after that, so that no lock or descriptor is lost.
        """

        def fired(result: Any) -> None:  # one callback: a chain of four would cost as much as the rest of a login
            self._waiting, self._answer = False, None
            if self.lost and isinstance(result, Failure) and result.check(CancelledError):
                return  # cancelled by ourselves: nobody waits for it
            try:
                (otherwise if isinstance(result, Failure) else then)(result)
            except Exception:  # noqa: BLE001 - as in `pump`
                self.fault(Failure())
            self.pump()

        self._waiting, self._answer = True, answer if revocable else None
        answer.addBoth(fired)

    def attend(
        self,
        then: Callable[[Any], object],
        otherwise: Callable[[Failure], object],
        question: Callable[..., Answer[Any]],
        *args: Any,
        revocable: bool = True,
    ) -> None:
        """Ask, and go on as after a `wait`, but at once if the answer or its error is there."""
        try:
            answer = question(*args)
        except Exception:  # noqa: BLE001 - a foreign checker or realm may raise anything: as if the answer had failed
            otherwise(Failure())
            return
        if is_later(answer):
            self.wait(answer, then, otherwise, revocable=revocable)
        else:
            then(answer)

    def after(self, seconds: float, act: Callable[[], object]) -> None:
        """Go on with `act` after `seconds`, unless the connection is lost before."""

        def acted() -> None:
            try:
                act()
            except Exception:  # noqa: BLE001 - as in `pump`
                self.fault(Failure())
            self.pump()

        self._later = self.clock.callLater(seconds, acted)

    def give_way(self) -> None:
        """Let other sessions run, even if the client reads as fast as we write, as one on the same machine can."""

        def go_on() -> None:
            self._waiting = False

        self._waiting = True
        self.after(0, go_on)

    def cancel_moment(self) -> None:
        """Cancel the timer."""
        if self._later is not None and self._later.active():
            self._later.cancel()

    def cancel_answer(self) -> None:
        """Cancel the pending answer, if it is revocable."""
        if self._answer is not None:
            self._answer.cancel()
