"""The first module that twist and twistd import: it ignores SIGHUP, SIGUSR1 and SIGUSR2 before the slow import of all the rest.

A service manager, a certificate's renewal or logrotate may send these signals as soon as the process exists, and by default
they end it. At this time no file was read or opened that would have to be read or opened again, so they are ignored until
`mailserver.cli.signals` handles them.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mailserver.cli import launch


def Options() -> launch.Options:
    """The flags of the command."""
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.SIG_IGN)
    from mailserver.cli import launch

    return launch.Options()


def makeService(options: Any) -> launch.Program:
    """The service that twist and twistd start."""
    from mailserver.cli import launch

    return launch.makeService(options)
