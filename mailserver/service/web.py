"""The pages of a process: which there are, and the token that is needed for them."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from zope.interface import implementer

from mailserver.config.kinds import KINDS
from mailserver.config.problems import Problems
from mailserver.errors import ConfigError
from mailserver.interfaces import IPart
from mailserver.modules import why_not
from mailserver.net.tls_transport import TLSFactory
from mailserver.service.certificates import Certificates
from mailserver.service.gathering import Gathering
from mailserver.web.guard import read_token
from mailserver.web.pages import Answer, Asked, Page
from mailserver.web.site import ALPN, Site

log = Logger()


def metrics_page(gathering: Gathering) -> Callable[[Asked], Answer | Awaitable[Answer]]:
    """The page /metrics; where its library is missing, one that says so, and the log does, too."""
    try:
        from mailserver.service.exposition import Exposition  # it needs an extra
    except ImportError as error:
        reason = why_not(error, "metrics")
        log.warn("/metrics shows nothing: {reason}", event="metrics.absent", reason=reason)
        return lambda _: Answer(body=b"metrics need more: pip install twisted-mailserver[metrics]\n", code=501)
    return Exposition(gathering).page


@implementer(IPart)
class Web:
    """The pages, and the factories of the ports that show them. Added before the listeners, it ends after them."""

    def __init__(
        self, pages: Mapping[str, Page], token_file: str, certificates: Certificates, problems: Problems
    ) -> None:
        self._pages = pages
        self._problems = problems
        self._token_file = token_file
        self._certificates = certificates
        self._token = b""
        self._sites: list[Site] = []
        self._reactor: Any = None

    def start(self, reactor: Any) -> Deferred[None]:
        """Read the token. Errors: ConfigError, where root would serve; Unusable."""
        if os.geteuid() == 0 and not self._problems.wrong("user"):  # then this start fails, and nothing is served
            raise ConfigError(["user: pages are not served by root: name the owner of the maildrops with --user"])
        self._reactor = reactor
        return self.reload()

    def reload(self) -> Deferred[None]:
        """Read the token again; where that fails, the old one stays. Errors: Unusable."""
        return maybeDeferred(self._read)

    def stop(self) -> Deferred[None]:
        """Drop the connections."""
        return maybeDeferred(self._abort)

    def factory(self, kind: str) -> IProtocolFactory:
        """What a port of this kind serves with."""
        site = Site(self._pages, clock=self._reactor, token=lambda: self._token, listener=kind)
        self._sites.append(site)
        store = self._certificates.store
        return TLSFactory(store.speaking(ALPN), site) if KINDS[kind].tls and store is not None else site

    def _read(self) -> None:
        if self._token_file:
            self._token = read_token(self._token_file)

    def _abort(self) -> None:
        for site in self._sites:
            site.abort()
