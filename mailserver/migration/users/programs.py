"""Programs that read other servers' files for us."""

from __future__ import annotations


class NoProgram(Exception):
    """The program that reads the file is missing. The text says where it is from."""
