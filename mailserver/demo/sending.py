"""How a newcomer sends a message to the demonstration's account: where mail is taken, and a line to copy."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

LONGEST_PATH: Final = 107
"""Octets of a Unix socket's path (unix(7): 108 with the NUL)."""

MESSAGE: Final = r"From: you@localhost\nSubject: Hello\n\nThis message came in by LMTP.\n"


class Intake(NamedTuple):
    """Where mail is taken."""

    endpoint: str
    """For the server."""
    options: tuple[str, ...]
    """For ``mailserver deliver``."""
    shown: str
    """For people."""


def intake(var: Path, port: Callable[[], int]) -> Intake:
    """A Unix socket in the folder, or else what `port` chooses of this machine.

    As root it is a port. The folder belongs to the user that serves, who could put a link in the socket's place just before root
    changes the socket's mode.
    """
    path = var / "lmtp.sock"
    if os.geteuid() != 0 and len(os.fsencode(path)) <= LONGEST_PATH:
        escaped = re.sub(r"([\\:=])", r"\\\1", str(path))
        return Intake(f"unix:{escaped}:mode=600", ("--socket", str(path)), str(path))
    number = port()
    return Intake(f"tcp:{number}:interface=127.0.0.1", ("--lmtp", f"tcp:{number}"), f"127.0.0.1, port {number}")


def line(where: Intake, account: str) -> str:
    """The line that sends a message, in another shell and another folder."""
    script = Path(sys.executable).with_name("mailserver")
    command = [str(script)] if script.exists() else [sys.executable, "-P", "-m", "mailserver"]
    return f"printf {shlex.quote(MESSAGE)} | {shlex.join([*command, 'deliver', *where.options, account])}"


def newest(url: str) -> str:
    """The line that fetches the newest message: whose number is the number of lines of the list."""
    return f"curl {url}/$(curl -s {url} | grep -c .)"
