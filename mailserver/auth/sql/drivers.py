"""The driver of each kind of database: a module of this folder, which imports its package at the top."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final
from urllib.parse import urlsplit

from mailserver.auth.sql.links import Link
from mailserver.auth.sql.settings import SCHEMES_OF_URLS, SqlSettings
from mailserver.errors import Unusable
from mailserver.modules import why_not
from mailserver.toml_text import Document

EXTRAS: Final[Mapping[str, str]] = {"postgresql": "postgresql", "mysql": "mysql", "sqlite": ""}


class DriverMissing(Unusable):
    """A driver that cannot be imported; the text has the remedy."""


def driver(settings: SqlSettings) -> Callable[[SqlSettings], Link]:
    """What makes links to this kind of database. Errors: DriverMissing."""
    made: Callable[[SqlSettings], Link] = _module(settings.kind or "sqlite").link
    return made


def load(path: str) -> None:
    """Import the driver that a file will need: the user that serves may not be able to. Errors: DriverMissing.

    A file that cannot be read, or says nothing, is an error at the start, and by then another driver may be meant: all that
    are there are imported.
    """
    try:
        data = Document.read(path).data
        kind = SCHEMES_OF_URLS.get(urlsplit(str(data.get("url", ""))).scheme) or data.get("kind")
    except (Unusable, ValueError):  # the latter by a URL that is none
        kind = None
    for each in [kind] if isinstance(kind, str) and kind in EXTRAS else EXTRAS:
        try:
            _module(each)
        except DriverMissing:
            if each == kind:
                raise


def _module(kind: str) -> Any:
    try:
        return import_module(f"mailserver.auth.sql.{kind}")
    except ImportError as error:
        raise DriverMissing(why_not(error, EXTRAS[kind])) from None
