"""fetchmail."""

from __future__ import annotations

import pytest

from tests.corpus import CORPUS
from tests.interop.clients import Clients, Outcome, kept_by, text_form
from tests.servers import Account

MESSAGES = kept_by("fetchmail")

NO_MAIL = 1
WRONG_PASSWORD = 3


class Fetchmail:
    """fetchmail for one user; each message becomes a file, named by its number."""

    def __init__(self, clients: Clients, account: Account) -> None:
        self.clients = clients
        self.account = account
        (clients.folder / "got").mkdir()
        self.agent = clients.file("agent", 'cd "${0%/*}" && echo >> count && cat > got/$(wc -l < count)\n')

    def __call__(self, *options: str, road: str = "plain", protocol: str = "POP3", status: int = 0) -> Outcome:
        server = self.clients.server
        port = server.pop3s_port if road == "pop3s" else server.pop3_port
        tls = 'sslproto ""'
        if road != "plain":
            tls = (
                f'sslcertfile "{server.site.certificate}" sslcertck {"ssl" if road == "pop3s" else "sslproto TLS1.2+"}'
            )
        rc = self.clients.file(
            "fetchmailrc",
            f"poll localhost protocol {protocol} port {port} timeout 30 bad-header accept no dns\n"
            f'user "{self.account.name}" password "{self.account.password}"\n'
            f'{tls} mda "sh {self.agent}"\n',
        )
        pid = str(self.clients.folder / "pid")  # else root has one for the machine, and another may be under way
        arguments = ("--fetchmailrc", str(rc), "--pidfile", pid, "--nodetach", "--daemon", "0", "--nosyslog")
        return self.clients.run("fetchmail", *arguments, "--invisible", *options, status=status)

    def got(self) -> list[bytes]:
        """What was delivered since the last call."""
        files = sorted((self.clients.folder / "got").iterdir(), key=lambda path: int(path.name))
        messages = [file.read_bytes() for file in files]
        for file in files:
            file.unlink()
        return messages


@pytest.fixture
def fetchmail(clients: Clients, account: Account) -> Fetchmail:
    return Fetchmail(clients, account)


@pytest.mark.parametrize("road", ["plain", "stls", "pop3s"])
def test_it_reads_every_message(fetchmail: Fetchmail, road: str) -> None:
    for message in MESSAGES.values():
        fetchmail.account.deliver(message)
    fetchmail("--keep", "--all", road=road)
    for (name, message), got in zip(MESSAGES.items(), fetchmail.got(), strict=True):
        assert got == text_form(message), name
    assert len(fetchmail.account.files()) == len(MESSAGES)


def test_it_reads_by_unique_id_what_it_has_not_read(fetchmail: Fetchmail) -> None:
    options = ("--keep", "--uidl")
    for name in ("usual", "leading-dots"):
        fetchmail.account.deliver(CORPUS[name])
    fetchmail(*options)
    assert fetchmail.got() == [text_form(CORPUS[name]) for name in ("usual", "leading-dots")]
    fetchmail(*options, status=NO_MAIL)
    fetchmail.account.deliver(b"Subject: new\n\n")
    fetchmail(*options)
    assert fetchmail.got() == [b"Subject: new\n\n"]


@pytest.mark.parametrize("road", ["plain", "stls", "pop3s"])
def test_it_deletes_what_it_has_read(fetchmail: Fetchmail, road: str) -> None:
    for name in ("usual", "leading-dots", "long-line"):
        fetchmail.account.deliver(CORPUS[name])
    fetchmail("--nokeep", road=road)
    assert len(fetchmail.got()) == 3
    assert fetchmail.account.stored() == []


def test_it_flushes_what_it_read_before(fetchmail: Fetchmail) -> None:
    fetchmail.account.deliver(CORPUS["usual"])
    fetchmail("--keep", "--uidl")
    fetchmail.account.deliver(CORPUS["leading-dots"])
    fetchmail.got()
    fetchmail("--flush", "--keep", "--uidl")
    assert fetchmail.account.stored() == [CORPUS["leading-dots"]]
    assert fetchmail.got() == [CORPUS["leading-dots"]]


@pytest.mark.parametrize("road", ["plain", "stls", "pop3s"])
def test_it_logs_in_by_apop(fetchmail: Fetchmail, road: str) -> None:
    fetchmail.account.deliver(CORPUS["usual"])
    told = fetchmail("--verbose", "--keep", road=road, protocol="APOP")
    assert "POP3> APOP " in told.output.decode()
    assert fetchmail.got() == [CORPUS["usual"]]


@pytest.mark.parametrize("protocol", ["POP3", "APOP"])
def test_a_wrong_password_is_an_error(fetchmail: Fetchmail, protocol: str) -> None:
    fetchmail.account = Account(fetchmail.account.name, "wrong", fetchmail.account.maildir.parent)
    fetchmail("--keep", protocol=protocol, status=WRONG_PASSWORD)
