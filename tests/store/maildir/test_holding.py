"""Who holds a maildrop's locks, without a try to take one."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailserver.store.maildir import holding, reserving
from mailserver.store.maildir.holding import held
from mailserver.store.maildir.locking import NAME, lock, signature
from tests.store.maildir.test_locking import HOLD


@pytest.fixture
def root(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path) + b"/"


@pytest.fixture
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise AssertionError("a lock was tried")

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.fixture
def other(root: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, os.fsdecode(root)],
        cwd=Path(__file__).parents[3], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        yield process
        process.kill()


def test_what_nobody_holds_is_not_shown_and_nothing_is_made(root: bytes, untried: None) -> None:
    assert held(root) == []
    assert list(Path(os.fsdecode(root)).iterdir()) == []


def test_the_holder_is_told_with_what_it_has_written(
    root: bytes, other: subprocess.Popen[bytes], untried: None
) -> None:
    path = Path(os.fsdecode(root + NAME))
    before, line = path.stat(), path.read_bytes()
    (found,) = held(root)
    assert (found.purpose, found.pid, found.holder) == ("session", other.pid, "the other process")
    assert found.path == os.fsdecode(root + NAME)
    assert found.program.startswith("python")
    assert found.state in "SR"
    assert found.since == before.st_mtime
    assert (path.stat().st_mtime_ns, path.read_bytes()) == (before.st_mtime_ns, line)


def test_a_lock_that_was_let_go_is_not_shown_though_its_line_stays(root: bytes) -> None:
    descriptor = lock(root, signature() + "pop3 127.0.0.1 x")
    assert [each.pid for each in held(root)] == [os.getpid()]
    os.close(descriptor)
    assert held(root) == []


def test_who_waits_for_a_lock_does_not_hold_it(root: bytes, other: subprocess.Popen[bytes]) -> None:
    with subprocess.Popen(["flock", os.fsdecode(root + NAME), "true"]) as waiting:
        while b"-> FLOCK" not in Path("/proc/locks").read_bytes():
            assert waiting.poll() is None
        assert [each.pid for each in held(root)] == [other.pid]
        other.kill()


def test_a_process_that_is_stopped_is_told(root: bytes, other: subprocess.Popen[bytes]) -> None:
    other.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, other.pid, os.WSTOPPED)
    assert [each.state for each in held(root)] == ["T"]


def test_another_program_is_not_taken_for_the_last_session(root: bytes) -> None:
    os.close(lock(root, "pid 1 pop3 127.0.0.1 x"))
    with Path(os.fsdecode(root + NAME)).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        (found,) = held(root)
        assert (found.pid, found.holder) == (os.getpid(), "")


def test_a_move_is_another_lock(root: bytes) -> None:
    descriptor = lock(root, signature() + "migrate", reserving.NAME)
    assert [(each.purpose, each.holder) for each in held(root)] == [("move", "migrate")]
    os.close(descriptor)


@pytest.mark.parametrize("has_it", [True, False])
def test_where_devices_differ_the_process_must_have_the_file_open(
    root: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_it: bool
) -> None:
    """As on btrfs, whose files have devices of their subvolumes."""
    path = tmp_path / os.fsdecode(NAME)
    path.touch()
    listed = tmp_path / "locks"
    listed.write_text(f"1: FLOCK  ADVISORY  WRITE {os.getpid()} ff:ffff:{path.stat().st_ino} 0 EOF\n")
    monkeypatch.setattr(holding, "_LIST", listed)
    with (path if has_it else Path("/dev/null")).open("rb"):
        assert [each.pid for each in held(root)] == ([os.getpid()] if has_it else [])


def test_the_list_of_the_whole_machine_is_read_once_for_all_locks(root: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []

    class Listed:
        def read_bytes(self) -> bytes:
            reads.append(1)
            return Path("/proc/locks").read_bytes()

    monkeypatch.setattr(holding, "_LIST", Listed())
    assert held(root) == []
    assert not reads
    taken = [lock(root, signature() + "migrate", name) for name in holding.PURPOSES]
    assert {each.purpose for each in held(root)} == {*holding.PURPOSES.values()}
    assert reads == [1]
    for each in taken:
        os.close(each)
