"""Finds the settings of mailserver.toml that have changed since the process was started."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from mailserver.errors import Unusable
from mailserver.toml_text import Document, Key

log = Logger()


class Changes:
    """Remembers the present file. `flags` are the settings that the command line sets, which the file cannot change."""

    def __init__(self, path: str | None, flags: Container[Key]) -> None:
        self._path = Path(path).absolute() if path else None  # twistd may change the working directory
        self._flags = flags
        self._before = settings_of(self._path) if self._path else {}

    def tell(self) -> None:
        """At SIGHUP, which applies no settings: log the names of changed ones, without values, since some are secrets."""
        if self._path is None:
            return
        # This blocks the reactor: for a few kilobytes from the disk with /etc, when an operator sends SIGHUP.
        try:
            now = settings_of(self._path)
        except OSError as error:  # the user that serves need not be able to read it
            log.info(UNREAD, event="service.settings_unread", path=str(self._path), reason=error.strerror)
            return
        except (UnicodeDecodeError, Unusable) as error:
            log.warn(BROKEN, event="service.settings_broken", path=str(self._path), reason=str(error))
            return
        changed = sorted(".".join(key) for key in now.keys() | self._before.keys() if self._differs(key, now))
        if changed:
            log.warn(CHANGED, event="service.settings_changed", path=str(self._path), settings=", ".join(changed))

    def _differs(self, key: tuple[str, ...], now: Mapping[tuple[str, ...], object]) -> bool:
        return key not in self._flags and now.get(key) != self._before.get(key)


UNREAD = "{path} cannot be read ({reason}), so it is unknown whether it has changed"
BROKEN = "{path} is broken, so a restart would fail ({reason})"
CHANGED = "{path} has changed: restart to apply {settings}"


def settings_of(path: Path) -> dict[tuple[str, ...], Any]:
    """The settings of a TOML file, by table and name. Errors: OSError, UnicodeDecodeError, Unusable."""
    found: dict[tuple[str, ...], Any] = {}
    for name, value in Document.parse(path.read_text(encoding="utf-8"), str(path)).data.items():
        if isinstance(value, dict):
            found.update({(name, setting): each for setting, each in value.items()})
        else:
            found[name,] = value
    return found
