"""SIGKILL at every call of a deposit for several users: nobody gets half of it, and the next one is not hindered."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.store.maildir.crash import dying
from tests.store.maildir.homes import HAVING, MESSAGE, OLD, USERS, counted, deposit, fill, login, usage


def linkless() -> None:
    """Of the file system that is simulated."""

    def link(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    os.link = link


@pytest.mark.parametrize(
    ("torn", "before"), [(True, lambda: None), (False, linkless)], ids=["links-and-torn-writes", "no-links"]
)
def test_a_deposit_that_is_killed_leaves_a_whole_message_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: bool, before: Callable[[], object]
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a step as before; but a kill loses nothing that was written
    homes = tmp_path / "homes"
    died, seen = [""], set()

    def work(arm: Callable[[], None]) -> None:
        before()
        arm()
        assert deposit(homes) == dict.fromkeys(USERS)

    for step in count(1):
        fill(homes)
        died.append(dying(work, step, torn=torn))
        came = []
        for user in USERS:
            old = [OLD] if user in HAVING else []
            found = login(homes, user)
            assert found in ([*old, MESSAGE], old), (step, user)
            came.append(found != old)
            used, truth = usage(homes, user), counted(homes, user)
            assert used.messages >= truth.messages, (step, user)
            assert used.octets >= truth.octets, (step, user)
        again = deposit(homes, serial=2)
        for user, there in zip(USERS, came, strict=True):
            full = USERS[user] is not None and there and user in HAVING
            assert (again[user] is None) != full, (
                step,
                user,
            )  # who has room gets it, whatever the kill has left in the count
            assert login(homes, user).count(MESSAGE) == 1 + there - full, (step, user)
        seen.add(tuple(came))
        if not died[-1]:
            break
    assert all(came), "not killed, all have it"
    assert {"open", "mkdir", "write", "fsync", "link" if before is not linkless else "rename", "unlink"} <= set(died)
    assert len(seen) == 1 + len(USERS), "one after the other"
