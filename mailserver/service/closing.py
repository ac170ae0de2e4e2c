"""The end of what was opened: each thing by itself, so that one that cannot be let go of keeps none of the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import maybeDeferred
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.tcp import Port
from twisted.logger import Logger
from twisted.python.failure import Failure

log = Logger()


async def close_ports(ports: Iterable[Any]) -> None:
    """Close listening ports. What cannot be closed as Twisted does it is told, and its socket is closed all the same."""
    for port in ports:
        try:
            await maybeDeferred(port.stopListening)
        except OSError as error:  # a Unix socket whose folder is not ours to write to, after root was given up
            address = port.getHost()
            path = os.fsdecode(address.name or b"") if isinstance(address, UNIXAddress) else str(address)
            log.warn(
                "{path} stays behind: it cannot be removed ({reason}, errno {errno})",
                event="service.left_behind",
                path=path,
                reason=error.strerror,
                errno=error.errno,
            )
            _close(port)
        except Exception:  # noqa: BLE001 - a fault, told as one; the next port is closed all the same
            log.failure("a port could not be closed", event="service.stop_fault")
            _close(port)


def _close(port: Any) -> None:
    """Twisted removes the path first, and the socket still listens if that failed."""
    if port.connected:
        Port.connectionLost(port, Failure(CONNECTION_DONE))


async def stop_all(stops: list[Callable[[], object]]) -> None:
    """Call them, the last first, and wait for each; one that fails is told. The list is empty afterwards."""
    while stops:
        try:
            await maybeDeferred(stops.pop())
        except Exception:  # noqa: BLE001 - a fault of one part; the others are to stop all the same
            log.failure("a part of the service could not be stopped", event="service.stop_fault")
