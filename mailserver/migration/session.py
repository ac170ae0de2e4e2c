"""What a session with an old server is by POP3 and by IMAP alike: its beginning, with TLS, its login and its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

from mailserver.migration.logins import bearer, check, no_tls, plain, refusal
from mailserver.migration.server import Address, Trust
from mailserver.migration.wire import PATIENCE, Patience, Refused, Wire


class Session(ABC):
    """A session, from the greeting on. A server's no in it is `Refused`; all methods but `close` may raise SourceError."""

    start_tls: ClassVar[str]
    """The command that begins TLS, and the capability."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.capabilities: frozenset[bytes] = frozenset()
        """What the server says that it can, in capitals."""

    @classmethod
    def connect(cls, address: Address, trust: Trust, patience: Patience = PATIENCE) -> Self:
        """One that is ready for the login."""
        session = cls(Wire(address, patience))
        try:
            session.greet(trust)
        except BaseException:
            session.close()
            raise
        return session

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def greet(self, trust: Trust) -> None:
        """Wait for the greeting, and begin TLS where there is some to be had."""
        address = self._wire.address
        if address.begins_with_tls:
            self._wire.start_tls(trust)
        self._greeting()
        self._wire.greeted()
        self._capability()
        if address.begins_with_tls or trust.tls == "none":
            return
        if self.start_tls.encode() in self.capabilities:
            self._ask(self.start_tls.encode(), self.start_tls)
            self._wire.start_tls(trust)
            self._capability()
        elif not address.here:
            raise no_tls(address, self.start_tls)

    def login(self, name: str, secret: str, master: str = "", *, token: bool = False, by: str = "") -> None:
        """Log in; with a `master`, by that user's password into the mail of `name`; with a `token`, by it (OAuth).

        `by` is "PLAIN" or "USER" (the protocol's own command), whatever the server says that it has; "": what it has.

        A master uses PLAIN (RFC 4616), or where the server has none the name ``NAME*MASTER``, as Dovecot has it.
        """
        check(name, secret, master)
        try:
            if token:
                self._authenticate(b"XOAUTH2", bearer(name, secret))
            elif by == "PLAIN" or (not by and self._has_plain() and (master or not self._prefers_its_own())):
                self._authenticate(b"PLAIN", plain(name, secret, master))
            else:
                self._log_in(f"{name}*{master}" if master else name, secret)
        except Refused as error:
            raise refusal(self._wire.address, name, secret, master, error) from None

    @property
    def security(self) -> tuple[str, bytes] | None:
        """The version of TLS, and the server's certificate in DER; None: there is no TLS."""
        return self._wire.security

    def close(self) -> None:
        """End it without a word, so that the server changes nothing; idempotent, and it does not raise."""
        self._wire.close()

    # What each protocol does in its own way.

    @abstractmethod
    def _greeting(self) -> None:
        """Read it. Errors: also TryAgain, where the server takes no connections now."""

    @abstractmethod
    def _capability(self) -> None:
        """Ask for the `capabilities`."""

    @abstractmethod
    def _ask(self, command: bytes, what: str) -> None:
        """A command whose answer has nothing to read; `what` names it in errors, without its secrets."""

    @abstractmethod
    def _has_plain(self) -> bool:
        """Whether the server says that it has PLAIN."""

    def _prefers_its_own(self) -> bool:
        """Whether a user's own password goes by `_log_in`, though there is PLAIN."""
        return False

    @abstractmethod
    def _authenticate(self, mechanism: bytes, response: bytes) -> None:
        """Log in by SASL."""

    @abstractmethod
    def _log_in(self, name: str, secret: str) -> None:
        """Log in by the protocol's own commands."""
