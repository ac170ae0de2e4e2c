"""The settings: what can be set, how it is read, and what is wrong with it."""

from mailserver.config.kinds import Listen
from mailserver.config.settings import (
    Auth,
    Certificate,
    Config,
    Kerberos,
    Limits,
    NameRules,
    Sdps,
    Store,
    Tls,
)
from mailserver.errors import ConfigError

__all__ = [
    "Auth",
    "Certificate",
    "Config",
    "ConfigError",
    "Kerberos",
    "Limits",
    "Listen",
    "NameRules",
    "Sdps",
    "Store",
    "Tls",
]
