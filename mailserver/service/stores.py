"""The stores of the settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.cred.checkers import ICredentialsChecker

from mailserver.config.problems import Problems
from mailserver.config.settings import Config
from mailserver.delivery.expiry import Expiry
from mailserver.envelope import EnvelopeHeaders
from mailserver.errors import ConfigError
from mailserver.forwarding import Forwarding
from mailserver.interfaces import IStore, IUsers
from mailserver.names import Names
from mailserver.service.retention import with_retention
from mailserver.store import SharedStore, open_stores
from mailserver.store.deleting import EXPUNGE, read_deleting
from mailserver.store.maildir.foreign import NO_FORMER, read_formerly


def make_store(  # noqa: PLR0913, PLR0917 - what a server has made before it
    config: Config,
    naming: Names | None,
    checkers: Sequence[ICredentialsChecker],
    problems: Problems,
    reactor: Any,
    expiry: Expiry | None = None,
    opened: IStore | None = None,
) -> IStore | None:
    """The stores, if these checkers can serve them; None where `problems` say why there is none.

    Without `naming`, the rules for names are among the problems already. With `expiry`, logins remove old mail.
    What is `opened` already by the `same_store` settings goes on behind it.
    """
    deleting = EXPUNGE
    if problems.sound("delivery.delete"):
        with problems.collect("delivery.delete", ValueError):
            deleting = read_deleting(config.delivery.delete)
    formerly = NO_FORMER
    if problems.sound("store.former", "store.unique_ids"):
        with problems.collect("store.former", ValueError):
            formerly = read_formerly(config.store.former, config.store.unique_ids)
    if naming is None or not problems.sound("store.url", "auth.checkers"):
        return None
    settings, sdps = config.store, config.sdps
    headers = EnvelopeHeaders(sdps.sender_headers, sdps.recipient_headers)
    made: IStore | None = None
    store: IStore
    with problems.collect("store.url", ValueError):
        store = opened or open_stores(
            settings.url,
            reactor,
            seen=settings.seen,
            io=settings.io,
            headers=headers,
            deleting=deleting,
            formerly=formerly,
        )
        complete = len(checkers) == len(config.auth.checkers)  # else one that could not be made may know the homes
        if complete and "home" in store.needs and not any(map(IUsers.providedBy, checkers)):
            raise ConfigError(["store.url: no checker knows the {home} of users: use {user}, or a passwd-file"])
        if expiry is not None:
            store = with_retention(store, expiry, checkers, deleting)
        made = SharedStore(store, naming) if naming.accounts else store
    return made  # noqa: RET504 - None where the block collected a problem


def same_store(one: Config, other: Config) -> bool:
    """Whether what opens maildrops is the same by both settings."""
    return _about_stores(one) == _about_stores(other)


def _about_stores(config: Config) -> tuple[object, ...]:
    return config.store, config.sdps.sender_headers, config.sdps.recipient_headers, config.delivery.delete


def innermost(store: IStore) -> IStore:
    """What opens maildrops, behind what is in front of it."""
    while isinstance(store, Forwarding):
        store = store.behind
    return store
