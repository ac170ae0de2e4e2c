from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from mailserver import watched
from mailserver.auth.passwd.watch import PasswordFileError, WatchedTable

OLD = b"alice:{PLAIN}one\n"
NEW = b"alice:{PLAIN}two\n"
LARGE = b"".join(b"user%d:{PLAIN}secret\n" % number for number in range(2000))


def told(events: list[Any]) -> list[str]:
    return [formatEvent(event) for event in events if event["log_level"] >= LogLevel.info]


class WatchedTableTests(TestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.now = time.time() + 60  # a minute on: the files of these tests are old
        self.file = WatchedTable(str(self.path), lambda: self.now)

    def load(self, data: bytes = OLD) -> None:
        self.path.write_bytes(data)
        self.file.load()

    async def refresh(self) -> list[str]:
        with capturedLogs() as events:
            if not self.file.fresh():
                await self.file.refresh(deferToThread)
        return told(events)

    def clear(self, name: bytes = b"alice") -> bytes | None:
        secret = self.file.table.entries[name].secret
        return secret.clear if secret else None

    def test_an_unchanged_file_is_fresh(self) -> None:
        self.load()
        assert self.file.fresh()
        assert self.clear() == b"one"

    async def test_a_changed_file_is_read(self) -> None:
        self.load()
        self.path.write_bytes(NEW + b"bob:{PLAIN}x\n")
        assert not self.file.fresh()
        assert await self.refresh() == []
        assert self.file.fresh()
        assert self.clear() == b"two"

    async def test_a_replaced_file_is_read_though_size_and_time_are_the_same(self) -> None:
        self.load()
        status = self.path.stat()
        other = self.path.with_name("other")
        other.write_bytes(NEW)
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        other.replace(self.path)
        await self.refresh()
        assert self.clear() == b"two"

    async def test_a_young_file_is_not_trusted_to_stay(self) -> None:
        self.now = time.time()
        self.load()
        status = self.path.stat()
        assert not self.file.fresh()
        self.path.write_bytes(NEW)
        os.utime(self.path, ns=(status.st_atime_ns, status.st_mtime_ns))
        await self.refresh()
        assert self.clear() == b"two"
        self.now += 60
        await self.refresh()
        assert self.file.fresh()

    async def test_a_large_file_is_read_once_for_all_who_wait(self) -> None:
        self.load()
        self.path.write_bytes(LARGE)
        assert not self.file.fresh()
        waiting = [self.file.refresh(deferToThread) for _ in range(3)]
        assert not any(each.called for each in waiting)
        waiting[1].cancel()
        self.failureResultOf(waiting[1])
        await gatherResults([waiting[0], waiting[2]])
        assert len(self.file.table.entries) == 2000
        assert self.file.fresh()

    async def test_a_file_that_cannot_be_read_keeps_the_old_table_and_says_so_once(self) -> None:
        self.load()
        self.path.unlink()
        (line,) = await self.refresh()
        assert str(self.path) in line
        assert "No such file" in line
        assert await self.refresh() == []
        assert self.clear() == b"one"
        self.path.write_bytes(NEW)
        assert await self.refresh() == []
        assert self.clear() == b"two"

    async def test_a_file_that_comes_back_unchanged_may_be_missed_again(self) -> None:
        self.load()
        away = self.path.with_name("away")
        for _ in range(2):
            self.path.rename(away)
            assert len(await self.refresh()) == 1
            away.rename(self.path)
            assert await self.refresh() == []
            assert self.file.fresh()

    async def test_a_directory_in_its_place_keeps_the_old_table(self) -> None:
        self.load()
        self.path.unlink()
        self.path.mkdir()
        assert len(await self.refresh()) == 1
        assert self.clear() == b"one"

    async def test_a_fifo_in_its_place_keeps_the_old_table_and_holds_nobody_up(self) -> None:
        self.load()
        self.path.unlink()
        os.mkfifo(self.path)
        assert len(await self.refresh()) == 1
        assert self.clear() == b"one"

    async def test_a_large_file_that_vanishes_under_the_reader_keeps_the_old_table(self) -> None:
        self.load()
        self.path.write_bytes(LARGE)
        assert not self.file.fresh()
        self.path.unlink()
        with capturedLogs() as events:
            await self.file.refresh(deferToThread)
        assert len(told(events)) == 1
        assert self.clear() == b"one"

    async def test_a_file_that_was_just_emptied_keeps_the_old_table_until_it_stays_so(self) -> None:
        self.load()
        self.now = time.time()
        for data in (b"", b"# nobody\n", b"::\n"):
            self.path.write_bytes(data)
            await self.refresh()
            assert self.clear() == b"one"
        assert await self.refresh() == []
        self.now += 60
        assert f"the passwd-file {self.path} has no users any more" in await self.refresh()
        assert not self.file.table.entries
        self.path.write_bytes(NEW)
        await self.refresh()
        assert self.clear() == b"two"

    async def test_the_last_user_is_removed_by_an_empty_file_that_takes_the_place_of_his(self) -> None:
        self.load()
        other = self.path.with_name("other")
        other.write_bytes(b"")
        self.now = time.time()
        os.utime(other, (self.now - 1, self.now - 1))  # written before it was renamed
        other.replace(self.path)
        assert await self.refresh() == [f"the passwd-file {self.path} has no users any more"]
        assert not self.file.table.entries

    async def test_a_file_that_is_made_anew_may_still_be_written(self) -> None:
        self.load()
        self.now = time.time()
        self.path.rename(self.path.with_name("old"))
        self.path.write_bytes(b"")
        (line,) = await self.refresh()
        assert "a program may still be writing it" in line
        self.path.write_bytes(NEW)
        await self.refresh()
        assert self.clear() == b"two"

    async def test_a_young_file_without_its_last_line_end_waits_until_it_is_complete(self) -> None:
        self.load()
        self.now = time.time()
        self.path.write_bytes(NEW[:-2])
        (line,) = await self.refresh()
        assert "half-written" in line
        assert self.clear() == b"one"
        assert await self.refresh() == []
        self.path.write_bytes(NEW)
        await self.refresh()
        assert self.clear() == b"two"

    async def test_a_last_line_without_an_end_is_taken_once_it_stays_so(self) -> None:
        self.load()
        self.path.write_bytes(NEW[:-1])
        assert await self.refresh() == []
        assert self.clear() == b"two"

    def test_at_the_start_a_last_line_without_an_end_is_taken(self) -> None:
        self.now = time.time()
        self.load(OLD[:-1])
        assert self.clear() == b"one"

    def test_at_the_start_a_missing_file_is_an_error_that_says_what_to_do(self) -> None:
        with pytest.raises(PasswordFileError) as caught:
            self.file.load()
        assert str(self.path) in str(caught.value)
        assert "create it, or give access" in str(caught.value)

    def test_at_the_start_a_file_without_users_is_noted(self) -> None:
        with capturedLogs() as events:
            self.load(b"# later\n")
        assert told(events) == [f"the passwd-file {self.path} has no users yet"]

    async def test_notes_name_the_file_and_the_line_and_come_once_a_change(self) -> None:
        with capturedLogs() as events:
            self.load(OLD + b"bob:{NONE}x\n")
        assert told(events) == [f"{self.path}:2: bob cannot log in: the scheme NONE is not supported"]
        assert await self.refresh() == []

    def test_a_file_of_another_format_does_not_fill_the_log(self) -> None:
        with capturedLogs() as events:
            self.load(OLD + b"/etc/passwd:x\n" * 1000)
        assert "999 lines are skipped" in told(events)[0]
        with capturedLogs() as events:
            self.load(OLD + b"".join(b"/%d:{N%d}x\nu%d:{N%d}x\n" % (i, i, i, i) for i in range(100)))
        assert len(told(events)) == watched.MAX_NOTES + 1
        assert told(events)[-1] == f"{self.path}: 81 more notes like these"

    async def test_fields_that_nothing_uses_are_told_once(self) -> None:
        with capturedLogs() as events:
            self.load(b"alice:{PLAIN}one:8:8\n")
        assert told(events) == [f"{self.path}: these fields have no effect here: uid and gid"]
        self.path.write_bytes(b"alice:{PLAIN}two:8:8\n")
        assert await self.refresh() == []
        self.path.write_bytes(b"alice:{PLAIN}two:8:8::::nodelay\n")
        assert await self.refresh() == [f"{self.path}: these fields have no effect here: nodelay, uid and gid"]

    def test_a_user_without_a_name_is_told_by_his_number(self) -> None:
        assert watched.user_named(2**31 - 5) == str(2**31 - 5)
        assert watched.user_named(0) == "root"
