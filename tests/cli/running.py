"""The command as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mailserver

ROOT = str(Path(mailserver.__file__).parents[1])
COMMAND = (sys.executable, "-P", "-m", "mailserver")


def environment(**more: str) -> dict[str, str]:
    """That of the tests, in which the command is the tested one, and has no configuration."""
    path = os.pathsep.join([ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "80", "MAILSERVER_CONFIG": "/nowhere/mailserver.toml", **more}


def run(
    *arguments: str, stdin: Any = b"", command: Sequence[str] = COMMAND, **more: str
) -> subprocess.CompletedProcess[bytes]:
    """Run it to its end."""
    given = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
    return subprocess.run(
        [*command, *arguments], env=environment(**more), capture_output=True, check=False, timeout=120, **given
    )
