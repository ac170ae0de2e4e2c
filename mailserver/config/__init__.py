"""The settings: what can be set, how it is read, and what is wrong with it."""

from mailserver.config.kinds import Listen
from mailserver.config.settings import (
    Auth,
    Certificate,
    Config,
    Kerberos,
    NameRules,
    Sdps,
    Store,
    Tls,
)
from mailserver.errors import ConfigError
from mailserver.limits import Limits

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
