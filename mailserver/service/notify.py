"""Notifies systemd that the service is ready, reloads, stops and is alive (sd_notify(3)).

Each notification is a datagram to the socket in NOTIFY_SOCKET. A service needs no more of the protocol, so this module replaces
a dependency.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Final

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

AGAIN_SECONDS: Final = 0.1
"""systemd's queue of datagrams can be full for a moment, when many services start at once."""

log = Logger()


class Notifier:
    """Notifies systemd for this process; it removes the variables, so that no child does. `alive`: whether the server serves.

    Without NOTIFY_SOCKET it does nothing.
    """

    def __init__(self, environment: MutableMapping[str, str], reactor: Any, alive: Callable[[], bool]) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        microseconds = environment.pop("WATCHDOG_USEC", "")
        self._watched = environment.pop("WATCHDOG_PID", "")
        self._interval = int(microseconds) / 2_000_000 if microseconds.isdecimal() else 0.0  # half, as sd_notify says
        self._reactor = reactor
        self._alive = alive
        self._watchdog = LoopingCall(self._ping)
        self._watchdog.clock = reactor
        self._ready = self._warned = False

    def ready(self, status: str) -> None:
        """Connections are accepted; from now on the watchdog hears of us as long as the reactor turns and somebody serves."""
        self._ready = True
        self._send(f"READY=1\nSTATUS={status}")
        # The process that was told to is known only now: twistd goes into the background after it has read its options.
        if self._interval and self._watched in ("", str(os.getpid())) and not self._watchdog.running:
            self._watchdog.start(self._interval)

    def reloading(self) -> None:
        """A reload has begun."""
        if self._ready:
            self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def reloaded(self) -> None:
        """The reload is done."""
        if self._ready:
            self._send("READY=1")

    def stopping(self) -> None:
        """The stop has begun. The watchdog is notified until the end, since a stop has a time limit of its own."""
        self._send("STOPPING=1")

    def succeeded_by(self, pid: int) -> None:
        """Another process is the service's main one from now on, and speaks for it; this one says no more."""
        self._send(f"MAINPID={pid}")
        self.close()
        self._address = ""

    def close(self) -> None:
        """Send nothing any more."""
        self._ready = False
        if self._watchdog.running:
            self._watchdog.stop()

    def _ping(self) -> None:
        if self._alive():
            self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(message.encode(), self._address)
        except BlockingIOError:
            self._reactor.callLater(AGAIN_SECONDS, self._send, message)
        except OSError as error:
            if not self._warned:
                self._warned = True
                log.warn("systemd cannot be notified: {reason}", event="notify.failed", reason=str(error))
