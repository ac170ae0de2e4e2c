"""Serves renewed certificates without a restart: watches the files, loads them in a thread, and swaps the contexts.

A broken pair affects no other: its old certificate stays in use, and the others are renewed. A renewal program replaces a
certificate and its key one after the other, so between the two they do not fit for a moment. Therefore a failure is reported
only when two polls in a row find it, and then once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailserver.errors import TemporaryFailure
from mailserver.tls.certificate_store import CertificateStore, Contexts
from mailserver.tls.certificates import CertificateError

log = Logger()

DAY: Final = 86400.0
EXPIRY_WARNING: Final = 14 * DAY
"""Renewal programs begin 30 days before the expiry: with two weeks left they have failed for two weeks."""
_WHOLE_CHAIN: Final = "give the file that holds the whole chain (certbot's fullchain.pem, not cert.pem)"
_EXPIRING: Final = "certificate {file} expires in {days} days: renew it"
_EXPIRED: Final = "certificate {file} expired {days} days ago: renew it"


class DeferToThread(Protocol):
    """Runs a function in a thread, as a `Pool`'s `run` does."""

    def __call__(self, function: Callable[[], Contexts | None], /) -> Deferred[Contexts | None]:
        """Run the function, and answer its result."""


class CertificateWatch:
    """Polls the files of a CertificateStore every `seconds`, and swaps the contexts when they changed.

    Once a day it makes new contexts in any case, for new keys that encrypt session tickets; the store's own secret of tickets
    changes as its source says, which each poll asks. `now` tells the time of day for warnings of an expiry, since `clock` may count from any start. If `hostname` is given, one of the certificates should be
    for it.
    """

    def __init__(  # noqa: PLR0913 - the last three have defaults
        self,
        store: CertificateStore,
        clock: IReactorTime,
        defer_to_thread: DeferToThread,
        seconds: float = 60.0,
        now: Callable[[], float] = time.time,
        *,
        hostname: str = "",
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
        self._hostname = hostname
        self._troubles: frozenset[str] = frozenset()  # the errors of the last poll
        self._reported: frozenset[str] = frozenset()

    def start(self) -> None:
        """Begin to poll, with a first poll at once."""
        self._loop.start(self._seconds)

    def stop(self) -> None:
        """Stop polling; a poll under way may still swap."""
        if self._loop.running:
            self._loop.stop()

    def poll(self) -> Deferred[None]:
        """Load the files if they changed. Never fails: errors are logged."""
        return Deferred.fromCoroutine(self._renew(forced=False))

    def reload(self) -> Deferred[None]:
        """Load the files now, changed or not; a failure is reported at once (SIGHUP). Never fails either."""
        return Deferred.fromCoroutine(self._renew(forced=True))

    async def _renew(self, *, forced: bool) -> None:
        aged = self._clock.seconds() - self._renewed >= DAY
        try:
            loaded = await self._defer(lambda: self._load(always=forced or aged))
        except TemporaryFailure:
            return  # the stop has begun, or many loads wait, of which the last will see the same files
        except Exception:  # noqa: BLE001 - a fault must not end the watch; the old certificates stay in use
            log.failure("the certificates could not be loaded", event="tls.fault")
        else:
            self._report(() if loaded is None else loaded.troubles, forced=forced)
            old = self._store.loaded
            changed = loaded is not None and loaded.stamp != old.stamp
            if loaded is not None and (forced or aged or changed or loaded.tickets != old.tickets):
                self._swap(loaded, logged=forced or changed)
        self._warn()

    def _load(self, *, always: bool) -> Contexts | None:
        """Load the files unless they are unchanged. Runs in a thread."""
        if not always and not self._store.is_outdated():
            return None
        return self._store.load()

    def _swap(self, loaded: Contexts, *, logged: bool) -> None:
        self._store.swap(loaded)
        self._renewed = self._clock.seconds()
        if logged:
            self._warned = None
            kept = {error.file for error in loaded.troubles}
            files = [
                pair.files.certificate
                for pair in loaded.pairs
                if kept.isdisjoint((pair.files.certificate, pair.files.key))
            ]
            log.info("certificates loaded: {files}", event="tls.loaded", files=files)

    def _report(self, troubles: Sequence[CertificateError], *, forced: bool) -> None:
        """Log each error once: when two polls in a row found it, or at once when the operator forced the reload."""
        met = {str(error): error for error in troubles}
        due = [text for text in met if text not in self._reported and (forced or text in self._troubles)]
        self._troubles = frozenset(met)
        self._reported = (self._reported | frozenset(due)) & self._troubles
        for error in (met[text] for text in due):
            log.error(
                "not renewed, what was in use stays so: {file}: {reason}; {remedy}",
                event="tls.broken",
                file=error.file,
                reason=error.reason,
                remedy=error.remedy,
            )

    def _warn(self) -> None:
        """Log doubtful and expiring certificates in use: once a day, and after each reload."""
        if self._warned is not None and self._clock.seconds() - self._warned < DAY:
            return
        self._warned = self._clock.seconds()
        for file, reason, remedy in remarks(self._store.loaded, self._now(), self._hostname):
            log.warn(
                "certificate {file} {reason}; {remedy}", event="tls.doubtful", file=file, reason=reason, remedy=remedy
            )
        for pair in self._store.loaded.pairs:
            left = pair.expires - self._now()
            if left < EXPIRY_WARNING:
                log.warn(
                    _EXPIRED if left < 0 else _EXPIRING,
                    event="tls.expiring",
                    file=pair.files.certificate,
                    days=int(abs(left) // DAY),
                )


def remarks(loaded: Contexts, now: float, hostname: str) -> Iterator[tuple[str, str, str]]:
    """Problems of certificates that work here but fail in clients, except an expiry: file, reason and remedy of each."""
    for proven in loaded.proven:
        pair = proven.pair
        file = pair.files.certificate
        if not pair.complete:
            yield file, "comes without its issuer's certificate, so clients cannot verify it", _WHOLE_CHAIN
        if pair.begins > now:
            begin = datetime.fromtimestamp(pair.begins, UTC)
            yield file, f"is not valid before {begin:%Y-%m-%d %H:%M} UTC", "set the clock, or wait"
        if proven.unfit:
            yield (
                file,
                f"cannot be used in {', '.join(proven.unfit)}",
                "use an RSA or an ECDSA P-256 key for old clients",
            )
    if hostname and not any(pair.matches(hostname) for pair in loaded.pairs):
        yield (
            loaded.pairs[0].files.certificate,
            f"is not for {hostname}, the hostname of the settings",
            "use one for that name, or let clients connect to a name in it",
        )
