"""Fixtures for pytest: ``pytest_plugins = ["mailserver.testing.plugin"]`` in the top conftest.py has them.

It is no entry point of the distribution: then pytest would import it, and with it this package, in every environment where a
mail server happens to be installed, before a project has told pytest where its own modules are.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from mailserver.testing import Controller

pytest.register_assert_rewrite("mailserver.testing.contracts")

_SERVERS = pytest.StashKey[list[Controller]]()


@pytest.fixture
def pop3_server(request: pytest.FixtureRequest) -> Iterator[Controller]:
    """A POP3 server of this test alone, with STLS and without users."""
    yield from _served(request, Controller())


@pytest.fixture
def pop3s_server(request: pytest.FixtureRequest) -> Iterator[Controller]:
    """A POP3S server of this test alone, without users."""
    yield from _served(request, Controller(tls=True))


def _served(request: pytest.FixtureRequest, server: Controller) -> Iterator[Controller]:
    request.node.stash.setdefault(_SERVERS, []).append(server)
    with server:
        yield server


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Let the report of a failure show what the clients did."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        report.sections += [(f"sessions of {server}", _told(server)) for server in item.stash.get(_SERVERS, [])]


def _told(server: Controller) -> str:
    lines = []
    for number, session in enumerate(server.sessions, 1):
        lines += [f"session {number} of {session.user}:", *(f"    {each}" for each in session.commands)]
        lines += [f"    ended by {session.ended or 'nobody yet'}"]
    return "\n".join(lines) or "nobody came"
