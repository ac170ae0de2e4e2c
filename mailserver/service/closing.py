"""Closes ports and stops parts, each separately, so that a failure of one does not affect the others."""

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
    """Close listening ports. If Twisted cannot close one, that is logged, and the socket is closed directly."""
    for port in ports:
        try:
            await maybeDeferred(port.stopListening)
        except OSError as error:  # a Unix socket in a folder that only root can write to
            address = port.getHost()
            path = os.fsdecode(address.name or b"") if isinstance(address, UNIXAddress) else str(address)
            log.info(
                "{path} stays behind, for the next start to remove: this user cannot ({reason}, errno {errno})",
                event="service.left_behind",
                path=path,
                reason=error.strerror,
                errno=error.errno,
            )
            _close(port)
        except Exception:  # noqa: BLE001 - a fault, logged as one; the next port is still closed
            log.failure("a port could not be closed", event="service.stop_fault")
            _close(port)


def _close(port: Any) -> None:
    """Close the socket directly: Twisted removes the path first, and if that fails the socket still listens."""
    if port.connected:
        Port.connectionLost(port, Failure(CONNECTION_DONE))


async def stop_all(stops: list[Callable[[], object]]) -> None:
    """Call all of them in reverse order, and wait for each; failures are logged. The list is empty afterwards."""
    while stops:
        try:
            await maybeDeferred(stops.pop())
        except Exception:  # noqa: BLE001 - a fault of one part; the others must still stop
            log.failure("a part of the service could not be stopped", event="service.stop_fault")
