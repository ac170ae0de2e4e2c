"""Whether the server lives, and whether it can serve: for probes, load balancers and supervisors."""

from __future__ import annotations

from mailserver.web.pages import Answer, Asked


def alive(_asked: Asked) -> Answer:
    """The process turns its reactor, or it could not say so."""
    return Answer(body=b"alive\n")


class Readiness:
    """Whether new sessions would be served. The reasons why not are for everybody, and name nothing of the site."""

    def __init__(self) -> None:
        self.draining = True
        """Whether no connection is accepted: not yet, or no more."""

    def page(self, _asked: Asked) -> Answer:
        """Ready, or 503."""
        if self.draining:
            return Answer(body=b"the server is stopping\n", code=503)
        return Answer(body=b"ready\n")
