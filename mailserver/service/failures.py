"""Reports why a process cannot serve, and chooses its exit status."""

from __future__ import annotations

import os
import sys

from twisted.logger import Logger
from twisted.python.failure import Failure

from mailserver.errors import Unusable

log = Logger()


def report(failure: Failure) -> int:
    """Report a failure on the real standard error and in the log; answers the exit status."""
    error = failure.value
    if not isinstance(error, Unusable):
        # The reason stands in the line, for JSON keeps a failure's frames and not its words.
        reason = failure.getErrorMessage()
        log.failure("the service failed to start: {reason}", failure, event="service.fault", reason=reason)
        return os.EX_SOFTWARE
    for problem in error.problems:
        print(f"mailserver: {problem}", file=sys.__stderr__, flush=True)
        log.error("{problem}", event="service.config", problem=problem)
    return os.EX_CONFIG
