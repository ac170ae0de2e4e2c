"""A server that takes mail, for the tests with real senders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.interop.arrivals import arrival, is_below
from tests.interop.clients import Clients
from tests.interop.fetching import by_raw, every_client_fetches
from tests.servers import Account, Server, Site
from tests.waiting import eventually

LOOPBACK = "tcp:0:interface=127.0.0.1"


def taking_mail(site: Site, *sockets: Path | str, **settings: Any) -> Server:
    """A server with these endpoints or Unix sockets for mail, to which everybody may connect, and a port."""
    listen = [*(each if isinstance(each, str) else f"unix:{each}:mode=666" for each in sockets), LOOPBACK]
    return Server(site, **{**settings, "listen": {"pop3": [LOOPBACK], "pop3s": [LOOPBACK], "lmtp": listen}})


def arrived(account: Account, count: int) -> None:
    """Wait for so many messages."""
    eventually(
        lambda: sum(1 for _ in (account.maildir / "new").iterdir()) >= count,
        lambda: f"{len(account.files())} of {count} messages are there",
    )


def every_message_arrived(
    clients: Clients, account: Account, messages: Mapping[str, bytes], *traces: bytes
) -> list[bytes]:
    """Each message, named by its sender, came once and as it was, and every POP3 client fetches it so; all of them as fetched."""
    arrived(account, len(messages))
    bodies = by_raw(clients, account)
    assert sorted(arrival(body).return_path.decode() for body in bodies) == sorted(messages)
    for body in bodies:
        sender = arrival(body).return_path.decode()
        assert is_below(messages[sender], body, *traces), (sender, body[:1000], len(body))
    every_client_fetches(clients, account, bodies)
    return bodies


def the_message(account: Account) -> bytes:
    """The only one that is there, or comes."""
    arrived(account, 1)
    (body,) = account.stored()
    return body
