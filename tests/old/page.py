"""The commands and settings of docs/migration.md, as they stand there but for the places that the page itself names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.cli.running import environment

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs/migration.md").read_text("utf-8")

BLOCKS: Final = {
    name: textwrap.dedent(text)
    for _, _, name, text in re.findall(r"(?m)^( *)```(\w*)\n\1# (.*)\n((?:.*\n)*?)\1```$", PAGE)
}
"""By their first line, which is a comment that says what they are."""

SECONDS: Final = 120


def block(name: str, places: Mapping[str, object]) -> str:
    """The block of this name with other places in it; all that are given must occur."""
    text = BLOCKS[name]
    for old, new in places.items():
        assert old in text, f"{old} is not in the block {name!r}"
        text = text.replace(old, str(new))
    return text


class Shell:
    """Runs blocks of the page, with the tested command, and with programs of other servers that know their configuration."""

    def __init__(self, folder: Path, config: Path) -> None:
        self.folder = folder
        self.config = config
        run = f"exec {sys.executable} -P -m mailserver"
        state = f"--state {folder}/moves"  # its default is a folder of the machine
        move = f'"migrate mail") shift 2; {run} migrate mail {state} "$@";; import*) shift; {run} import {state} "$@";;'
        self.program("mailserver", f'case "$1 $2" in {move} esac; {run} "$@"')

    def program(self, name: str, script: str) -> None:
        """Put one before those of the machine."""
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def __call__(self, name: str, places: Mapping[str, object] | None = None, status: int = 0) -> str:
        """Run a block to its end, which must be with this exit status, each command before with 0; what it wrote."""
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        ended = subprocess.run(
            ["/bin/sh", "-eu", "-c", block(name, places or {})],
            env=environment(PATH=path, MAILSERVER_CONFIG=str(self.config)),
            cwd=self.folder,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        told = ended.stdout.decode() + ended.stderr.decode()
        assert ended.returncode == status, (name, ended.returncode, told)
        return told
