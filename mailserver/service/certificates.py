"""The part for the certificates of the settings: loads them at the start, and renews them while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, execute, succeed
from zope.interface import implementer

from mailserver.config.problems import Problems
from mailserver.config.settings import Tls
from mailserver.interfaces import IPart
from mailserver.pool import Pool
from mailserver.tls.certificate_store import CertificateStore
from mailserver.tls.certificates import CertificateError, CertificateFiles
from mailserver.tls.context_control import can_set_ticket_keys
from mailserver.tls.renewal import CertificateWatch
from mailserver.tls.ticket_file import TicketFile
from mailserver.tls.tickets import MemoryTickets, TicketSource

WAITING: Final = 10
"""Loads that may wait for the one thread: a poll and a few reloads. A disk that hangs delays no other part."""

_NO_KEYS: Final = "leave tls.ticket_file out, or use the system's package of cryptography (python3-cryptography)"


@implementer(IPart)
class Certificates:
    """The certificates; the start reads them as the user that serves, since this user reads them again later.

    `tickets` is what the processes that serve together have in common, where the settings name no file; it is made before root is
    given up.
    """

    store: CertificateStore | None = None
    """The loaded certificates; None before the start, or without any in the settings."""

    def __init__(self, settings: Tls, problems: Problems, tickets: MemoryTickets | None = None) -> None:
        self._settings = settings
        self._tickets = tickets
        self._can_set_keys = can_set_ticket_keys()
        self._files = _files(settings, problems)
        self._pool: Pool | None = None
        self._watch: CertificateWatch | None = None

    def start(self, reactor: Any) -> Deferred[None]:
        """Load them, and watch their files from now on. Errors: CertificateError, NoThreads."""
        return execute(self._load, reactor) if self._files else succeed(None)

    def reload(self) -> Deferred[None]:
        """Load them again, whether their files have changed or not."""
        return succeed(None) if self._watch is None else self._watch.reload()

    def stop(self) -> Deferred[None]:
        """End the watch and its thread."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()
        return succeed(None) if self._pool is None else self._pool.stop()

    def _load(self, reactor: Any) -> None:
        settings = self._settings
        store = CertificateStore(self._files, settings.profile, client_ca=settings.client_ca, tickets=self._source())
        self._pool = Pool(reactor, 1, WAITING, "certificates")
        self._pool.start()
        self._watch = CertificateWatch(store, reactor, self._pool.run)
        self._watch.start()
        self.store = store

    def _source(self) -> TicketSource | None:
        """Where the secret of session tickets is from; None: OpenSSL chooses keys, for this process alone."""
        path = self._settings.ticket_file
        if path and not self._can_set_keys:
            raise CertificateError(path, "this build of OpenSSL lets nobody set the keys of tickets", _NO_KEYS)
        if not self._can_set_keys:
            return None
        return TicketFile(path) if path else self._tickets or MemoryTickets()


def _files(settings: Tls, problems: Problems) -> Sequence[CertificateFiles]:
    if not (settings.certificate and problems.sound("tls.certificate", "tls.key")):
        return []
    more = settings.certificates if problems.sound("tls.certificates") else ()
    further = [CertificateFiles(pair.certificate, pair.key) for pair in more]
    return [CertificateFiles(settings.certificate, settings.key), *further]
