"""How this process was started, so that another one can be started in the same way."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NamedTuple


class Origin(NamedTuple):
    """A command line, and what was around it."""

    command: tuple[str, ...]
    folder: str
    environment: Mapping[str, str]

    @classmethod
    def here(cls) -> Origin:
        """This process's: to be asked before it changes its folder, or takes a variable away."""
        return cls(tuple(sys.orig_argv), os.getcwd(), dict(os.environ))  # noqa: PTH109 - a string for the system
