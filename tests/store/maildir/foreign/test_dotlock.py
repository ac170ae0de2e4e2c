"""Dovecot's lock of its list; `tests/old` has it against a real one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from socket import gethostname

import pytest

from mailserver.store.maildir.foreign.dotlock import PATIENCE, dotlock

NOW = time.time()


class Time:
    """A clock that runs while somebody sleeps."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.slept = 0.0
        self._ahead = ahead
        self.at_pause = lambda: None

    def clock(self) -> float:
        return NOW + self._ahead + self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.at_pause()


def held(path: Path, text: str) -> Path:
    lock = path.with_name(path.name + ".lock")
    lock.write_text(text)
    os.utime(lock, (NOW, NOW))
    return lock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "dovecot-uidlist"
    found.write_text("3 V1 N1\n")
    return found


def gone() -> int:
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_it_is_there_with_its_holder_for_as_long_as_it_is_held(path: Path) -> None:
    lock = path.with_name("dovecot-uidlist.lock")
    with dotlock(os.fsencode(path)):
        assert lock.read_text() == f"{os.getpid()}:{gethostname()}"
    assert not lock.exists()


def test_it_goes_after_an_error_too(path: Path) -> None:
    with pytest.raises(KeyError), dotlock(os.fsencode(path)):
        raise KeyError
    assert list(path.parent.iterdir()) == [path]


def test_it_is_waited_for(path: Path) -> None:
    lock, clock = held(path, f"{os.getppid()}:{gethostname()}"), Time()
    clock.at_pause = lambda: lock.unlink(missing_ok=True)
    with dotlock(os.fsencode(path), clock.clock, clock.sleep):
        assert 0 < clock.slept < 1


def test_a_holder_that_lives_is_told_after_some_seconds_however_old_its_lock_is(path: Path) -> None:
    lock, clock = held(path, f"{os.getppid()}:{gethostname()}"), Time(1e6)
    with pytest.raises(OSError, match="is locked"), dotlock(os.fsencode(path), clock.clock, clock.sleep):
        pytest.fail("it was held by another")
    assert PATIENCE <= clock.slept < PATIENCE + 1
    assert lock.exists()


def test_the_lock_of_a_process_that_is_gone_is_taken_over(path: Path) -> None:
    lock, clock = held(path, f"{gone()}:{gethostname()}"), Time(1000)
    with dotlock(os.fsencode(path), clock.clock, clock.sleep):
        assert lock.read_text().startswith(f"{os.getpid()}:")
    assert clock.slept == 0


def test_a_young_lock_is_not_asked_for_its_holder(path: Path) -> None:
    held(path, f"{gone()}:{gethostname()}")
    clock = Time(-1000)
    with pytest.raises(OSError, match="is locked"), dotlock(os.fsencode(path), clock.clock, clock.sleep):
        pytest.fail("its holder may not have written its number yet")


@pytest.mark.parametrize(
    "text", ["", "1:elsewhere.example", "junk", "²:" + gethostname(), "0:" + gethostname(), "9" * 5000]
)
def test_the_lock_of_nobody_known_is_stale_after_two_minutes_without_a_change(path: Path, text: str) -> None:
    held(path, text)
    early = Time(60)
    with pytest.raises(OSError, match="is locked"), dotlock(os.fsencode(path), early.clock, early.sleep):
        pytest.fail("it may be held")
    late = Time(1000)
    with dotlock(os.fsencode(path), late.clock, late.sleep):
        assert late.slept == 0


def test_a_list_that_changes_keeps_the_lock_of_nobody_known(path: Path) -> None:
    held(path, "1:elsewhere.example")
    os.utime(path, (NOW + 990, NOW + 990))
    clock = Time(1000)
    with pytest.raises(OSError, match="is locked"), dotlock(os.fsencode(path), clock.clock, clock.sleep):
        pytest.fail("somebody works on the list")


def test_a_lock_that_another_has_taken_over_is_left_to_it(path: Path) -> None:
    lock = path.with_name("dovecot-uidlist.lock")
    with dotlock(os.fsencode(path)):
        lock.rename(path.with_name("ours"))
        lock.write_text("1:elsewhere.example")
    assert lock.read_text() == "1:elsewhere.example"


def test_a_link_in_its_place_is_not_followed(path: Path) -> None:
    lock = path.with_name("dovecot-uidlist.lock")
    lock.symlink_to("/etc/passwd")
    clock = Time()
    with pytest.raises(OSError, match="is locked"), dotlock(os.fsencode(path), clock.clock, clock.sleep):
        pytest.fail("there is something")
