"""curl."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from tests.corpus import CORPUS, canonical, top
from tests.interop.clients import Clients, Outcome, kept_by
from tests.servers import Account

MESSAGES = kept_by("curl")
ROADS = ("plain", "stls", "pop3s")


@dataclass(frozen=True)
class Curl:
    """curl for one user, on one road."""

    clients: Clients
    account: Account
    road: str = "plain"

    def __call__(self, path: str, *arguments: str, status: int | None = 0) -> Outcome:
        server = self.clients.server
        url = {
            "plain": f"pop3://127.0.0.1:{server.pop3_port}",
            "stls": f"pop3://localhost:{server.pop3_port}",
            "pop3s": f"pop3s://localhost:{server.pop3s_port}",
        }[self.road]
        options = ["--ssl-reqd"] if self.road == "stls" else []
        user = f"{self.account.name}:{self.account.password}"
        return self.clients.run(
            "curl",
            *("--disable", "--silent", "--show-error", "--verbose", "--cacert", str(server.site.certificate)),
            *("--user", user, *options, *arguments, f"{url}/{path}"),
            status=status,
        )


@pytest.mark.parametrize("road", ROADS)
def test_it_reads_every_message(clients: Clients, account: Account, road: str) -> None:
    for message in MESSAGES.values():
        account.deliver(message)
    Curl(clients, account, road)(f"[1-{len(MESSAGES)}]", "--output", "got-#1")
    for number, (name, message) in enumerate(MESSAGES.items(), 1):
        assert (clients.folder / f"got-{number}").read_bytes() == canonical(message), name


def test_it_lists(clients: Clients, account: Account) -> None:
    paths = [account.deliver(CORPUS[name]) for name in ("usual", "mixed-ends", "empty")]
    curl = Curl(clients, account)
    octets = [len(canonical(path.read_bytes())) for path in paths]
    assert curl("").output == b"".join(b"%d %d\r\n" % row for row in enumerate(octets, 1))
    unique = [path.name.encode() for path in paths]
    assert curl("", "--request", "UIDL").output == b"".join(b"%d %b\r\n" % row for row in enumerate(unique, 1))


def test_it_reads_the_top_of_a_message(clients: Clients, account: Account) -> None:
    account.deliver(CORPUS["leading-dots"])
    assert Curl(clients, account)("", "--request", "TOP 1 3").output == top(CORPUS["leading-dots"], 3)


@pytest.mark.parametrize("road", ROADS)
def test_it_deletes_a_message(clients: Clients, account: Account, road: str) -> None:
    for name in ("usual", "leading-dots"):
        account.deliver(CORPUS[name])
    Curl(clients, account, road)("1", "--head", "--request", "DELE")
    assert account.stored() == [CORPUS["leading-dots"]]


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (("--login-options", "AUTH=+APOP"), r"APOP user\d+ "),
        (("--login-options", "AUTH=PLAIN"), r"AUTH PLAIN\b"),
        (("--login-options", "AUTH=PLAIN", "--sasl-ir"), r"AUTH PLAIN \S"),
        (("--login-options", "AUTH=LOGIN"), r"AUTH LOGIN\b"),
        (("--login-options", "AUTH=LOGIN", "--sasl-ir"), r"AUTH LOGIN \S"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
@pytest.mark.parametrize("road", ROADS)
def test_it_logs_in(clients: Clients, account: Account, road: str, options: tuple[str, ...], sent: str) -> None:
    account.deliver(CORPUS["usual"])
    outcome = Curl(clients, account, road)("1", *options)
    assert outcome.output == canonical(CORPUS["usual"])
    assert re.search(rf"(?m)^> {sent}", outcome.errors), outcome.errors


def test_names_and_passwords_may_be_utf8(clients: Clients, foreign: Account) -> None:
    foreign.deliver(CORPUS["eight-bit"])
    for options in ((), ("--login-options", "AUTH=+APOP"), ("--login-options", "AUTH=PLAIN")):
        assert Curl(clients, foreign, "pop3s")("1", *options).output == canonical(CORPUS["eight-bit"])


def test_what_is_refused_is_an_error(clients: Clients, account: Account) -> None:
    stranger = Account(account.name, "wrong", account.maildir.parent)
    assert Curl(clients, stranger)("", status=None).status == 67  # login denied
    assert Curl(clients, account)("99", status=None).status == 8  # no such message
