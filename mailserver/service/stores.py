"""The stores of the settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.cred.checkers import ICredentialsChecker

from mailserver.config.settings import Config
from mailserver.envelope import EnvelopeHeaders
from mailserver.errors import ConfigError
from mailserver.interfaces import IStore, IUsers
from mailserver.store import SharedStore, open_stores


def make_store(config: Config, checkers: Sequence[ICredentialsChecker], reactor: Any) -> IStore:
    """The stores of the settings, if these checkers can serve it. Errors: ConfigError; ValueError, for the operator."""
    settings = config.store
    headers = EnvelopeHeaders(config.sdps.sender_headers, config.sdps.recipient_headers)
    store = open_stores(settings.url, reactor, seen=settings.seen, io=settings.io, headers=headers)
    made = len(checkers) == len(config.auth.checkers)  # else one that could not be made may know the homes
    if made and "home" in store.needs and not any(map(IUsers.providedBy, checkers)):
        raise ConfigError(["store.url: no checker knows the {home} of users: use {user}, or a passwd-file"])
    return SharedStore(store, config.naming()) if config.sdps.accounts else store
