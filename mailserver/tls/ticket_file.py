"""A file that keeps the secret of session tickets, so that clients resume their sessions after a restart, too.

Several processes may share it. Whoever finds that its secret is too old writes a new one, under a lock of the folder; the others find
it there. A file is replaced as a whole, so that nobody reads half of one, and is on the disk before it counts.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mailserver.tls.certificates import CertificateError
from mailserver.tls.tickets import LIFETIME, SECRET_OCTETS, TicketSecret

_FORM: Final = "mailserver: the secret of TLS session tickets, version 1\n{since}\n{octets}\n"
_TEXT: Final = re.compile(_FORM.format(since=r"(\d{1,12})", octets=rf"([0-9a-f]{{{2 * SECRET_OCTETS}}})"))
_LONGEST: Final = 256
"""Octets that are read: a file of ours has 140."""

_AHEAD: Final = 300
"""Seconds that a secret may seem to come from the future: two clocks, or one that was set."""


class TicketFile:
    """The file at `path`, which is made if it is not there. Its user alone may read it."""

    def __init__(self, path: str, now: Callable[[], float] = time.time) -> None:
        self._path = Path(path)
        self._now = now

    def current(self) -> TicketSecret:
        """The secret of now, a new one if the file's is too old. Blocks. Errors: CertificateError."""
        try:
            secret = self._read()
            return secret if secret is not None and self._is_good(secret) else self._renewed()
        except OSError as error:
            folder = self._path.parent
            reason = "its folder is not there" if isinstance(error, FileNotFoundError) else f"{error.strerror}"
            remedy = f"let the user that serves own its folder (install -d -m 700 -o USER {folder}), and the file"
            raise self._error(reason, remedy) from None

    def _is_good(self, secret: TicketSecret) -> bool:
        return -_AHEAD <= self._now() - secret.since < LIFETIME

    def _renewed(self) -> TicketSecret:
        """The new secret: another process's, if it was first."""
        with self._locked() as folder:
            secret = self._read()
            if secret is None or not self._is_good(secret):
                secret = TicketSecret.fresh(self._now())
                self._write(secret, folder)
        return secret

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The folder's descriptor, locked: a lock of the file itself would go with the file that is replaced."""
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(folder)  # and with it the lock

    def _read(self) -> TicketSecret | None:
        """The file's secret; None: there is no file."""
        try:
            # not by a link, which another user may have made, and never waiting for a pipe's other end
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            self._check(os.fstat(descriptor))
            text = os.read(descriptor, _LONGEST).decode("ascii", "replace")
        finally:
            os.close(descriptor)
        found = _TEXT.fullmatch(text)
        if found is None:
            raise self._error("it is no file of ours", "delete it, if nothing else needs it: a new one is made")
        return TicketSecret(bytes.fromhex(found[2]), int(found[1]))

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise self._error(
                f"it is not a file of the user that serves alone (owner {status.st_uid}, mode {stat.filemode(status.st_mode)})",
                "delete it: a new one is made, which nobody else has read",
            )

    def _write(self, secret: TicketSecret, folder: int) -> None:
        new = self._path.name + ".new"  # always the same: what a crash left behind does not stay
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(new, flags, 0o600, dir_fd=folder)
        try:
            os.fchmod(descriptor, 0o600)
            os.write(descriptor, _FORM.format(since=secret.since, octets=secret.octets.hex()).encode("ascii"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(new, self._path.name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)

    def _error(self, reason: str, remedy: str) -> CertificateError:
        return CertificateError(str(self._path), reason, remedy)
