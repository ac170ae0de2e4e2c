"""What twist and twistd import first of us: it takes care of SIGHUP, and then imports all the rest, which takes its time.

A service manager, or a certificate's renewal, may send SIGHUP as soon as there is a process, and by default that ends it.
Nothing was read yet that could have to be read again, so until `mailserver.cli.signals` it is ignored.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mailserver.cli import launch


def Options() -> launch.Options:
    """The flags of the command."""
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from mailserver.cli import launch

    return launch.Options()


def makeService(options: Any) -> launch.Program:
    """What twist and twistd start."""
    from mailserver.cli import launch

    return launch.makeService(options)
