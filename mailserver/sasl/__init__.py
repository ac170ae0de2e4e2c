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

# fetchmail reads CAPA in pieces of 63 octets and misses a name that two of them share; it then sends the password in the
# clear. So what it can use comes first. The others stand in the order in which a client does best to choose.
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
"""Those that are announced, where they can work, unless the configuration names others."""

BY_NAME: tuple[IMechanism, ...] = (DigestMd5Mechanism(),)
"""Those that must be named to be announced: DIGEST-MD5 is history (RFC 6331), and worth its while to nobody but old clients."""
