"""The settings that are in effect, and those that mailserver.toml has now, with the same flags over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twisted.logger import Logger

from mailserver.config.fixed import differences, fixed_as, is_fixed
from mailserver.config.problems import Problems
from mailserver.config.reading import Flag, Misread, load
from mailserver.config.settings import Config
from mailserver.toml_text import Key

log = Logger()


@dataclass(frozen=True, slots=True)
class Reread:
    """What a running server can take of the settings."""

    config: Config
    """With what only a restart can change as it is."""
    problems: Problems
    changed: list[str]
    """The settings that differ from those in effect, by name."""
    restart: list[str]
    """Those of them, or others, that wait for a restart."""


class Changes:
    """Reads the file again. `flags` are the settings that the command line sets, which the file cannot change."""

    def __init__(self, path: str | None, flags: Mapping[Key, Flag]) -> None:
        self._path = Path(path).absolute() if path else None  # twistd may change the working directory
        self._flags = flags
        self.unread = ""
        """Why the file could not be read the last time."""

    def read(self, present: Config) -> Reread | None:
        """The settings of now, beside those that are in effect; None: there is no file, or this process cannot read it.

        Errors: ConfigError, where the file is none of settings.
        """
        self.unread = ""
        if self._path is None:
            return None
        # This blocks the reactor: for a few kilobytes from the disk with /etc, when an operator sends SIGHUP.
        try:
            self._path.open("rb").close()
        except OSError as error:  # the user that serves need not be able to read it
            log.info(UNREAD, event="service.settings_unread", path=str(self._path), reason=error.strerror)
            self.unread = UNREAD.format(path=self._path, reason=error.strerror)
            return None
        try:
            config = load(str(self._path), self._flags)
            problems = Problems(config.places)
        except Misread as error:
            config, problems = error.config, Problems.after(error)
        return self._compared(present, config, problems)

    def _compared(self, present: Config, config: Config, problems: Problems) -> Reread:
        restart = [name for name in differences(present, config) if is_fixed(name)]
        if restart and not problems:
            names = ", ".join(restart)
            log.warn(CHANGED, event="service.settings_changed", path=str(self._path), settings=names)
        mixed = fixed_as(config, present, problems)
        return Reread(mixed, problems, differences(present, mixed), restart)


UNREAD = "{path} cannot be read ({reason}), so the settings stay as they are"
CHANGED = "{path} has changed: restart to apply {settings}"
