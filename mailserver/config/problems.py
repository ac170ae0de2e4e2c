"""What is wrong at a start, collected, so that the operator hears all of it in one run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Self

from mailserver.config.reading import Misread, load
from mailserver.config.settings import Config
from mailserver.errors import ConfigError
from mailserver.modules import unusable_for


class Problems:
    """Collects what is the operator's to mend. Any other error is a fault of ours, and passes through.

    `places` tells where settings were given, by their dotted names. A problem begins with its setting, and so finds its place.
    """

    def __init__(self, places: Mapping[str, str] | None = None) -> None:
        self._places = places or {}
        self._found: dict[str, None] = {}
        self._unsound: frozenset[str] = frozenset()
        self._blamed: set[str] = set()

    @classmethod
    def after(cls, misread: Misread) -> Self:
        """What the reader of the settings found, and a start goes on from."""
        problems = cls(misread.config.places)
        problems._found = dict.fromkeys(misread.problems)
        problems._unsound = misread.unsound
        return problems

    @classmethod
    def adopted(cls, places: Mapping[str, str], found: Iterable[str], unsound: Iterable[str]) -> Self:
        """What another process has `passed`."""
        problems = cls(places)
        problems._found = dict.fromkeys(found)
        problems._unsound = frozenset(unsound)
        return problems

    def passed(self) -> dict[str, list[str]]:
        """What is known so far, for another process that goes on from it."""
        return {"found": list(self._found), "unsound": sorted(self._unsound)}

    def __bool__(self) -> bool:
        return bool(self._found)

    def sound(self, *settings: str) -> bool:
        """Whether these and what is below them were read as they were meant; else what comes of them is no problem of its own."""
        return not any(_overlap(each, setting) for each in self._unsound for setting in settings)

    def wrong(self, setting: str) -> bool:
        """Whether something of it was found, so that it does not hold, and what comes of that is no problem of its own."""
        return setting in self._blamed or not self.sound(setting)

    def add(self, problem: str) -> None:
        """One more, such as "user: there is no such user"."""
        setting = problem.partition(":")[0]
        self._blamed.add(setting)
        place = self._place(setting)
        self._found[f"{place}: {problem}" if place else problem] = None

    @contextmanager
    def collect(self, setting: str, *errors: type[Exception]) -> Iterator[None]:
        """Collect what the block raises for the operator, as `errors.unusable_for` says it is, and `errors`."""
        try:
            yield
        except Exception as error:
            unusable = unusable_for(error, *errors)
            if unusable is None:
                raise
            named = isinstance(error, ConfigError)  # it names its settings itself
            for problem in unusable.problems:
                self.add(problem if named else f"{setting}: {problem}")

    def check(self) -> None:
        """Go on only if there is none. Errors: ConfigError, with all of them."""
        if self._found:
            raise ConfigError(list(self._found))

    def _place(self, setting: str) -> str:
        while setting and setting not in self._places:
            setting = setting.rpartition(".")[0]
        return self._places.get(setting, "")


def load_usable(path: str) -> tuple[Config, Problems]:
    """What can be used of the settings in a file, and what is wrong with the others. Errors: ConfigError, where nothing can."""
    try:
        config = load(path, {})
    except Misread as error:
        return error.config, Problems.after(error)
    return config, Problems(config.places)


def _overlap(one: str, other: str) -> bool:
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")
