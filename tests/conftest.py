"""For all tests: a failure shows what the servers under test said."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.realm import realm
from tests.servers import RUNNING

__all__ = ["realm"]

pytest.register_assert_rewrite("mailserver.testing.contracts")

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
"""The hundreds of servers that the tests start would compile the package anew each, for half a second of CPU."""

# How busy the machine is, is no property of the code: an example has no deadline, and may be drawn slowly.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections += [(f"log of server {server.pid}", server.log()) for server in RUNNING]
    return report


@pytest.fixture(autouse=True, scope="session")
def trial_files_apart(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """Let Twisted's test cases have their files where pytest's are, and not in folders beside the sources."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SynchronousTestCase, "mktemp", lambda _self: str(tmp_path_factory.mktemp("case") / "temp"))
        yield


@pytest.fixture(autouse=True, scope="module")
def no_observer_stays() -> Generator[None]:
    """What listens to the log after its end is called at each event of the tests that follow, and tests count calls."""
    before = list(globalLogPublisher._observers)
    yield
    left = [each for each in globalLogPublisher._observers if each not in before]
    assert not left, f"observers of the log are left behind: {left}"


@pytest.fixture
def events() -> Generator[list[dict[str, Any]]]:
    """What is logged meanwhile."""
    found: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(found.append)
    yield found
    globalLogPublisher.removeObserver(found.append)
