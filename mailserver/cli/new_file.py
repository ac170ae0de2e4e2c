"""A new file that has secrets: whole or not at all, for its owner alone, and never in the place of another one."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from mailserver.store.maildir.files import sync_directory


def write_new(path: str, data: bytes) -> None:
    """Write a file that outlives a power cut. Errors: FileExistsError, in which case nothing is changed; OSError."""
    folder = Path(path).parent
    descriptor, made = tempfile.mkstemp(dir=folder, prefix=".mailserver-")  # with mode 0600
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(made, path)  # which, unlike a rename, replaces nothing
    finally:
        with suppress(FileNotFoundError):
            Path(made).unlink()
    sync_directory(os.fsencode(folder))
