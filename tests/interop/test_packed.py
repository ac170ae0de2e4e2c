"""Messages that Dovecot packed, read by the programs as any others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.clients import Clients, text_form
from tests.interop.test_fetchmail import Fetchmail
from tests.interop.test_mpop import Mpop
from tests.servers import Account
from tests.store.maildir.test_packed import PACK

MAIL = [b"From: a@b\r\nSubject: %d\r\n\r\n" % at + b".line %d\r\n" % at * 20_000 * at for at in range(2 * len(PACK))]


@pytest.fixture
def packed(account: Account) -> Account:
    """Of each kind one whose name has the size of the mail, and one whose name has none."""
    for at, mail in enumerate(MAIL):
        size = f",S={len(mail)}" if at % 2 else ""
        path: Path = account.maildir / "cur" / f"{1_700_000_000 + at}.M1P1.host{size}:2,S"
        path.write_bytes([*PACK.values()][at // 2](mail))
        path.chmod(0o666)
    return account


def test_curl_lists_and_reads_them(clients: Clients, packed: Account) -> None:
    url = f"pop3://localhost:{clients.server.pop3_port}/"
    options = (
        "--silent",
        "--show-error",
        "--user",
        f"{packed.name}:{packed.password}",
        "--login-options",
        "AUTH=PLAIN",
    )
    sizes = clients.run("curl", *options, url).output.split()[1::2]
    assert [int(size) for size in sizes] == [len(mail) for mail in MAIL]
    for at, mail in enumerate(MAIL):
        assert clients.run("curl", *options, f"{url}{at + 1}").output == mail


def test_mpop_reads_and_deletes_them(clients: Clients, packed: Account) -> None:
    mpop = Mpop(clients, packed)
    mpop("plain", "--keep=off")
    assert mpop.got() == [text_form(mail) for mail in MAIL]
    assert not packed.files()


def test_fetchmail_reads_and_deletes_them(clients: Clients, packed: Account) -> None:
    fetchmail = Fetchmail(clients, packed)
    fetchmail("--nokeep", "--all")
    assert fetchmail.got() == [text_form(mail) for mail in MAIL]
    assert not packed.files()
