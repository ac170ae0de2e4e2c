"""A real Postfix hands mail over, by the configurations of docs/delivery.md."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator

import pytest

from tests.corpus import CORPUS
from tests.interop.arrivals import POSTFIX, arrival, below
from tests.interop.clients import Clients
from tests.interop.feeders import by_smtp, fed_by
from tests.interop.incoming import arrived, every_message_arrived, taking_mail, the_message
from tests.interop.page import block
from tests.interop.postfix import Postfix
from tests.interop.relay import Relay
from tests.servers import Account, Server, Site

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a Postfix")

MAIN = "/etc/postfix/main.cf"
USUAL = {"alice@example.com": CORPUS["usual-crlf"]}
BIGGEST = 21 << 20
"""What the server takes, in octets."""

RESTARTED = "transport_maps = inline:{ example.net=lmtp:unix:private/restarted }\n"
"""A domain whose server is another, which is down at first."""


@pytest.fixture(scope="module")
def instance() -> Iterator[Postfix]:
    with Postfix(users=["carol"]) as postfix:
        yield postfix


@pytest.fixture
def postfix(instance: Postfix) -> Postfix:
    instance.use(block(MAIN) + RESTARTED)
    return instance


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture(scope="module")
def server(site: Site, instance: Postfix) -> Iterator[Server]:
    names = {"local_domains": ["mx.example.org"]}
    listen = tomllib.loads(block("/etc/mailserver/mailserver.toml", mailserver=instance.folder, postfix=instance.queue))
    with taking_mail(site, *listen["listen"]["lmtp"], delivery={"max_octets": BIGGEST}, names=names) as server:
        yield server


@pytest.fixture
def account(site: Site, server: Server) -> Account:
    return site.account(f"bob{len(site.accounts)}@example.org")


def test_what_it_hands_over_goes_out_to_every_client_as_it_was(
    clients: Clients, account: Account, postfix: Postfix
) -> None:
    messages = fed_by("postfix")
    by_smtp(postfix.connect(), account.name, messages)
    every_message_arrived(clients, account, messages, POSTFIX)


def test_the_fields_on_top_tell_the_way_that_a_message_came(account: Account, postfix: Postfix) -> None:
    by_smtp(postfix.connect(), account.name, USUAL)
    told = arrival(the_message(account))
    assert told.return_path == b"alice@example.com"
    assert told.delivered_to == account.name.encode()
    assert re.fullmatch(
        rb"from mx\.example\.org .*by mail\.example\.org .*with LMTP id \S+ for <%b>; .*" % account.name.encode(),
        told.received,
    )


def test_an_address_may_be_utf_8(site: Site, server: Server, postfix: Postfix) -> None:
    account = site.account("grüße@example.org")
    with postfix.connect() as client:
        client.ehlo("client.example.net")
        client.sendmail("søren@example.com", [account.name], CORPUS["eight-bit"], ["SMTPUTF8", "BODY=8BITMIME"])
    told = arrival(the_message(account))
    assert told.return_path.decode() == "søren@example.com"
    assert b" with UTF8LMTP id " in told.received


def test_text_in_utf_8_is_not_put_into_seven_bits(account: Account, postfix: Postfix) -> None:
    text = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n"
    by_smtp(postfix.connect(), account.name, {"alice@example.com": text.encode()})
    assert below(the_message(account), POSTFIX) == text.encode()


def test_a_message_of_20_mb_comes_whole_and_a_bigger_one_is_returned(account: Account, postfix: Postfix) -> None:
    big = b"Subject: big\r\n\r\n" + b"%072d\r\n" * 280_000 % tuple(range(280_000))
    assert len(big) > 20_000_000
    by_smtp(postfix.connect(), account.name, {"alice@example.com": big})
    assert below(the_message(account), POSTFIX) == big
    by_smtp(postfix.connect(), account.name, {"alice@example.com": big + b"%072d\r\n" * 20_000 % tuple(range(20_000))})
    postfix.log.wait_for(rf"to=<{account.name}>.* dsn=5\.3\.4, status=bounced")
    assert len(account.files()) == 1


def test_fifty_recipients_get_a_message_in_one_transaction(site: Site, server: Server, postfix: Postfix) -> None:
    accounts = [site.account(f"many{number}@example.org") for number in range(50)]
    with postfix.connect() as client:
        assert client.sendmail("alice@example.com", [each.name for each in accounts], CORPUS["usual-crlf"]) == {}
    bodies = {the_message(account) for account in accounts}
    ids = {re.search(rb" id (\S+)", arrival(body).received)[1] for body in bodies}
    assert len(ids) == 1, "one transaction has one name"
    assert len({account.files()[0].stat().st_ino for account in accounts}) == 1, "one write for all"
    assert {below(body, POSTFIX) for body in bodies} == {CORPUS["usual-crlf"]}


def test_mail_for_nobody_is_refused_to_strangers_and_returned_to_others(account: Account, postfix: Postfix) -> None:
    with postfix.connect() as client:
        client.ehlo("client.example.net")
        client.docmd("XCLIENT NAME=client.example.net ADDR=192.0.2.1")
        client.ehlo("client.example.net")
        client.mail("alice@example.com")
        code, text = client.rcpt("nobody@example.org")
        assert (code, text[:5]) == (550, b"5.1.1"), text
        assert client.rcpt(account.name)[0] == 250
    by_smtp(postfix.connect(), "nobody@example.org", {account.name: CORPUS["usual"]})
    postfix.log.wait_for(r"to=<nobody@example\.org>.* dsn=5\.1\.1, status=bounced \(host .* said: 550 5\.1\.1 ")
    returned = arrival(the_message(account))
    assert returned.return_path == b""
    assert b"\r\nFinal-Recipient: rfc822; nobody@example.org\r\n" in returned.rest
    assert b"\r\nStatus: 5.1.1\r\n" in returned.rest


def test_mail_over_quota_stays_in_the_queue(site: Site, server: Server, postfix: Postfix) -> None:
    full = site.account("full@example.org", extra="userdb_quota_rule=*:bytes=1000")
    by_smtp(postfix.connect(), full.name, {"alice@example.com": b"Subject: big\n\n" + b"x" * 2000})
    postfix.log.wait_for(r"to=<full@example\.org>.* dsn=4\.2\.2, status=deferred \(host .* said: 452 4\.2\.2 ")
    assert full.files() == []
    postfix.run("postsuper", "-d", "ALL")


def test_while_the_server_is_down_mail_is_kept_and_comes_then(site: Site, postfix: Postfix) -> None:
    account = site.account("bob@example.net")
    by_smtp(postfix.connect(), account.name, USUAL)
    postfix.log.wait_for(r"to=<bob@example\.net>.* dsn=4\.4\.1, status=deferred")
    for _ in range(2):  # it comes back after a crash, too
        with taking_mail(site, postfix.queue / "private/restarted") as server:
            postfix.run("postqueue", "-f")
            postfix.log.wait_for(r"to=<bob@example\.net>.* status=sent")  # else it has to send it again
            assert below(the_message(account), POSTFIX) == CORPUS["usual-crlf"]
            server.kill()
        account.files()[0].unlink()
        by_smtp(postfix.connect(), account.name, USUAL)
    postfix.run("postsuper", "-d", "ALL")


def test_it_hands_over_to_another_machine_with_tls(account: Account, server: Server, instance: Postfix) -> None:
    certificates = instance.folder / "ssl/certs"
    certificates.mkdir(parents=True)
    (certificates / "mailserver.pem").write_bytes(server.site.certificate.read_bytes())
    main = block(
        f"{MAIN}, to another machine", mail="localhost", port=server.ports["lmtp"], ssl=instance.folder / "ssl"
    )
    instance.use(f"{main}\nlmtp_tls_loglevel = 1\nlmtp_host_lookup = native\n")
    by_smtp(instance.connect(), account.name, USUAL)
    told = arrival(the_message(account))
    assert b" with LMTPS id " in told.received
    assert b"TLSv1.3" in told.received
    instance.log.wait_for(r"Verified TLS connection established to localhost\[127\.0\.0\.1\]")


def test_its_client_may_leave_its_confinement(account: Account, instance: Postfix) -> None:
    instance.use(block(MAIN))
    instance.stop()
    for line in block("postconf, for a socket elsewhere", mailserver=instance.folder).splitlines():
        instance.run(*line.split())
    instance.start()
    by_smtp(instance.connect(), account.name, USUAL)
    assert below(the_message(account), POSTFIX) == CORPUS["usual-crlf"]
    instance.log.wait_for(rf"to=<{account.name}>, relay=\S+{instance.folder}/lmtp\]")


def test_users_of_the_machine_get_mail(site: Site, server: Server, instance: Postfix) -> None:
    carol = site.account("carol")
    instance.use(block(f"{MAIN}, for users of the machine"))
    by_smtp(instance.connect(), "carol@mx.example.org", USUAL)
    told = arrival(the_message(carol))
    assert told.delivered_to in (b"carol", b"carol@mx.example.org")
    assert told.return_path == b"alice@example.com"


def test_it_delivers_by_a_pipe(site: Site, account: Account, server: Server, instance: Postfix) -> None:
    full = site.account("brimful@example.org", extra="userdb_quota_rule=*:bytes=10")
    main = block(f"{MAIN}, through a pipe") + f"virtual_alias_maps = inline:{{ sales@example.org={account.name} }}\n"
    with Relay(instance.folder, instance.queue / "private/mailserver-lmtp") as relay:
        master = block("/etc/postfix/master.cf", bin=instance.folder)
        instance.use(main, master)
        by_smtp(instance.connect(), "sales@example.org", USUAL)
        told = arrival(the_message(account))
        for name in (full.name, "nobody@example.org"):
            by_smtp(instance.connect(), name, {account.name: CORPUS["usual"]})
        instance.log.wait_for(rf"to=<{full.name}>.* dsn=4\.2\.2, status=deferred")
        instance.log.wait_for(r"to=<nobody@example\.org>.* dsn=5\.1\.1, status=bounced")
        arrived(account, 2)
        instance.run("postsuper", "-d", "ALL")
    assert told.return_path == b"alice@example.com"
    assert told.original_to == b"sales@example.org"
    # Two programs may deliver within one second, and then the names do not tell who was first.
    message, bounce = sorted(account.stored(), key=lambda each: arrival(each).return_path == b"")
    assert below(message, POSTFIX) == CORPUS["usual-crlf"]
    assert arrival(bounce).return_path == b"", "a bounce has no sender"
    assert ["deliver", "-f", "alice@example.com", "-a", "sales@example.org", "--", account.name] in relay.calls
