"""``python -m tests.crash.dying_moves FOLDER``: runs of ``mailserver``, of which each is killed at a step of its own.

A line of standard input is ``[STEP, ARGUMENTS]`` in JSON: before the run's step number STEP it kills itself; 0: it runs to its end. The
answer is the run's exit status, as `os.waitstatus_to_exitcode` has it. A step is a system call within FOLDER, as in `dying`. Each run is a fork,
which has imported all but the reactor: so hundreds of them take a minute.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module

from mailserver.cli.main import main
from mailserver.service.preload import load_all
from tests.crash.dying import STEPS, Steps

IMPORTED = (
    "mailserver.cli.migrate_mail",
    "mailserver.cli.moves",
    "mailserver.migration.mbox",
    "mailserver.auth.plugins",
)


def run(folder: bytes, step: int, arguments: list[str]) -> None:
    """In the child."""
    steps = Steps(folder, step)
    for name in ("open", "close", *STEPS):
        steps.watch(name)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    main(arguments)


def serve(folder: bytes) -> None:
    """Fork for each line."""
    for name in IMPORTED:
        import_module(name)
    load_all()
    assert "twisted.internet.reactor" not in sys.modules, "a fork would share it"
    for line in sys.stdin:
        step, arguments = json.loads(line)
        child = os.fork()
        if not child:
            run(folder, step, arguments)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve(os.fsencode(sys.argv[1]))
