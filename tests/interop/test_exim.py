"""A real Exim hands mail over, by the configurations of docs/delivery.md."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from tests.corpus import CORPUS, SMALL
from tests.interop.arrivals import EXIM, arrival, below, is_below
from tests.interop.clients import Clients
from tests.interop.exim import Exim
from tests.interop.feeders import by_smtp, fed_by
from tests.interop.incoming import arrived, every_message_arrived, taking_mail, the_message
from tests.interop.page import block
from tests.servers import Account, Server, Site

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start an Exim")

MAIN = "/etc/exim4/exim4.conf, main section"
ROUTERS = "/etc/exim4/exim4.conf, begin routers"
TRANSPORTS = "/etc/exim4/exim4.conf, begin transports"
ACL = "/etc/exim4/exim4.conf, in the ACL for RCPT"
USUAL = {"alice@example.com": CORPUS["usual-crlf"]}


@pytest.fixture(scope="module")
def exim() -> Iterator[Exim]:
    with Exim() as exim:
        yield exim


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture(scope="module")
def server(site: Site, exim: Exim) -> Iterator[Server]:
    with taking_mail(site, exim.folder / "lmtp") as server:
        yield server


@pytest.fixture
def account(site: Site, server: Server) -> Account:
    return site.account(f"bob{len(site.accounts)}@example.org")


@pytest.fixture
def by_socket(exim: Exim) -> Exim:
    exim.configure(block(MAIN), block(ROUTERS), block(TRANSPORTS, mailserver=exim.folder))
    return exim


@pytest.fixture
def by_tcp(exim: Exim, server: Server) -> Exim:
    certificates = exim.folder / "ssl/certs"
    certificates.mkdir(parents=True, exist_ok=True)
    (certificates / "mailserver.pem").write_bytes(server.site.certificate.read_bytes())
    over_tcp = block(f"{TRANSPORTS}, over TCP", mail="127.0.0.1", port=server.ports["lmtp"], ssl=exim.folder / "ssl")
    exim.configure(block(MAIN), block(ROUTERS), over_tcp, block(ACL))
    return exim


def test_what_it_hands_over_goes_out_to_every_client_as_it_was(
    clients: Clients, account: Account, by_socket: Exim
) -> None:
    messages = fed_by("exim")
    by_smtp(by_socket.connect(), account.name, messages)
    every_message_arrived(clients, account, messages, EXIM)


def test_over_tcp_it_sends_chunks_within_tls(account: Account, by_tcp: Exim) -> None:
    messages = {name: text for name, text in fed_by("exim by TCP").items() if text in SMALL.values()}
    by_smtp(by_tcp.connect(), account.name, messages)
    arrived(account, len(messages))
    for body in account.stored():
        told = arrival(body)
        assert is_below(messages[told.return_path.decode()], body, EXIM), body[:1000]
        assert b" with LMTPS id " in told.received
    delivered = re.findall(r"(?m)^.* => bob.*$", by_tcp.log.text()[by_tcp.mark :])
    assert len(delivered) == len(messages)
    assert all(" K " in line and " X=TLS1.3:" in line and " CV=yes" in line for line in delivered), delivered[0]


def test_the_fields_on_top_tell_the_way_that_a_message_came(account: Account, by_socket: Exim) -> None:
    by_smtp(by_socket.connect(), account.name, USUAL)
    told = arrival(the_message(account))
    assert told.return_path == b"alice@example.com"
    assert told.delivered_to == account.name.encode()
    assert re.fullmatch(
        rb"from mx\.example\.org .*by mail\.example\.org .*with LMTP id \S+ for <%b>; .*" % account.name.encode(),
        told.received,
    )


@pytest.mark.parametrize(("road", "keyword"), [("by_socket", b"LMTP"), ("by_tcp", b"UTF8LMTPS")])
def test_an_address_may_be_utf_8(
    site: Site, server: Server, road: str, keyword: bytes, request: pytest.FixtureRequest
) -> None:
    """By its socket Exim sends the address without SMTPUTF8."""
    account = site.account(f"grüße-{road}@example.org")
    with request.getfixturevalue(road).connect() as client:
        client.ehlo("client.example.net")
        client.sendmail("søren@example.com", [account.name], CORPUS["eight-bit"], ["SMTPUTF8", "BODY=8BITMIME"])
    told = arrival(the_message(account))
    assert told.return_path.decode() == "søren@example.com"
    assert b" with %b id " % keyword in told.received


def test_a_message_of_20_mb_comes_whole(account: Account, by_tcp: Exim) -> None:
    big = b"Subject: big\r\n\r\n" + b"%072d\r\n" * 280_000 % tuple(range(280_000))
    by_smtp(by_tcp.connect(), account.name, {"alice@example.com": big})
    assert below(the_message(account), EXIM) == big


def test_fifty_recipients_get_a_message_in_one_transaction(site: Site, server: Server, by_socket: Exim) -> None:
    accounts = [site.account(f"many{number}@example.org") for number in range(50)]
    with by_socket.connect() as client:
        assert client.sendmail("alice@example.com", [each.name for each in accounts], CORPUS["usual-crlf"]) == {}
    bodies = {the_message(account) for account in accounts}
    ids = {re.search(rb" id (\S+)", arrival(body).received)[1] for body in bodies}
    assert len(ids) == 1, "one transaction has one name"


def test_mail_for_nobody_is_returned(account: Account, by_socket: Exim) -> None:
    by_smtp(by_socket.connect(), "nobody@example.org", {account.name: CORPUS["usual"]})
    by_socket.log.wait_for(r"\*\* nobody@example\.org .*550 5\.1\.1 ")
    assert arrival(the_message(account)).return_path == b""


def test_over_tcp_mail_for_nobody_is_refused(account: Account, by_tcp: Exim) -> None:
    with by_tcp.connect() as client:
        client.ehlo("client.example.net")
        client.mail("alice@example.com")
        assert client.rcpt("nobody@example.org")[0] == 550
        assert client.rcpt(account.name)[0] == 250
        assert client.rcpt("bob@elsewhere.example")[0] == 550


def test_mail_over_quota_stays_in_the_queue(site: Site, server: Server, by_socket: Exim) -> None:
    full = site.account("full@example.org", extra="userdb_quota_rule=*:bytes=1000")
    by_smtp(by_socket.connect(), full.name, {"alice@example.com": b"Subject: big\n\n" + b"x" * 2000})
    found = by_socket.log.wait_for(r"(\S+) == full@example\.org .*452 4\.2\.2 ")
    assert full.files() == []
    by_socket.run("-Mrm", found[1])


def test_while_the_server_is_down_mail_is_kept_and_comes_then(site: Site, exim: Exim) -> None:
    account = site.account("late@example.org")
    transport = block(TRANSPORTS, mailserver=exim.folder).replace("/lmtp", "/restarted")
    exim.configure(block(MAIN), block(ROUTERS), transport)
    for _ in range(2):  # it comes back after a crash, too
        by_smtp(exim.connect(), account.name, USUAL)
        exim.log.wait_for(r"== late@example\.org ")
        assert account.files() == []
        with taking_mail(site, exim.folder / "restarted") as server:
            exim.queue()
            assert below(the_message(account), EXIM) == CORPUS["usual-crlf"]
            server.kill()
        account.files()[0].unlink()
