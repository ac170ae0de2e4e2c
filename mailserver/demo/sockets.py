"""Unix sockets in the demonstration's folder, and the command that uses them, for a line to copy."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Final

LONGEST_PATH: Final = 107
"""Octets of a Unix socket's path (unix(7): 108 with the NUL)."""


def socket_in(var: Path, name: str) -> Path | None:
    """Where a Unix socket may be made; None: the path is too long, or this is root.

    The folder belongs to the user that serves, who could put a link in the socket's place just before root changes the socket's mode.
    """
    path = var / name
    return path if os.geteuid() != 0 and len(os.fsencode(path)) <= LONGEST_PATH else None


def escaped(path: Path) -> str:
    """The path as a part of an endpoint string."""
    return re.sub(r"([\\:=])", r"\\\1", str(path))


def command(*arguments: str) -> str:
    """The line that runs ``mailserver``, in another shell and another folder."""
    script = Path(sys.executable).with_name("mailserver")
    program = [str(script)] if script.exists() else [sys.executable, "-P", "-m", "mailserver"]
    return shlex.join([*program, *arguments])
