"""mpop."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.corpus import CORPUS
from tests.interop.clients import Clients, Outcome, kept_by, text_form
from tests.servers import Account

MESSAGES = kept_by("mpop")
TLS = {
    "plain": ("--tls=off",),
    "stls": ("--tls=on", "--tls-starttls=on"),
    "pop3s": ("--tls=on", "--tls-starttls=off"),
}


class Mpop:
    """mpop for one user; it writes to a Maildir."""

    def __init__(self, clients: Clients, account: Account) -> None:
        self.clients = clients
        self.account = account
        self.maildir = clients.folder / "got"
        for folder in ("tmp", "new", "cur"):
            (self.maildir / folder).mkdir(parents=True)

    def __call__(self, road: str, *options: str, status: int | None = 0) -> Outcome:
        server = self.clients.server
        password = self.clients.file("password", self.account.password)
        port = server.pop3s_port if road == "pop3s" else server.pop3_port
        return self.clients.run(
            "mpop",
            *("--host=localhost", f"--port={port}", f"--user={self.account.name}"),
            *(f"--passwordeval=cat {password}", "--timeout=30", "--received-header=off"),
            *(f"--uidls-file={self.clients.folder / 'uidls'}", f"--delivery=maildir,{self.maildir}"),
            *TLS[road],
            *((f"--tls-trust-file={server.site.certificate}",) if road != "plain" else ()),
            *options,
            status=status,
        )

    def got(self) -> list[bytes]:
        """What was delivered since the last call, in its order: mpop counts with a Q."""

        def serial(path: Path) -> int:
            return int(path.name.partition("Q")[2].partition(".")[0])

        files = sorted((self.maildir / "new").iterdir(), key=serial)
        messages = [file.read_bytes() for file in files]
        for file in files:
            file.unlink()
        return messages


@pytest.fixture
def mpop(clients: Clients, account: Account) -> Mpop:
    return Mpop(clients, account)


@pytest.mark.parametrize("pipelining", ["on", "off"])
@pytest.mark.parametrize("road", TLS)
def test_it_reads_every_message_once(mpop: Mpop, road: str, pipelining: str) -> None:
    for message in MESSAGES.values():
        mpop.account.deliver(message)
    options = ("--keep=on", "--auth=user", f"--pipelining={pipelining}")
    mpop(road, *options)
    for (name, message), got in zip(MESSAGES.items(), mpop.got(), strict=True):
        assert got == text_form(message), name
    mpop.account.deliver(b"Subject: new\n\n")
    mpop(road, *options)
    assert mpop.got() == [b"Subject: new\n\n"]


@pytest.mark.parametrize("pipelining", ["on", "off"])
def test_it_deletes_what_it_has_read(mpop: Mpop, pipelining: str) -> None:
    for message in CORPUS.values():
        mpop.account.deliver(message)
    mpop("stls", "--keep=off", "--auth=user", f"--pipelining={pipelining}")
    assert len(mpop.got()) == len(CORPUS)
    assert mpop.account.stored() == []


@pytest.mark.parametrize("way", ["user", "apop", "plain", "login"])
@pytest.mark.parametrize("road", TLS)
def test_it_logs_in(mpop: Mpop, road: str, way: str) -> None:
    mpop.account.deliver(CORPUS["usual"])
    mpop(road, f"--auth={way}")
    assert mpop.got() == [CORPUS["usual"]]


@pytest.mark.parametrize("way", ["user", "apop", "plain", "login"])
def test_a_wrong_password_is_an_error(mpop: Mpop, way: str) -> None:
    mpop.account = Account(mpop.account.name, "wrong", mpop.account.maildir.parent)
    assert "authentication failed" in mpop("stls", f"--auth={way}", status=77).errors  # EX_NOPERM
