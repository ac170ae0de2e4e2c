"""A disk that fails to write a file may have lost any of its octets: these do not reach the next user."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from tests.store.maildir.homes import MESSAGE, USERS, deposit, fill, spooled, visible


@pytest.mark.parametrize("lost", [b"\0" * len(MESSAGE), MESSAGE[:-9] + b"\0" * 9, MESSAGE], ids=["all", "some", "none"])
def test_after_a_failed_fsync_the_others_get_what_was_written_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: bytes
) -> None:
    homes = tmp_path / "homes"
    fill(homes)
    failed = False

    def fsync(descriptor: int) -> None:
        nonlocal failed
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and not failed:
            failed = True
            os.pwrite(descriptor, lost, 0)  # as it is read from the disk, once the memory is needed for other things
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    outcomes = deposit(homes)
    whole = lost == MESSAGE
    assert {user for user, error in outcomes.items() if error is None} == (set(USERS) - {"alice"} if whole else set())
    for user, error in outcomes.items():
        assert visible(homes, user).count(MESSAGE) == (error is None)
        assert len(visible(homes, user)) == (user in {"alice", "bob"}) + (error is None)
    assert spooled(homes) == []
