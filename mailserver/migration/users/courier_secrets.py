"""How Courier writes secrets, quotas and options, and what they are here."""

from __future__ import annotations

import re
from typing import Final

SCHEMES: Final = {
    "MD5": "PLAIN-MD5",
    "MD5RAW": "PLAIN-MD5",
    "SHA": "SHA",
    "SHA256": "SHA256",
    "SHA512": "SHA512",
    "SSHA": "SSHA",
    "CRYPT": "CRYPT",
}
"""Courier's names of digests, and ours: {MD5} is base64 and {MD5RAW} hexadecimal, which {PLAIN-MD5} reads both."""

_PREFIX: Final = re.compile(r"\{([A-Z0-9]+)\}(.*)", re.DOTALL | re.IGNORECASE)
_QUOTA: Final = re.compile(r"(\d{1,18})([SC])")


def courier_secret(stored: str) -> str:
    """A stored secret with our scheme; an unknown one stays, for the passwd-file's reader to say."""
    match = _PREFIX.fullmatch(stored)
    if match is None:
        return f"{{CRYPT}}{stored}"
    return f"{{{SCHEMES.get(match[1].upper(), match[1].upper())}}}{match[2]}"


def quota_rule(quota: str) -> str:
    """``1000000S,500C`` (octets and messages) as the rule of a passwd-file; "": there is none, or it is not understood."""
    limits: dict[str, str] = {}
    for word in filter(None, quota.replace(" ", "").split(",")):
        match = _QUOTA.fullmatch(word)
        if match is None:
            return ""
        limits["bytes" if match[2] == "S" else "messages"] = match[1]
    return ":".join(["*", *(f"{key}={value}" for key, value in limits.items())]) if limits else ""


def no_pop3(options: str) -> bool:
    """Whether an account's options keep it from POP3."""
    return re.search(r"(?:^|,)\s*disablepop3\s*=\s*(?!0\s*(?:,|$))\S", options) is not None
