"""The certificates in use: several of them, chosen by the host name that a client asks for (SNI), and their hot swap.

A loaded state is immutable and replaced as a whole: a handshake that began with the old certificates ends with them.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from mailserver.errors import Unusable
from mailserver.tls.certificates import (
    CertificateError,
    CertificateFiles,
    Pair,
    Stamp,
    key_trouble,
    read_authorities,
    read_pair,
    stamp,
)
from mailserver.tls.context_control import set_ticket_keys
from mailserver.tls.contexts import PROFILES, make_context, prove, verify_clients
from mailserver.tls.direct import DirectConnection
from mailserver.tls.tickets import TicketSecret, TicketSource


@dataclass(frozen=True, slots=True)
class Proven:
    """A pair that was tried in handshakes (`contexts.prove`)."""

    pair: Pair
    unfit: tuple[str, ...]
    """The profile's versions of TLS in which no client can use this pair."""


@dataclass(frozen=True, slots=True)
class Authorities:
    """The certificates of the authorities that sign clients' certificates, as PEM, and the state of their file."""

    certificates: bytes = b""
    stamp: Stamp = ()


@dataclass(frozen=True, slots=True)
class Contexts:
    """One loaded state: the contexts, and what they were made of."""

    default: SSL.Context
    """The context in which every handshake begins, so its ticket keys serve all names. It serves clients that name no host."""
    by_name: Mapping[bytes, SSL.Context]
    """The context of each name in the certificates, wildcards included."""
    proven: tuple[Proven, ...]
    """The pairs, in the order of the settings."""
    authorities: Authorities
    troubles: tuple[CertificateError, ...]
    """The errors of files that could not be used; this state has their former contents instead."""
    tickets: TicketSecret | None = None
    """The secret of session tickets; None: OpenSSL chooses the keys of each default context."""

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The certificates and their keys."""
        return tuple(each.pair for each in self.proven)

    @property
    def stamp(self) -> Stamp:
        """The state of the files just before they were read."""
        return sum((pair.stamp for pair in self.pairs), ()) + self.authorities.stamp

    def choose(self, name: bytes | None) -> SSL.Context:
        """The context for the host name that a client asks for; a wildcard matches one label (RFC 6125 section 6.4.3)."""
        name = (name or b"").lower()
        context = self.by_name.get(name)
        if context is None:
            context = self.by_name.get(_wildcard(name), self.default)
        return context


class CertificateErrors(Unusable):
    """Several certificate files that cannot be used."""

    def __init__(self, errors: Sequence[CertificateError]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = tuple(errors)


class ISocketConnectionCreator(IOpenSSLServerConnectionCreator):
    """Makes TLS connections that live on a socket, too."""

    def connection_on(skt: socket.socket) -> SSL.Connection:  # noqa: N805 - interfaces have no self
        """A connection for one client's handshake, which reads and writes the socket itself."""


@implementer(ISocketConnectionCreator)
class CertificateStore:
    """The certificates in use: give it to ``startTLS`` and to ``TLSMemoryBIOFactory``.

    The first pair serves clients that name no host, or an unknown one. With `client_ca`, a PEM file of authorities, clients
    may send a certificate that one of them has signed; any other certificate ends the handshake. With `tickets`, clients resume
    their sessions wherever the same certificates are served by the same secret; the caller has asked `can_set_ticket_keys`. The
    constructor needs all files to be usable (errors: CertificateError, CertificateErrors); later, a broken file does not affect
    the others.
    """

    loaded: Contexts

    def __init__(
        self,
        files: Sequence[CertificateFiles],
        profile: str = "intermediate",
        *,
        client_ca: str = "",
        tickets: TicketSource | None = None,
    ) -> None:
        self.files: Final = tuple(files)
        self._profile: Final = PROFILES[profile]
        self._client_ca: Final = client_ca
        self._tickets: Final = tickets
        pairs, authorities, secret, troubles = self._read({}, Authorities(), None)
        if troubles:
            raise troubles[0] if len(troubles) == 1 else CertificateErrors(troubles)
        self.loaded = self._contexts(pairs, authorities, secret, ())

    def stamp(self) -> Stamp:
        """The state of the files now. Blocks."""
        return stamp(self.files, self._client_ca)

    def is_outdated(self) -> bool:
        """Whether the files or the secret of tickets have changed since they were loaded. Blocks."""
        try:
            secret = None if self._tickets is None else self._tickets.current()
        except CertificateError:
            return True  # `load` tells why
        return self.stamp() != self.loaded.stamp or secret != self.loaded.tickets

    def load(self) -> Contexts:
        """Read all files again. Blocks, does not change the store, may run in any thread.

        `Contexts.troubles` has the errors of unusable files, whose contents in use stay.
        """
        old = self.loaded
        known = {proven.pair.files: proven for proven in old.proven}
        return self._contexts(*self._read(known, old.authorities, old.tickets))

    def _read(
        self, known: Mapping[CertificateFiles, Proven], authorities: Authorities, secret: TicketSecret | None
    ) -> tuple[tuple[Proven, ...], Authorities, TicketSecret | None, tuple[CertificateError, ...]]:
        """Read each of the files; an unusable one keeps its known contents, and adds an error."""
        found: list[Proven] = []
        troubles: list[CertificateError] = []
        for files in self.files:
            try:
                pair = read_pair(files)
                found.append(Proven(pair, prove(self._profile, pair)))
            except CertificateError as error:
                key = key_trouble(files) if error.file == files.certificate != files.key else None
                troubles += [error] if key is None else [error, key]
                found += [known[files]] if files in known else []
        if self._client_ca:
            try:
                before = stamp((), self._client_ca)
                fresh = Authorities(read_authorities(self._client_ca), before)
                verify_clients(SSL.Context(SSL.TLS_SERVER_METHOD), self._client_ca, fresh.certificates)
                authorities = fresh
            except CertificateError as error:
                troubles.append(error)
        if self._tickets is not None:
            try:
                secret = self._tickets.current()
            except CertificateError as error:
                troubles.append(error)
        return tuple(found), authorities, secret, tuple(troubles)

    def _contexts(
        self,
        proven: tuple[Proven, ...],
        authorities: Authorities,
        secret: TicketSecret | None,
        troubles: tuple[CertificateError, ...],
    ) -> Contexts:
        pairs = tuple(each.pair for each in proven)
        contexts: dict[tuple[Pair, ...], SSL.Context] = {}

        def context(chosen: tuple[Pair, ...]) -> SSL.Context:
            if chosen not in contexts:
                contexts[chosen] = made = make_context(self._profile, chosen)
                made.set_tlsext_servername_callback(_choose_context)
                if self._client_ca:
                    verify_clients(made, self._client_ca, authorities.certificates)
            return contexts[chosen]

        names = frozenset[bytes]().union(*(pair.names for pair in pairs))
        default = context(_for_no_name(pairs))
        if secret is not None:
            # OpenSSL would resume a session whatever certificate began it, and let in clients of authorities that are no longer
            # trusted; and the client's channel binding (tls-server-end-point) would be that of the old certificate.
            served = [str(self._profile.oldest).encode(), authorities.certificates, *(pair.chain for pair in pairs)]
            set_ticket_keys(default, secret.keys(served))
        return Contexts(
            default=default,
            by_name={name: context(_for_name(pairs, name)) for name in names},
            proven=proven,
            authorities=authorities,
            troubles=troubles,
            tickets=secret,
        )

    def swap(self, loaded: Contexts) -> None:
        """Serve new handshakes from `loaded`. Older TLS sessions can be resumed by tickets of the same secret alone."""
        self.loaded = loaded

    def speaking(self, protocol: bytes) -> ISocketConnectionCreator:
        """The same certificates for ports of another protocol than POP3, by its name in the registry of ALPN."""
        return _Speaking(self, protocol)

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: N803, ARG002 - Twisted's
        """A connection for one client's handshake."""
        return self.connection()

    def connection_on(self, skt: socket.socket) -> SSL.Connection:
        """A connection for one client's handshake, which reads and writes the socket itself."""
        return self.connection(skt)

    def connection(self, skt: socket.socket | None = None) -> DirectConnection:
        """The same, over a socket or in memory."""
        connection = _Connection(self.loaded, skt)
        if skt is not None:
            connection.expect_any_end()
            connection.read_one_record()
        return connection


@implementer(ISocketConnectionCreator)
class _Speaking:
    """Makes a store's connections for another protocol."""

    def __init__(self, store: CertificateStore, protocol: bytes) -> None:
        self._store = store
        self._protocol = protocol

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: N803, ARG002 - Twisted's
        """A connection for one client's handshake."""
        return self._for_it(self._store.connection())

    def connection_on(self, skt: socket.socket) -> SSL.Connection:
        """A connection for one client's handshake, which reads and writes the socket itself."""
        return self._for_it(self._store.connection(skt))

    def _for_it(self, connection: DirectConnection) -> SSL.Connection:
        connection.protocol = self._protocol
        return connection


class _Connection(DirectConnection):
    """A connection that keeps the contexts alive with which its handshake began.

    OpenSSL may call back into the first context after another was chosen (at a second ClientHello). The connection itself
    keeps only the chosen one, so the first would be freed if the certificates were swapped in between.
    """

    def __init__(self, loaded: Contexts, skt: socket.socket | None = None) -> None:
        self.loaded = loaded
        super().__init__(loaded.default, skt)


def _wildcard(name: bytes) -> bytes:
    return b"*." + name.partition(b".")[2]


def _for_no_name(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """The first pair, and a pair of each other key type that is valid for all its names."""
    first = pairs[0]
    return _one_of_each_kind([first, *(pair for pair in pairs if first.names and first.names <= pair.names)])


def _for_name(pairs: tuple[Pair, ...], name: bytes) -> tuple[Pair, ...]:
    """The pairs for a name, one of each key type, to serve both old clients that need RSA and new ones."""
    wildcard = _wildcard(name)
    exact = [pair for pair in pairs if name in pair.names]
    return _one_of_each_kind(exact + [pair for pair in pairs if wildcard in pair.names])


def _one_of_each_kind(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    chosen: dict[str, Pair] = {}
    for pair in pairs:
        chosen.setdefault(pair.kind, pair)
    return tuple(chosen[kind] for kind in sorted(chosen))


def _choose_context(connection: SSL.Connection) -> None:
    loaded = cast(_Connection, connection).loaded  # OpenSSL's callbacks are untyped; all connections are ours
    connection.set_context(loaded.choose(connection.get_servername()))
