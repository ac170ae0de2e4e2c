"""Throw-away certificates, and contexts of clients that trust them and nothing else."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Self

from mailserver.tls.certificate_store import CertificateStore
from mailserver.tls.certificates import CertificateFiles, self_signed

NAMES = ("localhost", "127.0.0.1")
"""What clients call the server."""


class Certificate:
    """A self-signed certificate for these names and addresses; with `expired`, one whose time is over."""

    def __init__(self, names: Sequence[str] = NAMES, *, expired: bool = False) -> None:
        self.names = tuple(names)
        start = datetime.now(UTC) - timedelta(days=30) if expired else None
        self.pem, self._key = self_signed(self.names, days=1 if expired else 365, start=start)

    @classmethod
    @cache
    def common(cls) -> Self:
        """The one of all servers of this process that have no other: a key takes longer to make than a server."""
        return cls()

    @cached_property
    def client_context(self) -> ssl.SSLContext:
        """For clients of Python's ``ssl``: it trusts this certificate alone, and verifies the name."""
        return ssl.create_default_context(cadata=self.pem.decode("ascii"))

    @cached_property
    def server_contexts(self) -> CertificateStore:
        """What the server begins TLS with."""
        with tempfile.TemporaryDirectory(prefix="mailserver-testing-") as folder:
            pair = CertificateFiles(str(Path(folder, "certificate.pem")), str(Path(folder, "key.pem")))
            Path(pair.certificate).write_bytes(self.pem)
            Path(pair.key).touch(mode=0o600)
            Path(pair.key).write_bytes(self._key)
            return CertificateStore([pair])
