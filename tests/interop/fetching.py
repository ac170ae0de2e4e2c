"""Every POP3 client of the suite, to fetch a whole maildrop with."""

from __future__ import annotations

import poplib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import pytest

from tests.interop.clients import GAPS, Clients
from tests.interop.test_curl import Curl
from tests.interop.test_fetchmail import Fetchmail
from tests.interop.test_mpop import Mpop
from tests.interop.test_poplib import connect, joined, login
from tests.rawpop3 import RawPOP3
from tests.servers import Account


def by_raw(clients: Clients, account: Account) -> list[bytes]:
    """By the client that keeps every octet."""
    with RawPOP3(clients.server.pop3_port).login(account.name, account.password) as client:
        count = len(client.listing(b"LIST"))
        bodies = client.pipeline([b"RETR %d" % number for number in range(1, count + 1)])
        client.quit()
        return bodies


def by_curl(clients: Clients, account: Account) -> list[bytes]:
    """By curl."""
    count = len(account.files())
    Curl(clients, account)(f"[1-{count}]", "--output", "curl-#1")
    return [(clients.folder / f"curl-{number}").read_bytes() for number in range(1, count + 1)]


def by_poplib(clients: Clients, account: Account) -> list[bytes]:
    """By Python's own client."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(poplib, "_MAXLINE", 1 << 24)
        client = login(connect(clients.server, "plain"), account)
        bodies = [joined(client.retr(number)[1]) for number in range(1, client.stat()[0] + 1)]
        client.quit()
        return bodies


def by_mpop(clients: Clients, account: Account) -> list[bytes]:
    """By mpop, which writes a Maildir."""
    mpop = Mpop(clients, account)
    mpop("plain", "--keep=on", "--auth=user")
    return mpop.got()


def by_fetchmail(clients: Clients, account: Account) -> list[bytes]:
    """By fetchmail, which writes to a program."""
    (clients.folder / "fetchmail").mkdir()
    fetchmail = Fetchmail(Clients(clients.server, clients.folder / "fetchmail"), account)
    fetchmail("--keep", "--all")
    return fetchmail.got()


FETCH: Final[Mapping[str, Callable[[Clients, Account], list[bytes]]]] = {
    "curl": by_curl,
    "poplib": by_poplib,
    "mpop": by_mpop,
    "fetchmail": by_fetchmail,
}
"""Those that are compared with the first, which trusts nobody."""


def every_client_fetches(clients: Clients, account: Account, bodies: Sequence[bytes]) -> None:
    """Each gets these messages, in their wire form, less those that it changes itself."""
    for name, fetch in FETCH.items():
        fetched = fetch(clients, account)
        assert len(fetched) == len(bodies), name
        for body, got in zip(bodies, fetched, strict=True):
            if not any(gap.hit(body) for gap in GAPS[name]):
                assert got == (body if name in ("curl", "poplib") else body.replace(b"\r\n", b"\n")), (
                    name,
                    body[:300],
                    got[:300],
                )
