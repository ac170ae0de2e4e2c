"""How a newcomer sends a message to the demonstration's account: where mail is taken, and a line to copy."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from mailserver.demo.sockets import command, escaped, socket_in

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
    """A Unix socket in the folder, or else what `port` chooses of this machine."""
    if (path := socket_in(var, "lmtp.sock")) is not None:
        return Intake(f"unix:{escaped(path)}:mode=600", ("--socket", str(path)), str(path))
    number = port()
    return Intake(f"tcp:{number}:interface=127.0.0.1", ("--lmtp", f"tcp:{number}"), f"127.0.0.1, port {number}")


def line(where: Intake, account: str) -> str:
    """The line that sends a message, in another shell and another folder."""
    return f"printf {shlex.quote(MESSAGE)} | {command('deliver', *where.options, account)}"


def newest(url: str) -> str:
    """The line that fetches the newest message: whose number is the number of lines of the list."""
    return f"curl {url}/$(curl -s {url} | grep -c .)"
