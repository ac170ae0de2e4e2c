"""TLS contexts: the profiles, several certificates chosen by the name a client asks for, and their hot swap.

What was loaded is immutable and replaced as a whole: a handshake that began with the old certificates ends with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from mailserver.net.certificates import (
    CertificateError,
    CertificateFiles,
    Pair,
    Stamp,
    check_authorities,
    read_pair,
    stamp,
)

SESSION_SECONDS: Final = 7200
"""How long a client may resume a session: longer than the time between two polls of a mailbox, shorter than a day."""

ALPN: Final = b"pop3"
"""The protocol's name in the registry of RFC 7301 section 6."""


class Profile(NamedTuple):
    """What is offered to clients."""

    oldest: int
    """The oldest version of TLS; the newest is always 1.3."""
    ciphers: bytes
    """The suites of TLS 1.2 and before, in OpenSSL's notation; those of 1.3 are OpenSSL's three, the same as Mozilla's."""
    server_order: bool
    """Whether our order of the suites counts, not the client's."""


_INTERMEDIATE: Final = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)

# Mozilla's Server Side TLS, https://ssl-config.mozilla.org/guidelines/: `modern` and `intermediate` of version 6.0
# (March 2025), `old` of 5.8 (December 2024), the last that has it. What `old` lacks here: the DHE suites, which need a file
# of parameters and whose clients can do ECDHE or plain RSA too, and 3DES, which OpenSSL is no longer built with. TLS 1.0
# and 1.1 sign with SHA-1 and MD5, which OpenSSL 3 forbids above security level 0.
PROFILES: Final[Mapping[str, Profile]] = {
    "modern": Profile(SSL.TLS1_3_VERSION, _INTERMEDIATE, server_order=False),
    "intermediate": Profile(SSL.TLS1_2_VERSION, _INTERMEDIATE, server_order=False),
    "old": Profile(
        SSL.TLS1_VERSION,
        _INTERMEDIATE
        + b":ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:"
        b"ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384:ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA:"
        b"AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA256:AES256-SHA256:AES128-SHA:AES256-SHA:@SECLEVEL=0",
        server_order=True,
    ),
}


class NoApplicationProtocol(SSL.Error):
    """The client wants to speak, by ALPN, something that is not POP3."""


@dataclass(frozen=True, slots=True)
class Contexts:
    """What was loaded in one go."""

    default: SSL.Context
    """Where every handshake begins, so its ticket keys serve all names; a client that names no host stays here."""
    by_name: Mapping[bytes, SSL.Context]
    """The context of each name in the certificates, wildcards included."""
    pairs: tuple[Pair, ...]
    stamp: Stamp
    """The state of the files just before they were read."""

    def choose(self, name: bytes | None) -> SSL.Context:
        """The context for the host name a client asked for; a wildcard stands for one label (RFC 6125 section 6.4.3)."""
        name = (name or b"").lower()
        context = self.by_name.get(name)
        if context is None:
            context = self.by_name.get(_wildcard(name), self.default)
        return context


@implementer(IOpenSSLServerConnectionCreator)
class CertificateStore:
    """The certificates in use: give it to ``startTLS`` and to ``TLSMemoryBIOFactory``.

    The first pair serves clients that name no host, or an unknown one. With `client_ca`, a PEM file of authorities, clients
    may show a certificate of theirs; one that another has signed ends the handshake. Raises CertificateError when it cannot
    be loaded at first.
    """

    def __init__(
        self, files: Sequence[CertificateFiles], profile: str = "intermediate", *, client_ca: str = ""
    ) -> None:
        self.files: Final = tuple(files)
        self._profile: Final = PROFILES[profile]
        self._client_ca: Final = client_ca
        self.loaded: Contexts = self.load()

    def stamp(self) -> Stamp:
        """The state of the files now. Blocks."""
        return stamp(self.files, self._client_ca)

    def load(self) -> Contexts:
        """Read all the files anew. Blocks, changes nothing here, may run in any thread. Errors: CertificateError."""
        before = self.stamp()
        if self._client_ca:
            check_authorities(self._client_ca)
        pairs = tuple(map(read_pair, self.files))
        contexts: dict[tuple[Pair, ...], SSL.Context] = {}

        def context(chosen: tuple[Pair, ...]) -> SSL.Context:
            if chosen not in contexts:
                contexts[chosen] = _context(self._profile, chosen, self._client_ca)
            return contexts[chosen]

        names = frozenset[bytes]().union(*(pair.names for pair in pairs))
        return Contexts(
            default=context(_for_no_name(pairs)),
            by_name={name: context(_for_name(pairs, name)) for name in names},
            pairs=pairs,
            stamp=before,
        )

    def swap(self, loaded: Contexts) -> None:
        """Serve new handshakes from `loaded`. Its ticket keys are new, so sessions of before are not resumed."""
        self.loaded = loaded

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: N803, ARG002 - Twisted's
        """A connection for one client's handshake."""
        return _Connection(self.loaded)


class _Connection(SSL.Connection):
    """A connection that keeps alive what its handshake began with.

    OpenSSL may call back into the first context after another was chosen (at a second ClientHello); the connection itself
    would keep only the chosen one, and the first would be gone if the certificates were swapped in between.
    """

    def __init__(self, loaded: Contexts) -> None:
        self.loaded = loaded
        super().__init__(loaded.default, None)


def _wildcard(name: bytes) -> bytes:
    return b"*." + name.partition(b".")[2]


def _for_no_name(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """The first pair, and pairs of other key types that are good for all its names."""
    first = pairs[0]
    return _one_of_each_kind([first, *(pair for pair in pairs if first.names and first.names <= pair.names)])


def _for_name(pairs: tuple[Pair, ...], name: bytes) -> tuple[Pair, ...]:
    """The pairs for a name, one of each key type, so that old RSA clients and new ones are both served."""
    wildcard = _wildcard(name)
    exact = [pair for pair in pairs if name in pair.names]
    return _one_of_each_kind(exact + [pair for pair in pairs if wildcard in pair.names])


def _one_of_each_kind(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    chosen: dict[str, Pair] = {}
    for pair in pairs:
        chosen.setdefault(pair.kind, pair)
    return tuple(chosen[kind] for kind in sorted(chosen))


def _context(profile: Profile, pairs: tuple[Pair, ...], client_ca: str) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(profile.oldest)
    # Compression leaks secrets by length (CRIME); renegotiation costs the server far more than the client.
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    if profile.server_order:
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # an idle session keeps no record buffers: see docs/tls.md
    context.set_session_id(ALPN)  # any constant: without one, OpenSSL refuses to resume
    context.set_session_cache_mode(
        SSL.SESS_CACHE_SERVER
    )  # for clients of TLS 1.2 without tickets; tickets need no memory
    context.set_timeout(SESSION_SECONDS)
    context.set_alpn_select_callback(_select_protocol)
    context.set_tlsext_servername_callback(_choose_context)
    context.set_cipher_list(profile.ciphers)  # before the certificates: it also sets the security level they must have
    for pair in pairs:
        _use(context, pair)
    if client_ca:
        _verify_clients(context, client_ca)
    return context


def _verify_clients(context: SSL.Context, client_ca: str) -> None:
    """Ask each client for a certificate. It need not have one; a session that is resumed keeps the one it began with."""
    try:
        context.load_verify_locations(client_ca)
        context.load_client_ca(client_ca.encode())
    except SSL.Error:
        raise CertificateError(
            client_ca, "OpenSSL refuses it", "write the authorities' certificates in PEM form"
        ) from None
    context.set_verify(SSL.VERIFY_PEER)


def _use(context: SSL.Context, pair: Pair) -> None:
    """Add a pair. The chain is read from its file again, as only so OpenSSL keeps one chain for each key type; if it was
    replaced since, the key does not fit and the load fails.
    """
    try:
        context.use_certificate_chain_file(pair.files.certificate)
        context.use_privatekey(pair.key)
    except SSL.Error as error:
        reasons = ", ".join(reason for _library, _function, reason in error.args[0])
        raise CertificateError(
            pair.files.certificate,
            f"OpenSSL refuses it ({reasons})",
            "use a certificate of today's strength (RSA from 2048 bits or ECDSA P-256, SHA-256), or another profile",
        ) from None


def _choose_context(connection: SSL.Connection) -> None:
    loaded = cast(_Connection, connection).loaded  # OpenSSL's callbacks know no types; all connections are ours
    connection.set_context(loaded.choose(connection.get_servername()))


def _select_protocol(_connection: SSL.Connection, offered: list[bytes]) -> bytes:
    """RFC 7301 section 3.2: a client that offers only other protocols is refused.

    Mail clients offer none or ours. Who offers another, say a browser, was led here by an attacker who wants POP3's replies
    taken for HTTP's (ALPACA).
    """
    if ALPN not in offered:
        raise NoApplicationProtocol
    return ALPN
