"""Renewed certificates are served without a restart: the files are watched, loaded in a thread, and swapped.

A certificate and its key are replaced one after the other, so what is found between the two is broken for a moment: a
failure is reported when two polls in a row met it, once, and until all is well the old certificates serve on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailserver.net.certificates import CertificateError
from mailserver.net.tls import CertificateStore, Contexts

log = Logger()

DAY: Final = 86400.0
EXPIRY_WARNING: Final = 14 * DAY
"""Renewal programs begin 30 days before the end: with two weeks left they have failed for two."""
_EXPIRING: Final = "certificate {file} expires in {days} days: renew it"
_EXPIRED: Final = "certificate {file} expired {days} days ago: renew it"


class DeferToThread(Protocol):
    """Runs a function in a thread; `twisted.internet.threads.deferToThreadPool` with its first arguments given."""

    def __call__(self, function: Callable[[], Contexts | None], /) -> Deferred[Contexts | None]:
        """Run it and answer what it answers."""


class CertificateWatch:
    """Polls the files of a CertificateStore every `seconds` and swaps what changed.

    Once a day the contexts are renewed even so, and with them the keys that encrypt session tickets. `now` tells the time
    of day for the warnings of an expiry, as `clock` may count from anywhere.
    """

    def __init__(
        self,
        store: CertificateStore,
        clock: IReactorTime,
        defer_to_thread: DeferToThread,
        seconds: float = 60.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._clock = clock
        self._defer = defer_to_thread
        self._seconds = seconds
        self._now = now
        self._loop = LoopingCall(self.poll)
        self._loop.clock = clock
        self._renewed = clock.seconds()
        self._warned: float | None = None
        self._trouble = ""  # how the last poll failed
        self._reported = ""

    def start(self) -> None:
        """Begin, with a first poll at once."""
        self._loop.start(self._seconds)

    def stop(self) -> None:
        """End; a poll under way may still swap."""
        if self._loop.running:
            self._loop.stop()

    def poll(self) -> Deferred[None]:
        """Load the files if they changed. Never fails: what goes wrong is logged."""
        return Deferred.fromCoroutine(self._renew(forced=False))

    def reload(self) -> Deferred[None]:
        """Load the files now, changed or not; a failure is reported at once (SIGHUP). Never fails either."""
        return Deferred.fromCoroutine(self._renew(forced=True))

    async def _renew(self, *, forced: bool) -> None:
        aged = self._clock.seconds() - self._renewed >= DAY
        before = self._store.loaded.stamp
        try:
            loaded = await self._defer(lambda: self._load(always=forced or aged))
        except CertificateError as error:
            self._failed(error, forced=forced)
        except Exception:  # noqa: BLE001 - a fault of ours must not end the watch; the old certificates serve on
            log.failure("the certificates could not be loaded", event="tls.fault")
        else:
            self._trouble = self._reported = ""
            if loaded is not None:
                self._swap(loaded, told=forced or loaded.stamp != before)
        self._warn_of_expiry()

    def _load(self, *, always: bool) -> Contexts | None:
        """Runs in a thread."""
        if not always and self._store.stamp() == self._store.loaded.stamp:
            return None
        return self._store.load()

    def _swap(self, loaded: Contexts, *, told: bool) -> None:
        self._store.swap(loaded)
        self._renewed = self._clock.seconds()
        if told:
            self._warned = None
            files = [pair.files.certificate for pair in loaded.pairs]
            log.info("certificates loaded: {files}", event="tls.loaded", files=files)

    def _failed(self, error: CertificateError, *, forced: bool) -> None:
        text = str(error)
        again, self._trouble = text == self._trouble, text
        if forced or (again and text != self._reported):
            self._reported = text
            log.error(
                "certificate not renewed, the old one stays in use: {file}: {reason}; {remedy}",
                event="tls.broken",
                file=error.file,
                reason=error.reason,
                remedy=error.remedy,
            )

    def _warn_of_expiry(self) -> None:
        """Name the certificates that end soon, once a day and whenever others were loaded."""
        if self._warned is not None and self._clock.seconds() - self._warned < DAY:
            return
        self._warned = self._clock.seconds()
        for pair in self._store.loaded.pairs:
            left = pair.expires - self._now()
            if left < EXPIRY_WARNING:
                log.warn(
                    _EXPIRED if left < 0 else _EXPIRING,
                    event="tls.expiring",
                    file=pair.files.certificate,
                    days=int(abs(left) // DAY),
                )
