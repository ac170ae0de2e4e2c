"""Threads for names are there from the start, or the start says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.python.threadpool import ThreadPool

from mailserver.auth.ldap.checker import LdapUsers
from mailserver.auth.lookups import LOOKUPS, start_lookups
from mailserver.auth.policy import Policy
from mailserver.threads import NoThreads


class Reactor(Clock):
    """A reactor with a pool of its own, which is never started."""

    def __init__(self) -> None:
        super().__init__()
        self.threads = ThreadPool(0, 10)

    def getThreadPool(self) -> ThreadPool:
        return self.threads

    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_kwargs: None


class Exhausted(Reactor):
    """A system that gives no threads."""

    def getThreadPool(self) -> Any:
        raise_it = RuntimeError("can't start new thread")

        class Pool:
            min, max = 0, 10

            def adjustPoolsize(self, minthreads: int) -> None:
                raise raise_it

        return Pool()


def test_threads_are_asked_for_and_more_stay() -> None:
    reactor = Reactor()
    start_lookups(reactor, "servers")
    assert reactor.threads.min == LOOKUPS
    reactor.threads.adjustPoolsize(minthreads=5)
    start_lookups(reactor, "servers")
    assert reactor.threads.min == 5


def test_a_system_without_threads_is_an_error_at_the_start() -> None:
    with pytest.raises(NoThreads, match="2 threads for the names of servers"):
        start_lookups(Exhausted(), "servers")


@pytest.mark.parametrize(("url", "threads"), [("ldaps://ldap.example.org", LOOKUPS), ("ldapi:///run/slapd/ldapi", 0)])
def test_a_directory_has_them_where_it_has_names(url: str, threads: int, tmp_path: Path) -> None:
    file = tmp_path / "ldap.toml"
    file.write_text(f'servers = ["{url}"]\nbase = "dc=example,dc=org"\nfilter = "(uid={{user}})"\n')
    reactor, checker = Reactor(), LdapUsers(str(file))
    started: list[Any] = []
    checker.start(reactor).addBoth(started.append)
    assert started == [None]
    assert reactor.threads.min == threads
    checker.stop()


def test_a_policy_server_has_them() -> None:
    reactor = Reactor()
    Policy("https://policy.example.org/", reactor).start(reactor)
    assert reactor.threads.min == LOOKUPS
