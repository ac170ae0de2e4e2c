"""The signal handlers of a process, installed before any port is bound."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any


def attend(
    reactor: Any, reload: Callable[[], object], reopen: Callable[[], object], restart: Callable[[], object]
) -> None:
    """SIGHUP reloads, SIGUSR1 opens the log again, SIGUSR2 restarts, SIGTERM and SIGINT stop; early signals take effect when the reactor runs.

    The reactor handles SIGTERM and SIGINT only while it runs; before that they would end a process that has bound its ports,
    and leave its Unix sockets behind. twistd does not replace the handler of SIGUSR1, since there is one.
    """
    signal.signal(signal.SIGHUP, lambda _number, _frame: reactor.callFromThread(reload))
    signal.signal(signal.SIGUSR1, lambda _number, _frame: reactor.callFromThread(reopen))
    signal.signal(signal.SIGUSR2, lambda _number, _frame: reactor.callFromThread(restart))
    signal.signal(signal.SIGTERM, reactor.sigTerm)
    signal.signal(signal.SIGINT, reactor.sigInt)
