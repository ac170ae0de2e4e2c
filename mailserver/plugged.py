"""Twisted's plugins, looked for once: after root is given up, the user that serves may not be able to read Python's folders.

A reload checks the settings again, and must find the kinds of checkers and stores that the start has found.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from twisted.plugin import getPlugins

from twisted import plugins


def plugged(interface: Any) -> Sequence[Any]:
    """The plugins that provide this interface, in the order of the folders that they are in."""
    return _found(interface, tuple(plugins.__path__))


@cache
def _found(interface: Any, _folders: tuple[str, ...]) -> Sequence[Any]:
    return tuple(getPlugins(interface))
