"""The command as a process. It is forked where its start is not the point (`tests.forking`): that costs a tenth of a second, not one half."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mailserver
from tests.forking import Forked, commands
from tests.servers import PATH

ROOT = str(Path(mailserver.__file__).parents[1])
COMMAND = (sys.executable, "-P", "-m", "mailserver")
SECONDS = 120


def environment(**more: str) -> dict[str, str]:
    """That of the tests, in which the command is the tested one, and has no configuration."""
    path = os.pathsep.join([ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "80", "MAILSERVER_CONFIG": "/nowhere/mailserver.toml", **more}


def run(
    *arguments: str, stdin: Any = b"", command: Sequence[str] = COMMAND, started: bool = False, **more: str
) -> subprocess.CompletedProcess[bytes]:
    """Run it to its end; `started`: with an interpreter of its own, as what mail servers call for each message always is."""
    words, env = [*command, *arguments], environment(**more)
    started = started or "deliver" in arguments or not isinstance(stdin, bytes)
    if not started and (forking := commands(PATH)).fits(words, env):
        forked = forking.start(words, env, Path.cwd(), stdin)
        stdout, stderr = forked.communicate(SECONDS)
        return subprocess.CompletedProcess(words, forked.wait(0), stdout, stderr)
    given = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
    return subprocess.run(words, env=env, capture_output=True, check=False, timeout=SECONDS, **given)


def begin(*arguments: str, **more: str) -> Forked | subprocess.Popen[bytes]:
    """Start it, with nothing to read; its standard output and error are pipes."""
    words, env = [*COMMAND, *arguments], environment(**more)
    if (forking := commands(PATH)).fits(words, env):
        return forking.start(words, env, Path.cwd(), b"")
    return subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
