"""One server for all of the real clients; each test has a user of its own there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.clients import Clients
from tests.servers import RUNNING, Account, Server, Site

USERS = 100


@pytest.fixture(scope="package")
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture(scope="package")
def pool(site: Site) -> Iterator[Account]:
    """Users whom no test had yet; the server knows them from its start."""
    return iter([site.account(f"user{number}") for number in range(USERS)])


@pytest.fixture(scope="package")
def foreign(site: Site) -> Account:
    """A user whose name and password are not ASCII."""
    return site.account("grüße@bücher.example", "pässwort, 密码")


@pytest.fixture(scope="package")
def server(site: Site, pool: Iterator[Account], foreign: Account) -> Iterator[Server]:
    with Server(site) as server:
        yield server


@pytest.fixture
def account(pool: Iterator[Account]) -> Account:
    return next(pool)


@pytest.fixture
def clients(server: Server, tmp_path: Path) -> Clients:
    return Clients(server, tmp_path)


@pytest.fixture(autouse=True)
def _nothing_went_wrong() -> Iterator[None]:
    yield
    for server in RUNNING:
        server.check()
