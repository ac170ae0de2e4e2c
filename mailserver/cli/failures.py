"""How a process that cannot serve says so, and with which exit status it ends."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from twisted.logger import Logger
from twisted.python.failure import Failure

from mailserver.config import ConfigError

log = Logger()


def report(failure: Failure, output: TextIO | None) -> int:
    """Tell the operator, in `output` and in the log; answers the exit status."""
    output = output or sys.stderr
    error = failure.value
    if not isinstance(error, ConfigError):
        failure.printTraceback(output)
        log.failure("the service failed to start", failure, event="service.fault")
        return os.EX_SOFTWARE
    for problem in error.problems:
        output.write(f"mailserver: {problem}\n")
        log.error("{problem}", event="service.config", problem=problem)
    output.flush()
    return os.EX_CONFIG
