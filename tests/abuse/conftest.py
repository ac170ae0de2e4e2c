"""A server that is looked over when its abusers have left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.abuse.measures import descriptors
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site
from tests.waiting import eventually

Serve = Callable[..., Server]


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture
def serve(site: Site) -> Iterator[Serve]:
    """Start a server with these settings. In the end its clients have left, and it must have forgotten them."""
    with ExitStack() as stack:

        def start(**settings: Any) -> Server:
            server = Server(site, **settings)
            stack.enter_context(server)  # which looks for faults and secrets in the log when it ends
            RawPOP3(server.pop3_port).quit()  # what is opened once for all clients is open now
            stack.callback(returned, server, descriptors(server.pid))
            return server

        yield start


def returned(server: Server, before: int) -> None:
    """Every connection, maildrop and message is closed again."""
    eventually(
        lambda: descriptors(server.pid) <= before,
        lambda: f"{descriptors(server.pid)} descriptors, and {before} before:\n{server.log()}",
    )
