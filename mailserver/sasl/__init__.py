"""SASL mechanisms (RFC 4422) as pure exchanges, one file each; `MECHANISMS` is their order in CAPA."""

from __future__ import annotations

from mailserver.exchange import IMechanism
from mailserver.sasl.cram_md5 import CramMd5Mechanism
from mailserver.sasl.digest_md5 import DigestMd5Mechanism
from mailserver.sasl.external import ExternalMechanism
from mailserver.sasl.gssapi import GssapiMechanism
from mailserver.sasl.login import LoginMechanism
from mailserver.sasl.oauth import OAUTHBEARER, XOAUTH2
from mailserver.sasl.plain import PlainMechanism
from mailserver.sasl.scram import ScramMechanism

# fetchmail reads CAPA in pieces of 63 octets and misses a name that is split over two of them; it then sends the password
# in the clear. So the mechanisms that fetchmail can use come first; the others follow, the best first.
MECHANISMS: tuple[IMechanism, ...] = (
    GssapiMechanism(),
    CramMd5Mechanism(),
    ScramMechanism(b"SCRAM-SHA-256", "sha256", plus=True),
    ScramMechanism(b"SCRAM-SHA-256", "sha256"),
    ScramMechanism(b"SCRAM-SHA-1", "sha1", plus=True),
    ScramMechanism(b"SCRAM-SHA-1", "sha1"),
    PlainMechanism(),
    LoginMechanism(),
    OAUTHBEARER,
    XOAUTH2,
    ExternalMechanism(),
)
"""The mechanisms that are announced where they can work, unless the configuration names others."""

BY_NAME: tuple[IMechanism, ...] = (DigestMd5Mechanism(),)
"""The mechanisms that the configuration must name: DIGEST-MD5 is historic (RFC 6331), and only old clients need it."""
