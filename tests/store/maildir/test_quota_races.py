"""Deposits at the edge of a quota at once, in threads and in processes: as many pass as there is room for, and the count is true."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest

from mailserver.errors import QuotaExceeded
from mailserver.interfaces import Quota
from mailserver.store.maildir import maildirsize
from mailserver.store.maildir.making import Making
from mailserver.store.maildir.spool import Place, Spool
from tests.store.maildir.homes import MESSAGE, login, root, spooled, visible

RACERS, ROUNDS = 6, 25

Deliver = Callable[[int], bool]


def deliver(homes: Path, quota: Quota, number: int) -> bool:
    """Whether it passed."""
    place = Place(root(homes, "alice"), os.fsencode(homes / "alice") + b"/", quota)
    spool = Spool([place], b"17%08d.M9P1.tmp" % number, Making())
    (error,) = spool.deliver(MESSAGE, [b"17%08d.M1P1.new,S=%d,W=%d" % (number, len(MESSAGE), len(MESSAGE))], b"new/")
    assert error is None or isinstance(error, QuotaExceeded), error
    return error is None


def in_threads(act: Deliver) -> int:
    start = Barrier(RACERS)

    def run(number: int) -> bool:
        start.wait()
        return act(number)

    with ThreadPoolExecutor(RACERS) as threads:
        return sum(threads.map(run, range(RACERS)))


def in_processes(act: Deliver) -> int:
    held, start = os.pipe()
    children = []
    for number in range(RACERS):
        child = os.fork()
        if not child:
            try:
                os.close(start)
                os.read(held, 1)  # until all are there
                os._exit(10 + act(number))
            finally:
                os._exit(1)
        children.append(child)
    os.close(held)
    os.close(start)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert set(ends) <= {10, 11}
    return ends.count(11)


@pytest.mark.parametrize("at_once", [in_threads, in_processes])
@pytest.mark.parametrize("quota", [Quota(messages=2), Quota(octets=2 * len(MESSAGE))], ids=["messages", "octets"])
def test_no_more_pass_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: Quota, at_once: Callable[[Deliver], int]
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    (tmp_path / "alice").mkdir()
    there = 0

    def race(at: int, number: int) -> bool:
        return deliver(tmp_path, quota, at + number)

    for at in range(0, ROUNDS * RACERS, RACERS):
        assert at_once(partial(race, at)) == 2 - there
        assert login(tmp_path, "alice") == [MESSAGE] * 2
        assert maildirsize.usage(root(tmp_path, "alice"), quota) == (2, 2 * len(MESSAGE))
        assert spooled(tmp_path) == []
        there = 1 - there
        for path in list((tmp_path / "alice/Maildir/new").iterdir())[there:]:
            removed = maildirsize.Discount(root(tmp_path, "alice"))
            path.unlink()
            removed.take(len(MESSAGE), 1)
    assert len(visible(tmp_path, "alice")) == there
