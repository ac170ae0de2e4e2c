"""Stores of other packages: plugins of Twisted's, by which the configuration names them.

A package has them in a folder ``twisted/plugins`` without ``__init__.py``; docs/your-own-store.md has an example.
"""

from __future__ import annotations

from collections.abc import Mapping

from zope.interface import Attribute, Interface

from mailserver.interfaces import IStore
from mailserver.plugged import plugged


class IStoreFactory(Interface):
    """Provided, beside Twisted's `IPlugin`, by an object in a plugin's module."""

    scheme: str = Attribute("The beginning of the store's URLs, before the colon. Ours come first.")

    def needs(path: str) -> frozenset[str]:
        """`IStore.needs` for a configured path, without making the store. Errors: ValueError for an invalid path."""

    def make(path: str | None, reactor: object) -> IStore:
        """Make the store of a configured path, or with None a store only for users whose own `mail` names the scheme.

        It is called before root is given up, and the store's `start` after. Errors: ValueError.
        """


def store_factories() -> Mapping[str, IStoreFactory]:
    """Those that are installed, by their schemes. This imports their modules."""
    return {each.scheme: each for each in plugged(IStoreFactory)}
