"""Moves users' mail as ``mailserver migrate mail`` orders it."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred

from mailserver.cli import admin
from mailserver.cli.admin import Maildrops
from mailserver.cli.formers import formers
from mailserver.cli.main import tell
from mailserver.cli.moved import Outcome, Shower, Troubles, shower, summary, trouble_log
from mailserver.errors import Refusal, StoreError
from mailserver.migration.many import each_in_turn
from mailserver.migration.moving import Mover
from mailserver.migration.places import Login, Place, open_source
from mailserver.migration.progress import Progress, Sums, Tally
from mailserver.migration.source import SourceError
from mailserver.migration.state import StateError
from mailserver.migration.table import Row
from mailserver.migration.troubles import TroubleLog


class Order(NamedTuple):
    """What is to be moved, and how."""

    place: Place
    rows: Sequence[Row] | None
    """None: all users of the databases."""
    login: Callable[[Row], Login]
    """How to get at a user's mail at the old server."""
    state: Path
    log: Path | None
    parallel: int
    dry_run: bool
    as_json: bool


def run(config: str, user: str | None, order: Order) -> int:
    """Move them; the exit status."""
    # Both with the rights of whoever has started it, who may read Python's folders, and write a log into a folder of root's.
    show = shower()
    with ExitStack() as opened:
        try:
            log = opened.enter_context(trouble_log(order.log))
        except OSError as error:
            tell(f"mailserver: --log: {order.log}: {error.strerror}")
            return os.EX_USAGE

        async def work(maildrops: Maildrops) -> int:
            from twisted.internet import reactor

            return await _run(order, maildrops, show, log, reactor)

        return admin.run(config, user, work)


async def _run(order: Order, maildrops: Maildrops, show: Shower, log: TroubleLog | None, reactor: Any) -> int:
    rows = [Row(name, name) async for name in maildrops.names()] if order.rows is None else order.rows
    sums = Sums(len(rows), reactor.seconds)
    shown = show(sums, reactor.seconds)
    try:
        told = Troubles(log, shown.warn)
        mover = Mover(maildrops.store, reactor, order.state, tell=told, users=order.parallel, dry_run=order.dry_run)
        moves = _Moves(order, maildrops, mover, shown)
        await _running(reactor)
        mover.start()
        try:
            with _ended_by_signals(reactor, moves.end):
                await each_in_turn(rows, order.parallel, moves.one)
        finally:
            await mover.stop()
    finally:
        shown.close()
    failed = sum(1 for each in moves.statuses if each > 1)
    (shown.warn if order.as_json else shown.say)(summary(sums, failed, dry_run=order.dry_run))
    return admin.worst(moves.statuses if sums.ended == sums.users else [*moves.statuses, os.EX_TEMPFAIL])


def _running(reactor: Any) -> Deferred[None]:
    """Fires when the reactor runs, which sets its own handlers of signals when it begins to."""
    runs: Deferred[None] = Deferred()
    reactor.callWhenRunning(runs.callback, None)
    return runs


@contextmanager
def _ended_by_signals(reactor: Any, end: Callable[[], None]) -> Iterator[None]:
    """The first SIGINT or SIGTERM calls `end`; a second one does what it would have done."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def give_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ended(_number: int, _frame: object) -> None:
        give_back()
        reactor.callFromThread(end)

    for number in before:
        signal.signal(number, ended)
    try:
        yield
    finally:
        give_back()


class _Moves:
    """The moves of a run, one for each user."""

    def __init__(self, order: Order, maildrops: Maildrops, mover: Mover, shown: Progress) -> None:
        self._order = order
        self._maildrops = maildrops
        self._mover = mover
        self._shown = shown
        self.statuses: list[int] = []

    def end(self) -> None:
        """Begin nothing more."""
        self._mover.ends = True
        self._shown.warn("mailserver: it ends when the messages under way are moved; once more ends it at once")

    async def one(self, row: Row) -> None:
        """Move the mail of one user, and say what came of it. Errors: Unheard."""
        if self._mover.ends:
            return
        tally = Tally()
        self._shown.begin(row.name, tally)
        try:
            error, status = await self._moved(row, tally)
        finally:
            self._shown.end(row.name)
        self.statuses.append(status)
        outcome = Outcome(row.name, row.old_name, tally, error, self._order.dry_run)
        if error:
            self._shown.warn(f"mailserver: {row.name}: {error}")
        try:
            if self._order.as_json or not error or tally.done:
                self._shown.say(outcome.json() if self._order.as_json else outcome.sentence())
        except admin.Unheard:
            self._mover.ends = True
            raise

    async def _moved(self, row: Row, tally: Tally) -> tuple[str, int]:
        """What is wrong, "" for nothing, and the exit status. A fault of one user's move ends no other's."""
        try:
            return await self._move(row, tally)
        except (StoreError, Refusal) as error:
            return admin.excuse(error)
        except (SourceError, StateError) as error:
            return str(error), os.EX_TEMPFAIL
        except Exception:  # noqa: BLE001 - the traceback is told
            return f"a fault of this command\n{traceback.format_exc().rstrip()}", os.EX_SOFTWARE

    async def _move(self, row: Row, tally: Tally) -> tuple[str, int]:
        user = await self._maildrops.find(row.name)
        if user is None:
            return "there is no such user", 1
        if user.unserved:
            return user.unserved, os.EX_CONFIG
        place = self._order.place
        opener = partial(open_source, place, self._order.login(row), formers)
        origin = f"{place.where} {row.old_name}"
        await self._mover.move(user, opener, origin, tally, lambda _: self._shown.changed(row.name))
        if tally.left:
            return "", os.EX_TEMPFAIL
        return "", 1 if tally.unread else os.EX_OK
