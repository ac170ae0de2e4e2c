"""What twist and twistd import first of us: it takes care of SIGHUP and SIGUSR1, and then imports all the rest, which takes its time.

A service manager, a certificate's renewal or logrotate may send them as soon as there is a process, and by default they end it.
Nothing was read or opened yet that could have to be read or opened again, so until `mailserver.cli.signals` they are ignored.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mailserver.cli import launch


def Options() -> launch.Options:
    """The flags of the command."""
    for number in (signal.SIGHUP, signal.SIGUSR1):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.SIG_IGN)
    from mailserver.cli import launch

    return launch.Options()


def makeService(options: Any) -> launch.Program:
    """What twist and twistd start."""
    from mailserver.cli import launch

    return launch.makeService(options)
