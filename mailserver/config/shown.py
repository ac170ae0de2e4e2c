"""What of the settings is shown to people: what may be a secret is not."""

from __future__ import annotations

from typing import Final

MASKED: Final = "..."
"""Instead of what may hold a secret."""

OURS: Final = frozenset({"passwd-file", "kerberos-password", "dovecot-auth", "pam", "oauth2", "sql", "ldap"})
"""Checkers that are named by a file or a service, never by a secret."""


def shown_checker(description: str) -> str:
    """A checker as the settings name it, without what may be a secret."""
    kind = description.partition(":")[0]
    return description if kind in OURS else f"{kind}:{MASKED}"
