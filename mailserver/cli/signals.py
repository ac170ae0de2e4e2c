"""The signals of a process, from before anything is bound until its reactor ends."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any


def attend(reactor: Any, reload: Callable[[], object], reopen: Callable[[], object]) -> None:
    """SIGHUP reloads, SIGUSR1 opens the log again, SIGTERM and SIGINT stop, and what comes early is done when the reactor runs.

    The reactor would take the latter two only when it runs; by default they would end a process that has bound already, and
    leave its Unix sockets behind. twistd leaves SIGUSR1 alone, since somebody cares for it.
    """
    signal.signal(signal.SIGHUP, lambda _number, _frame: reactor.callFromThread(reload))
    signal.signal(signal.SIGUSR1, lambda _number, _frame: reactor.callFromThread(reopen))
    signal.signal(signal.SIGTERM, reactor.sigTerm)
    signal.signal(signal.SIGINT, reactor.sigInt)
