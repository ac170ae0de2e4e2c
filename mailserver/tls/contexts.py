"""OpenSSL contexts: the profiles, a context with certificates, and the proof that a handshake can use a certificate."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from OpenSSL import SSL

from mailserver.tls.certificates import CertificateError, Pair
from mailserver.tls.direct import DirectConnection

SESSION_SECONDS: Final = 7200
"""How long a client may resume a TLS session: longer than the time between two polls, shorter than a day."""

MOVING_WRITE_BUFFER: Final = 2
"""OpenSSL's SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER: what a socket did not take may be offered again from another place, with more
behind it. pyOpenSSL has no name for it, and sets it by itself in newer versions only."""

ALPN: Final = b"pop3"
"""The protocol's name in the registry of RFC 7301 section 6."""


class Profile(NamedTuple):
    """The versions and cipher suites that are offered to clients."""

    oldest: int
    """The oldest version of TLS; the newest is always 1.3."""
    ciphers: bytes
    """The suites of TLS 1.2 and before, in OpenSSL's notation; those of 1.3 are OpenSSL's three, the same as Mozilla's."""
    server_order: bool
    """Whether the server's order of the suites counts, or the client's."""


_INTERMEDIATE: Final = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)

# Mozilla's Server Side TLS, https://ssl-config.mozilla.org/guidelines/: `modern` and `intermediate` of version 6.0
# (March 2025), `old` of 5.8 (December 2024), the last version that has it. Two things of `old` are left out here: the DHE
# suites, which need a file of parameters and whose clients also know ECDHE or plain RSA, and 3DES, which current builds of
# OpenSSL lack. TLS 1.0 and 1.1 sign with SHA-1 and MD5, which OpenSSL 3 forbids above security level 0.
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


VERSIONS: Final = {
    "TLS 1.0": SSL.TLS1_VERSION,
    "TLS 1.1": SSL.TLS1_1_VERSION,
    "TLS 1.2": SSL.TLS1_2_VERSION,
    "TLS 1.3": SSL.TLS1_3_VERSION,
}


class NoApplicationProtocol(SSL.Error):
    """The client offers, by ALPN, only protocols other than that of the port."""


def make_context(profile: Profile, pairs: tuple[Pair, ...]) -> SSL.Context:
    """A server's context with one pair of each kind. Errors: CertificateError, which names the pair."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(profile.oldest)
    # Compression leaks secrets by length (CRIME); renegotiation costs the server far more than the client.
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    if profile.server_order:
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # an idle session keeps no record buffers: see docs/tls.md
    context.set_mode(MOVING_WRITE_BUFFER)
    context.set_session_id(ALPN)  # any constant: without one, OpenSSL refuses to resume
    context.set_session_cache_mode(
        SSL.SESS_CACHE_SERVER
    )  # for clients of TLS 1.2 without tickets; tickets need no memory
    context.set_timeout(SESSION_SECONDS)
    context.set_alpn_select_callback(_select_protocol)
    context.set_cipher_list(profile.ciphers)  # before the certificates: it also sets the security level they must have
    for pair in pairs:
        _use(context, pair)
    return context


def verify_clients(context: SSL.Context, client_ca: str, authorities: bytes) -> None:
    """Ask each client for a certificate, which is optional; a resumed TLS session keeps the one that it began with.

    Errors: CertificateError, which names the file `client_ca` that `authorities` were read from.
    """
    try:
        with _as_file(authorities) as path:
            context.load_verify_locations(path)
            context.load_client_ca(path.encode())
    except SSL.Error:
        raise CertificateError(
            client_ca, "OpenSSL refuses it", "write the authorities' certificates in PEM form"
        ) from None
    context.set_verify(SSL.VERIFY_PEER)


def _use(context: SSL.Context, pair: Pair) -> None:
    """Add a pair, by way of a file: otherwise OpenSSL loses the chain per key type and the limits of an RSA-PSS key."""
    try:
        with _as_file(pair.chain) as path:
            context.use_certificate_chain_file(path)
        with _as_file(pair.key) as path:
            context.use_privatekey_file(path)
    except SSL.Error as error:
        raise CertificateError(
            pair.files.certificate,
            f"OpenSSL refuses it ({_words(error)})",
            "use a certificate of today's strength (RSA from 2048 bits or ECDSA P-256, SHA-256), or another profile",
        ) from None


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """A file in memory, so that OpenSSL serves the contents that were checked, whatever is on the disk by now."""
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, data)  # a file in memory takes all of it at once
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def prove(profile: Profile, pair: Pair) -> tuple[str, ...]:
    """The profile's versions of TLS in which no handshake can use the pair. Errors: CertificateError, if all fail."""
    context = make_context(profile, (pair,))
    failed, reason = [], ""
    tried = {name: version for name, version in VERSIONS.items() if version >= profile.oldest}
    for name, version in tried.items():
        try:
            _shake_hands(context, version)
        except SSL.Error as error:
            failed.append(name)
            reason = reason or _words(error)
    if len(failed) == len(tried):
        raise CertificateError(
            pair.files.key,
            f"no handshake can use this {pair.kind} key ({reason})",
            "use an RSA key from 2048 bits or an ECDSA key of P-256, and a certificate for it",
        )
    return tuple(failed)


def _shake_hands(context: SSL.Context, version: int) -> None:
    """Do a handshake with a client in memory that accepts any certificate. Errors: SSL.Error."""
    anything = SSL.Context(SSL.TLS_CLIENT_METHOD)
    anything.set_cipher_list(b"ALL:@SECLEVEL=0")
    anything.set_min_proto_version(version)
    anything.set_max_proto_version(version)
    client, server = SSL.Connection(anything, None), SSL.Connection(context, None)
    client.set_connect_state()
    server.set_accept_state()
    waiting = [client, server]
    while waiting:  # each round carries one side's flight, so the loop ends, or a side raises
        for side, other in ((client, server), (server, client)):
            with suppress(SSL.WantReadError):
                side.do_handshake()
                if side in waiting:
                    waiting.remove(side)
            with suppress(SSL.WantReadError):
                other.bio_write(side.bio_read(1 << 16))


def _words(error: SSL.Error) -> str:
    """OpenSSL's reasons."""
    return ", ".join(reason for _library, _function, reason in error.args[0]) if error.args else type(error).__name__


def _select_protocol(connection: SSL.Connection, offered: list[bytes]) -> bytes:
    """RFC 7301 section 3.2: a client that offers only other protocols is refused.

    Mail clients offer none, or ours. A client with another protocol, such as a browser, was redirected here by an attacker
    who wants it to take POP3 replies for HTTP's (ALPACA).
    """
    spoken = (connection.protocol if isinstance(connection, DirectConnection) else b"") or ALPN
    if spoken not in offered:
        raise NoApplicationProtocol
    return spoken
