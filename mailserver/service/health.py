"""Whether the server lives, and whether it can serve: for probes, load balancers and supervisors."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from mailserver.counts import Counts
from mailserver.web.pages import Answer, Asked


def alive(_asked: Asked) -> Answer:
    """The process turns its reactor, or it could not say so."""
    return Answer(body=b"alive\n")


class Readiness:
    """Whether new sessions would be served. The reasons why not are for everybody, and name nothing of the site."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.counts: Counts | None = None
        """How databases and the store have answered."""
        self.draining = True
        """Whether no connection is accepted: not yet, or no more."""

    def page(self, _asked: Asked) -> Answer:
        """Ready, or 503."""
        trouble = "the server is stopping" if self.draining else ""
        if not trouble and self.counts is not None:
            trouble = self.counts.usable(self._clock.seconds())
        return Answer(body=f"{trouble}\n".encode(), code=503) if trouble else Answer(body=b"ready\n")
