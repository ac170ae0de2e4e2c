"""Programs that hand mail to ``mailserver deliver``, by the configurations of docs/delivery.md."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.corpus import CORPUS
from tests.interop.arrivals import arrival
from tests.interop.clients import path_of
from tests.interop.incoming import taking_mail, the_message
from tests.interop.page import block
from tests.interop.relay import Relay
from tests.interop.unpacked import environment, unpacked
from tests.servers import Account, Server, Site

SECONDS = 60
WIRE = CORPUS["usual"].replace(b"\n", b"\r\n")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mailserver-pipes-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def server(site: Site, folder: Path) -> Iterator[Server]:
    with taking_mail(site, folder / "lmtp") as server:
        yield server


@pytest.fixture(scope="module")
def relay(server: Server, folder: Path) -> Iterator[Relay]:
    with Relay(folder, folder / "lmtp") as relay:
        yield relay


@pytest.fixture(scope="module")
def myself(site: Site) -> Account:
    """Whom procmail and maildrop take us for."""
    return site.account(pwd.getpwuid(os.geteuid()).pw_name)


@pytest.fixture
def account(myself: Account) -> Iterator[Account]:
    yield myself
    for file in myself.files():
        file.unlink()


def run(command: list[object], folder: Path, stdin: bytes = b"", status: int = 0, **environment: str) -> None:
    ended = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        timeout=SECONDS,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8", **environment},
        check=False,
    )
    assert ended.returncode == status, (command, ended.stdout, ended.stderr)


def script(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def test_fetchmail_brings_mail_from_elsewhere(site: Site, server: Server, relay: Relay, folder: Path) -> None:
    site.account("alice", "sesame", messages=[b"Return-Path: <carol@example.net>\n" + CORPUS["usual"]])
    here = site.account("alice@example.org")
    text = block("~/.fetchmailrc", bin=folder, pop=f"localhost service {server.pop3_port}")
    rc = script(folder, "fetchmailrc", text)
    run(
        [path_of("fetchmail"), "-f", rc, "--pidfile", folder / "pid", "--nodetach", "--nosyslog"],
        folder,
        SSL_CERT_FILE=str(site.certificate),
        FETCHMAILHOME=str(folder),
    )
    told = arrival(the_message(here))
    assert told.return_path == b"carol@example.net"
    assert told.rest.endswith(WIRE.partition(b"\r\n\r\n")[2])
    assert site.accounts[-2].files() == []


@dataclass(frozen=True)
class Filter:
    """A program that filters mail, with its configuration in a file."""

    command: list[object]
    environment: Mapping[str, str]


def procmail(folder: Path) -> Filter:
    rc = script(folder, "procmailrc", block("~/.procmailrc", bin=folder) + f"\n:0\n{folder}/elsewhere\n")
    return Filter([path_of("procmail"), rc], {})


def maildrop(folder: Path) -> Filter:
    rc = script(folder, "mailfilter", block("~/.mailfilter", bin=folder) + f'\nto "{folder}/elsewhere"\n')
    return Filter([unpacked("usr/bin/maildrop", "maildrop"), rc], environment(folder))


FILTERS = pytest.mark.parametrize("program", [procmail, maildrop])


@FILTERS
def test_a_filter_hands_over_what_it_puts_nowhere_else(
    account: Account, relay: Relay, folder: Path, program: Callable[[Path], Filter]
) -> None:
    known = program(folder)
    run(known.command, folder, CORPUS["usual"], **known.environment)
    blank = b"\r\n" if program is procmail else b""  # which it writes below each message
    assert arrival(the_message(account)).rest == WIRE + blank
    assert not (folder / "elsewhere").exists()


@FILTERS
def test_a_filter_tells_that_mail_was_not_delivered(
    account: Account, relay: Relay, folder: Path, program: Callable[[Path], Filter]
) -> None:
    known = program(folder)
    relay.lead_to(folder / "nobody listens here")
    run(known.command, folder, CORPUS["usual"], status=os.EX_TEMPFAIL, **known.environment)
    assert account.files() == []
    assert not (folder / "elsewhere").exists()
    relay.lead_to(folder / "lmtp")
