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
from mailserver.limits import Delivery, Limits, QuotaRules

__all__ = [
    "Auth",
    "Certificate",
    "Config",
    "ConfigError",
    "Delivery",
    "Kerberos",
    "Limits",
    "Listen",
    "NameRules",
    "QuotaRules",
    "Sdps",
    "Store",
    "Tls",
]
