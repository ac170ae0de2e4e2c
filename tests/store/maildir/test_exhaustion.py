"""Descriptors, memory or the disk fail at any call of a session: it is refused, nothing leaks, and the next one works."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, ClassVar

from twisted.internet.defer import maybeDeferred

from mailserver.errors import StoreError
from mailserver.testing.contracts.store import ONE, TWO
from tests.store.maildir.maildirs import LoggedCase
from tests.store.maildir.test_leaving import open_files

CALLS = ("open", "mkdir", "rename", "fsync", "scandir", "unlink", "write", "read", "lstat", "fstat")
ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)


def _of_the_disk(on: Any, fstat: Callable[[int], os.stat_result]) -> bool:
    """Whether it is the descriptor of a file or a directory: the reactor is woken through a pipe."""
    mode = fstat(on).st_mode if isinstance(on, int) else 0
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


class Exhaustion(LoggedCase):
    def setUp(self) -> None:
        super().setUp()
        self.calls = 0

    @contextmanager
    def failing(self, at: int, error: int) -> Iterator[None]:
        """Call number `at` on a maildrop fails, and so do those of its name after it."""
        real = {name: getattr(os, name) for name in CALLS}
        self.calls, failed = 0, set()

        def watched(name: str) -> Any:
            def call(on: Any, *arguments: Any, **options: Any) -> Any:
                if isinstance(on, bytes) or _of_the_disk(on, real["fstat"]):
                    self.calls += 1
                    if self.calls == at:
                        failed.add(name)
                    if name in failed:
                        raise OSError(error, os.strerror(error))
                return real[name](on, *arguments, **options)

            return call

        for name in CALLS:
            setattr(os, name, watched(name))
        try:
            yield
        finally:
            for name, function in real.items():
                setattr(os, name, function)

    async def session(self) -> None:
        """Log in, retrieve one, delete the other; what is refused ends it."""
        try:
            maildrop = await self.open()
        except StoreError:
            return
        try:
            body = await maybeDeferred(maildrop.fetch, 2)
            try:
                await maybeDeferred(body.read, 1000)
            finally:
                body.close()
            await maildrop.commit([1])
        except StoreError:
            pass
        finally:
            maildrop.release()

    async def test_whatever_fails_nothing_leaks_and_the_next_session_works(self) -> None:
        await self.store.start()
        await self.reopen("bob")
        before = open_files()
        for error in ERRORS:
            for number in count(1):
                for path in self.files() if self.root().exists() else ():
                    path.unlink()
                self.deliver("alice", ONE, "new/1.a")
                self.deliver("alice", TWO, "new/2.b")
                with self.failing(number, error):
                    await self.session()
                    done = self.calls < number
                await self.store._disk.read(self.octets(), int)  # behind what closes a body in a thread
                await self.store._disk.commit(self.octets(), int, never_begun=int)  # and what gives a lock back
                assert open_files() == before, (number, error)
                maildrop = await self.open()
                assert {TWO} <= set(self.stored("alice")) <= {ONE, TWO}, (number, error)
                assert await maildrop.commit(range(1, len(maildrop.messages) + 1)) == 0
                assert self.files() == []
                if done:
                    break
            assert number > 20


class ExhaustionInThreads(Exhaustion):
    options: ClassVar[dict[str, Any]] = {"io": "threads"}
