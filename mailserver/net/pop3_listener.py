"""The POP3 listener: its policy, and the factory of its connections."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.portal import Portal
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.logger import Logger
from twisted.mail.interfaces import IMailboxPOP3
from zope.interface import Interface

from mailserver.exchange import IMechanism, SaslContext
from mailserver.interfaces import BY_SECRET, IMaildrop, IOracle
from mailserver.limits import Limits
from mailserver.names import Names
from mailserver.net.compat import adapt
from mailserver.net.door import Door
from mailserver.net.listener import Listener, is_loopback
from mailserver.net.places import Places
from mailserver.net.pop3 import POP3Server
from mailserver.net.stamp import make_stamp, stamp_host, unpredictable
from mailserver.net.story import Fetches
from mailserver.net.throttle import Throttle
from mailserver.protocol.policy import Policy
from mailserver.protocol.pop3 import Session
from mailserver.protocol.pop3_commands import COMMANDS
from mailserver.protocol.wire import err
from mailserver.sasl import BY_NAME, MECHANISMS
from mailserver.tls.bindings import surroundings

log = Logger()

LOOK_SECONDS = 1.0
"""How long the announced mechanisms may be out of date: an update at each session would cost microseconds."""


class POP3ServerFactory(Listener):
    """Builds the connections of one listener over `portal`, any cred portal; everything else has a default.

    With `tls`, STLS is offered. `cleartext` ("tls", "loopback" or "always") is where a password may cross an unencrypted line.
    `mechanisms` lists SASL mechanisms in their order; empty means all that the portal's checkers and the `oracle` can serve.
    `client_name` is the place of the user's name in a client's certificate, "email" or "cn"; "" ignores certificates.
    Listeners of one service share a `throttle`, so that a guesser gains nothing by changing ports, and `places` for common
    limits; a single factory has its own. `names` reads the names that clients give, before the portal sees them; the default
    leaves them as typed. If it has accounts (SDPS), `*ENV` is served, for every maildrop. `greeting` is the beginning of the
    greeting: ASCII, at most 200 octets. Listeners with the same `fetches` together notice clients that fetch messages again.
    `login_delay` and `longest_login_delay` are what CAPA says of users without a delay of their own, and before the login; it is
    the realm that enforces delays. `expire_days` and `shortest_expiry` are what it says of EXPIRE, as `Policy` has them.
    """

    def __init__(  # noqa: PLR0913 - settings, named where they are given, each with a default
        self,
        portal: Portal,
        *,
        clock: IReactorTime | None = None,
        hostname: str | None = None,
        tls: IOpenSSLServerConnectionCreator | None = None,
        cleartext: str = "tls",
        limits: Limits | None = None,
        mechanisms: Sequence[str] = (),
        listener: str = "pop3",
        throttle: Throttle | None = None,
        oracle: IOracle | None = None,
        client_name: str = "",
        names: Names | None = None,
        greeting: str = "",
        fetches: Fetches | None = None,
        places: Places | None = None,
        login_delay: int = 0,
        longest_login_delay: int = 0,
        expire_days: int = 0,
        shortest_expiry: int | None = None,
    ) -> None:
        super().__init__(listener, err, clock=clock, limits=limits, places=places)
        self.portal = portal
        self.oracle = oracle
        self.tls = tls
        self.throttle = throttle or Throttle(self.clock, self.limits.failure_delay_seconds)
        self.fetches = fetches or Fetches()
        self.door = Door(
            portal,
            self.throttle,
            interfaces=(IMaildrop, IMailboxPOP3),
            adapt=self._maildrop,
            oracle=oracle,
            names=names,
        )
        self._stamp_host = stamp_host(hostname or socket.getfqdn())
        self._random = unpredictable()
        self.surroundings: Callable[[Any], SaslContext] = partial(surroundings, self._stamp_host, client_name)
        self._chosen = chosen(mechanisms)
        self._named = frozenset(name.upper().encode("ascii") for name in mechanisms)
        self._stamps = False
        self._policy = Policy(
            hostname=self._stamp_host,
            stls=tls is not None,
            cleartext=cleartext == "always",
            failures=self.limits.failures_per_connection,
            sdps=names is not None and bool(names.accounts),
            greeting=greeting.encode("ascii"),
            login_delay=login_delay,
            longest_login_delay=longest_login_delay,
            expire_days=expire_days,
            shortest_expiry=shortest_expiry,
        )
        self._loopback_policy = self._policy if cleartext == "tls" else replace(self._policy, cleartext=True)
        self._look()

    def connection(self, peer: str) -> POP3Server:
        """Build a connection of this listener's kind."""
        return POP3Server(self, peer)

    def session(self, peer: str, connection: POP3Server, *, tls: bool) -> Session:
        """Return a session with the greeting for this client."""
        if self.clock.seconds() - self._looked >= LOOK_SECONDS:
            try:
                self._look()
            except Exception:  # noqa: BLE001 - a foreign checker may raise anything; the port must go on
                log.failure("fault in a look at what can be announced; it stays as it was", event="fault")
        policy = self._loopback_policy if is_loopback(peer) else self._policy
        stamp = make_stamp(self._stamp_host, next(self._random)) if self._stamps else b""
        return Session(policy, COMMANDS, stamp, tls=tls, surroundings=connection.surroundings)

    def _look(self) -> None:
        """Update the announced mechanisms: those that all users can use, and those that the operator names.

        A client uses the first mechanism that it knows, and tries no other when its user cannot use that.
        """
        self._looked = self.clock.seconds()
        answered = frozenset() if self.oracle is None else self.oracle.mechanisms()
        everybodys = BY_SECRET if self.oracle is None else self.oracle.census().everybodys
        shown = everybodys | self._named
        able = tuple(
            m
            for m in self._chosen
            if self._can_take(m.credentials)
            and (not m.asks or m.asks in answered)
            and (m.name in shown or (m.asks or m.name) not in BY_SECRET - everybodys)
        )
        self._stamps = b"APOP" in shown and self._can_take(IUsernameHashedPassword)
        user = self._can_take(IUsernamePassword)
        if (able, user) != (self._policy.mechanisms, self._policy.user):
            self._policy = replace(self._policy, mechanisms=able, user=user)
            self._loopback_policy = replace(self._loopback_policy, mechanisms=able, user=user)

    def _maildrop(self, interface: type[Interface], avatar: Any) -> Any:
        """Return an avatar as a maildrop; an IMailboxPOP3 is adapted, which gives a Deferred."""
        return avatar if interface is IMaildrop else adapt(avatar, self.clock)

    def _can_take(self, credentials: type[Interface]) -> bool:
        """Tell whether some checker accepts such credentials now, which may change."""
        checker = self.portal.checkers.get(credentials)
        return checker is not None and credentials in checker.credentialInterfaces


def chosen(names: Sequence[str]) -> list[IMechanism]:
    """The mechanisms with these names, in upper or lower case; for no names, the default ones.

    Errors: ValueError, for the operator.
    """
    known = {mechanism.name.decode("ascii"): mechanism for mechanism in (*MECHANISMS, *BY_NAME)}
    names = [
        name for name in names if name.upper() != "APOP"
    ]  # not a SASL mechanism: in this list it only enables the stamp
    unknown = [name for name in names if name.upper() not in known]
    if unknown:
        raise ValueError(f"unknown SASL mechanism {unknown[0]!r}; known are {', '.join(known)}")
    return [known[name.upper()] for name in names] or list(MECHANISMS)
