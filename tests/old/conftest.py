"""What the tests of moving share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.old.couriers import Courier
from tests.old.front import Front
from tests.servers import RUNNING, Site


@pytest.fixture
def front() -> Iterator[Front]:
    with Front() as front:
        yield front


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture(scope="package")
def courier() -> Iterator[Courier]:
    with Courier() as courier:
        yield courier


@pytest.fixture(autouse=True)
def _nothing_went_wrong() -> Iterator[None]:
    yield
    for server in RUNNING:
        server.check()
