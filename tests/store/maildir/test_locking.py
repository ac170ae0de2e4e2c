"""The lock, between processes and in one."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mailserver.errors import MaildropInUse
from mailserver.store.maildir.locking import NAME, lock

HOLD = """
import os, sys
from mailserver.store.maildir.locking import lock, signature
held = lock(os.fsencode(sys.argv[1]), signature() + "the other process")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def root(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path) + b"/"


def test_another_process_holds_it_until_it_is_killed(root: bytes) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, os.fsdecode(root)],
        cwd=Path(__file__).parents[3], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(MaildropInUse, match=f"pid {other.pid} the other process"):
            lock(root, "me")
        other.kill()
    os.close(lock(root, "me"))


def test_a_holder_who_cannot_be_read_leaves_nothing_open(root: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    held = lock(root, "me")

    def failing(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", failing)
    before = set(Path("/proc/self/fd").iterdir())
    with pytest.raises(MaildropInUse, match="without a name"):
        lock(root, "me")
    assert set(Path("/proc/self/fd").iterdir()) == before
    os.close(held)


def test_a_child_does_not_inherit_it(root: bytes) -> None:
    held = lock(root, "me")
    assert not os.get_inheritable(held)
    os.close(held)


def test_the_file_stays_and_is_ours_alone(root: bytes) -> None:
    os.close(lock(root, "a holder with a long name" * 20))
    file = Path(os.fsdecode(root + NAME))
    status = file.stat()
    assert status.st_mode & 0o777 == 0o600
    held = lock(root, "short\n\x1b[31m\xe9")
    assert file.stat().st_ino == status.st_ino
    with pytest.raises(MaildropInUse) as refused:
        lock(root, "me")
    assert str(refused.value).isprintable()
    os.close(held)


def test_a_holder_that_could_not_sign_is_still_a_holder(root: bytes) -> None:
    held = lock(root, "me")
    os.ftruncate(held, 0)
    with pytest.raises(MaildropInUse, match="a session without a name"):
        lock(root, "you")
    os.close(held)


def test_a_full_disk_does_not_hinder_the_lock(root: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", full)
    held = lock(root, "me")
    with pytest.raises(MaildropInUse):
        lock(root, "you")
    os.close(held)


def test_a_file_system_without_locks_is_an_error(root: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", without)
    with pytest.raises(OSError, match="no locks"):
        lock(root, "me")
