"""Mail that comes in by LMTP from programs that are no mail servers, and goes out to every POP3 client."""

from __future__ import annotations

import re
import smtplib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.arrivals import arrival
from tests.interop.clients import Clients, path_of
from tests.interop.feeders import DIRECT, fed_by, run
from tests.interop.incoming import arrived, every_message_arrived, taking_mail, the_message
from tests.servers import Account, Server, Site


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mailserver-lmtp-", dir="/tmp") as folder:
        yield Path(folder) / "lmtp"


@pytest.fixture(scope="module")
def server(site: Site, socket: Path) -> Iterator[Server]:
    with taking_mail(site, socket, delivery={"xclients": ["127.0.0.1"]}) as server:
        yield server


@pytest.fixture
def account(site: Site) -> Account:
    return site.account(f"bob{len(site.accounts)}@example.org")


@pytest.mark.parametrize("feeder", DIRECT)
def test_what_comes_in_goes_out_to_every_client_as_it_was(
    clients: Clients, account: Account, socket: Path, feeder: str
) -> None:
    messages = fed_by(feeder)
    DIRECT[feeder](socket, account.name, messages)
    every_message_arrived(clients, account, messages)


def test_smtplib_is_told_of_each_recipient(server: Server, account: Account, socket: Path) -> None:
    with smtplib.LMTP(str(socket)) as client:
        assert client.ehlo("client.example.net")[0] == 250
        assert {"pipelining", "8bitmime", "smtputf8", "enhancedstatuscodes", "chunking", "size"} <= set(
            client.esmtp_features
        )
        assert "starttls" not in client.esmtp_features  # nobody reads a Unix socket's octets on the way
        refused = client.sendmail("a@example.net", [account.name, "nobody@example.org"], b"Subject: one\r\n\r\n")
        assert {name: reply[0] for name, reply in refused.items()} == {"nobody@example.org": 550}
    arrived(account, 1)
    (body,) = account.stored()
    told = arrival(body)
    assert told.return_path == b"a@example.net"
    assert told.delivered_to == account.name.encode()
    assert re.fullmatch(
        rb"from client\.example\.net .*by mail\.example\.org .*with LMTP id \S+ for <.*>; .*", told.received
    )
    assert told.rest == b"Subject: one\r\n\r\n"


def test_smtplib_goes_over_to_tls(server: Server, account: Account) -> None:
    with smtplib.LMTP("localhost", server.ports["lmtp"]) as client:
        client.starttls(context=server.site.client_tls())
        assert client.sendmail("a@example.net", [account.name], b"Subject: one\r\n\r\n") == {}
    arrived(account, 1)
    assert b" with LMTPS id " in arrival(account.stored()[0]).received


def test_swaks_goes_over_to_tls_and_tells_of_another_client(server: Server, account: Account) -> None:
    swaks = [path_of("swaks"), "--protocol", "LMTP", "--server", f"127.0.0.1:{server.ports['lmtp']}", "--pipeline"]
    told = run(
        [
            *(*swaks, "--tls", "--tls-verify", "--tls-ca-path", str(server.site.certificate)),
            *("--xclient-addr", "192.0.2.7", "--xclient-helo", "mx.example.net"),
            *("--from", "a@example.net", "--to", f"{account.name},nobody@example.org", "--data", "-"),
        ],
        b"Subject: one\n\nbody\n",
    )
    assert "550 5.1.1" in told
    received = arrival(the_message(account)).received
    assert b"from mx.example.net ([192.0.2.7])" in received
    assert b" with LMTPS id " in received
