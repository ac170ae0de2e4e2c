"""Mail that comes in, by whole servers: of one process or of workers, over Unix sockets and TCP."""

from __future__ import annotations

import signal
import smtplib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mailserver.config.problems import Problems
from mailserver.config.reading import decode
from mailserver.errors import ConfigError
from mailserver.service.server import Server as Made
from tests.rawlmtp import SECONDS, RawLMTP, stuffed
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site

MESSAGE = b"Subject: hello\r\n\r\n.world\r\n"


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as made:
        made.account("alice", "wonderland")
        made.account("bob", "builder")
        yield made


def server_of(site: Site, **settings: Any) -> Server:
    listen = {"lmtp": [f"unix:{site.folder}/lmtp:mode=600", "tcp:0:interface=127.0.0.1"], "pop3s": []}
    return Server(site, listen=listen, **settings)


def fetched(server: Server, name: str, password: str) -> list[bytes]:
    with RawPOP3(server.pop3_port) as client:
        client.login(name, password)
        messages = [client.fetch(b"RETR %d" % number) for number in range(1, int(client.ok(b"STAT").split()[1]) + 1)]
        client.quit()
    return messages


@pytest.mark.parametrize("workers", [1, 2], ids=["alone", "workers"])
def test_what_comes_in_is_fetched(site: Site, workers: int) -> None:
    with server_of(site, workers=workers) as server:
        with RawLMTP(site.folder / "lmtp") as client:
            replies = client.hello().deliver(MESSAGE, "alice", "nobody", "bob")
            assert [reply[:9] for reply in replies] == [b"250 2.0.0", b"550 5.1.1", b"250 2.0.0"]
            client.quit()
        with smtplib.LMTP("127.0.0.1", server.ports["lmtp"]) as sender:
            assert sender.sendmail("", ["alice"], MESSAGE) == {}
        assert [message.endswith(MESSAGE) for message in fetched(server, "alice", "wonderland")] == [True, True]
        (message,) = fetched(server, "bob", "builder")
        assert message.startswith(b"Return-Path: <sender@example.org>\r\n")
        server.wait_for("lmtp.delivered", 2)
        assert any(f" with LMTP id {event['session']}".encode() in message for event in server.told("lmtp.delivered"))
    assert not (site.folder / "lmtp").exists()


def test_many_senders_at_once_are_served_by_all_workers(site: Site) -> None:
    together = threading.Barrier(20, timeout=SECONDS)

    def send(number: int) -> None:
        with RawLMTP(site.folder / "lmtp") as client:
            together.wait()
            for each in range(5):
                (reply,) = client.hello().deliver(b"Subject: %d.%d\r\n\r\n" % (number, each), "alice")
                assert reply.startswith(b"250")

    with server_of(site, workers=2) as server:
        with ThreadPoolExecutor(20) as threads:
            list(threads.map(send, range(20)))
        subjects = {message.split(b"Subject: ")[1] for message in fetched(server, "alice", "wonderland")}
        assert len(subjects) == 100


@pytest.mark.parametrize("workers", [1, 2], ids=["alone", "workers"])
def test_a_message_that_is_under_way_at_sigterm_comes_in(site: Site, workers: int) -> None:
    with server_of(site, workers=workers) as server:
        with RawLMTP(site.folder / "lmtp") as client, RawLMTP(site.folder / "lmtp") as idle:
            client.hello().begin(["alice"])
            client.ok(b"DATA")
            server.process.send_signal(signal.SIGTERM)
            assert idle.reply().startswith(b"421 ")
            client.send(stuffed(MESSAGE))
            assert client.reply().startswith(b"250")
            assert client.reply().startswith(b"421 ")
        assert server.wait() == -signal.SIGTERM
        assert [event["delivered"] for event in server.told("lmtp.delivered")] == [1]
    (path,) = site.accounts[0].files()
    assert path.read_bytes().endswith(MESSAGE)


def test_a_site_may_only_receive(site: Site) -> None:
    server = Server(site)
    server.settings["listen"] = {"lmtp": ["tcp:0:interface=127.0.0.1"]}
    with server, RawLMTP(server.ports["lmtp"]) as client:
        (reply,) = client.hello().deliver(MESSAGE, "alice")
        assert reply.startswith(b"250")
        client.quit()


def test_mail_has_places_of_its_own(site: Site) -> None:
    limits, delivery = {"connections": 1, "connections_per_address": 1}, {"connections": 1}
    with (
        server_of(site, limits=limits, delivery=delivery) as server,
        RawLMTP(site.folder / "lmtp") as sender,
        RawPOP3(server.pop3_port) as client,
    ):
        sender.hello()
        with RawLMTP(site.folder / "lmtp") as late:
            assert late.greeting.startswith(b"421 ")
        assert server.wait_for("lmtp.turned_away")["reason"] == "delivery.connections"
        client.login("alice", "wonderland").quit()
        sender.quit()


def made(tmp_path: Path, **settings: Any) -> None:
    config = decode({"listen": {"lmtp": ["tcp:0:interface=127.0.0.1"]}, "store": {"url": "memory:"}, **settings})
    problems = Problems(config.places)
    Made(config, None, problems)
    problems.check()


def test_checkers_that_know_nobody_are_a_problem_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"auth\.checkers: no checker knows which users there are.*: use a passwd-file"
    ):
        made(tmp_path, auth={"checkers": ["memory:alice:wonderland"]})
    (tmp_path / "users").touch(mode=0o600)
    made(tmp_path, auth={"checkers": [f"passwd-file:{tmp_path}/users"]})


def test_settings_that_nobody_has_checked_are_refused(tmp_path: Path) -> None:
    (tmp_path / "users").touch(mode=0o600)
    config = decode(
        {
            "listen": {"pop3": ["tcp:0"]},
            "store": {"url": "memory:"},
            "auth": {"checkers": [f"passwd-file:{tmp_path}/users"]},
        }
    )
    server = Made(config, None, Problems(config.places))
    with pytest.raises(ConfigError, match=r"listen\.lmtp: LMTP needs users and a store to deliver to"):
        server.factory("lmtp", "tcp:0")
