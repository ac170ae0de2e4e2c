"""The file of aliases on disk, which changes while the server runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from mailserver.delivery.aliases import Aliases
from mailserver.errors import Unusable
from mailserver.watched import MAX_NOTES, SMALL


class AliasesTests(TestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.now = time.time() + 60  # a minute on: the files of these tests are old
        self.aliases = Aliases(str(self.path), lambda: self.now)
        self.addCleanup(self.aliases.stop)

    async def started(self, text: str = "root: alice\n") -> None:
        self.path.write_text(text)
        await self.aliases.start(reactor)

    async def names(self) -> list[str]:
        return [local for local, _ in (await self.aliases.table()).entries]

    async def told(self) -> list[str]:
        """What is logged while the table is asked for."""
        with capturedLogs() as events:
            await self.aliases.table()
        return [formatEvent(event) for event in events]

    async def test_a_changed_file_counts_from_the_next_question(self) -> None:
        await self.started()
        assert await self.names() == ["root"]
        self.path.write_text("root: alice\nabuse: root\n")
        assert await self.names() == ["root", "abuse"]

    async def test_a_large_file_is_read_in_a_thread_once_for_all_who_wait(self) -> None:
        await self.started()
        self.path.write_text("".join(f"user{number}: alice\n" for number in range(SMALL // 8)))
        asked = [self.aliases.table() for _ in range(3)]
        assert not any(each.called for each in asked)
        tables = [await each for each in asked]
        assert tables[0] is tables[1] is tables[2]
        assert len(tables[0].entries) == SMALL // 8

    async def test_a_reload_reads_it_too(self) -> None:
        await self.started()
        self.path.write_text("a: |b\n")
        with capturedLogs() as events:
            await self.aliases.reload()
        assert [(each["event"], formatEvent(each)) for each in events] == [
            (
                "delivery.aliases.note",
                f"{self.path}:1: '|b' would run a program, which this server does not; the entry's other targets count",
            )
        ]
        assert await self.told() == []

    async def test_a_file_that_cannot_be_read_keeps_the_old_table_and_says_so_once(self) -> None:
        await self.started()
        self.path.unlink()
        (line,) = await self.told()
        assert str(self.path) in line
        assert "No such file" in line
        assert await self.told() == []
        assert await self.names() == ["root"]

    async def test_a_half_written_file_waits_until_it_is_complete(self) -> None:
        await self.started()
        self.now = time.time()
        self.path.write_text("root: alice\nabu")
        (line,) = await self.told()
        assert "half-written" in line
        assert await self.names() == ["root"]

    async def test_a_file_that_stays_empty_has_no_aliases_any_more(self) -> None:
        await self.started()
        self.path.write_text("# none\n")
        assert await self.told() == [f"the file of aliases {self.path} has none any more"]
        assert await self.names() == []

    async def test_a_file_of_another_format_does_not_fill_the_log(self) -> None:
        with capturedLogs() as events:
            await self.started("no colon\n" * 100)
        assert len(events) == MAX_NOTES + 1
        assert formatEvent(events[-1]) == f"{self.path}: 80 more notes like these"

    async def test_a_missing_file_is_an_error_at_the_start_with_its_remedy(self) -> None:
        with pytest.raises(Unusable) as caught:
            await self.aliases.start(reactor)
        assert f"cannot read the file of aliases {self.path}: No such file or directory" in str(caught.value)
        assert "create it, or give access" in str(caught.value)

    async def test_without_a_file_there_are_none(self) -> None:
        aliases = Aliases()
        nobody: Any = None
        await aliases.start(nobody)
        await aliases.reload()
        assert not (await aliases.table()).entries
        await aliases.stop()

    async def test_after_the_stop_the_last_table_counts(self) -> None:
        await self.started()
        await self.aliases.stop()
        self.path.write_text("abuse: root\n")
        assert await self.names() == ["root"]
