"""One server for all of the real clients; each test has a user of its own there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.interop.clients import Clients
from tests.servers import RUNNING, Account, Server, Site


@pytest.fixture(scope="package")
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture(scope="package")
def foreign(site: Site) -> Account:
    """A user whose name and password are not ASCII."""
    return site.account("grüße@bücher.example", "pässwort, 密码")


@pytest.fixture(scope="package")
def server(site: Site, foreign: Account) -> Iterator[Server]:
    with Server(site) as server:
        yield server


@pytest.fixture
def account(site: Site) -> Iterator[Account]:
    """A user whom no test had yet; the server learns of him when he logs in."""
    account = site.account(f"user{len(site.accounts)}")
    yield account
    shutil.rmtree(account.maildir)


@pytest.fixture
def clients(server: Server) -> Iterator[Clients]:
    """Their home is not pytest's folder, which would keep all of their mail after the tests."""
    with TemporaryDirectory(prefix="mailserver-clients-") as folder:
        yield Clients(server, Path(folder))


@pytest.fixture(autouse=True)
def _nothing_went_wrong() -> Iterator[None]:
    yield
    for server in RUNNING:
        server.check()
