"""The pages of a real server: who serves them, who sees them, and what they say while it drains."""

from __future__ import annotations

import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from mailserver.config.problems import Problems
from mailserver.config.settings import Tls
from mailserver.errors import ConfigError, Unusable
from mailserver.service.certificates import Certificates
from mailserver.service.families import FAMILIES, OF_SERVER
from mailserver.service.gathering import Gathering
from mailserver.service.web import Web, metrics_page
from mailserver.web.pages import Answer, Asked
from tests.cli.running import run
from tests.interop.unpacked import unpacked
from tests.rawlmtp import RawLMTP
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site, toml
from tests.waiting import eventually

SERVING = pwd.getpwuid(os.geteuid()).pw_name if os.geteuid() else "nobody"
USERS = [f"user{number}" for number in range(18)]
BROKEN = [f"broken{number}" for number in range(3)]
"""Users whose Maildir is none."""
TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4"


class Local(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(os.fsencode(self._path))


def get(connection: http.client.HTTPConnection, path: str, token: str = "") -> tuple[int, bytes]:
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
    answer = connection.getresponse()
    return answer.status, answer.read()


def said(connection: http.client.HTTPConnection, path: str) -> tuple[int, bytes] | None:
    """The same; None: a worker process that ended has taken the connection along."""
    try:
        return get(connection, path)
    except (ConnectionError, http.client.BadStatusLine):
        connection.close()
        return None


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as made:
        made.account("alice", messages=[b"Subject: hi\n\n" + b"x" * 20_000_000])
        for name in USERS:
            made.account(name, messages=[b"Subject: %d\n\n1\n" % number for number in range(10)])
        made.account("dora")
        for name in BROKEN:
            folder = made.account(name).maildir
            shutil.rmtree(folder)
            folder.touch()
        made.account("erik", extra="userdb_quota_rule=*:bytes=1")
        write_token(made)
        own(made.folder)
        yield made


def write_token(made: Site) -> None:
    """Into the file that `web.token_file` names in these tests."""
    token = made.folder / "token"
    token.touch(mode=0o600)
    token.write_text(TOKEN)
    made.secrets.add(TOKEN.encode())


def own(folder: Path) -> None:
    """Give all of it to the user that serves."""
    entry = pwd.getpwnam(SERVING)
    for path in (folder, *folder.rglob("*")):
        if os.geteuid() == 0:
            os.chown(path, entry.pw_uid, entry.pw_gid)


class Paged(Server):
    """A server with pages on all roads, served by whom the site belongs to."""

    def __init__(self, site: Site, workers: int = 1, **settings: Any) -> None:
        listen = {
            "http": [f"unix:{site.folder}/http", "tcp:0"],
            "https": ["tcp:0"],
            "lmtp": ["tcp:0:interface=127.0.0.1"],
            "control": f"{site.folder}/control",
        }
        super().__init__(site, user=SERVING, workers=workers, listen=listen, **settings)

    def metrics(self) -> Metrics:
        """What Prometheus would read now."""
        connection = Local(self.site.folder / "http")
        connection.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text"})
        return Metrics(connection.getresponse().read().decode())


class Metrics:
    """The page /metrics, as Prometheus' own parser reads it."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self.samples = [sample for family in self.families for sample in family.samples]
        self.counters = [each for family in self.families if family.type != "gauge" for each in family.samples]

    def of(self, name: str, *by: str, **labels: str) -> dict[tuple[str, ...], float]:
        """The samples of a name with these labels, as sums by other labels; what is zero is left out."""
        found: Counter[tuple[str, ...]] = Counter()
        for each in self.samples:
            if each.name == name and labels.items() <= each.labels.items():
                found[tuple(each.labels[label] for label in by)] += each.value  # type: ignore[assignment]
        return {key: value for key, value in found.items() if value}

    def sum(self, name: str, **labels: str) -> float:
        """All of them."""
        return sum(self.of(name, **labels).values())

    def back_since(self, before: Metrics) -> list[object]:
        """What has counted less than before, or is no more there."""
        now, old = (
            {(each.name, *sorted(each.labels.items())): each.value for each in its}
            for its in (self.counters, before.counters)
        )
        return [key for key, value in old.items() if now.get(key, -1.0) < value]


@pytest.fixture(scope="module", params=[1, 4])
def server(site: Site, request: pytest.FixtureRequest) -> Iterator[Paged]:
    """One process, and four."""
    made = Paged(site, request.param, web={"token_file": str(site.folder / "token")})
    made.start()
    yield made
    made.stop()
    assert not [secret for secret in site.secrets if secret in made.raw]


def test_each_road_shows_the_pages_to_whom_they_are_for(site: Site, server: Paged) -> None:
    here = http.client.HTTPConnection("127.0.0.1", server.ports["http"])
    offering = site.client_tls()
    offering.set_alpn_protocols(["h2", "http/1.1"])  # as Prometheus, browsers and curl do
    secure = http.client.HTTPSConnection("localhost", server.ports["https"], context=offering)
    local = Local(site.folder / "http")
    for connection in (here, secure, local):
        assert get(connection, "/healthz") == (200, b"alive\n")
        assert get(connection, "/readyz") == (200, b"ready\n")
    assert [get(each, "/metrics")[0] for each in (here, secure, local)] == [401, 401, 200]
    assert get(secure, "/metrics", TOKEN)[0] == 200
    assert get(local, "/")[0] == 404, "no web.status_page: that page names users"


def reset(client: RawPOP3) -> None:
    """End a connection as a machine that has lost it."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()


def load(server: Paged) -> None:
    """Sessions that end in every way that takes no time, three times each; what they do is in `EXPECTED`.

    Each has a user of its own: in another process the maildrop of one that has just gone may still be locked.
    """
    names = iter(USERS)

    def logged_in(name: str) -> RawPOP3:
        return RawPOP3(server.pop3_port).login(name, f"sesame of {name}")

    for _ in range(3):
        name = next(names)
        with logged_in(name) as client:
            client.fetch(b"RETR 1")
            client.fetch(b"RETR 2")
            with RawPOP3(server.pop3_port) as other:
                other.ok(b"USER %b" % name.encode())
                assert other.command(b"PASS sesame of %b" % name.encode()).startswith(b"-ERR [IN-USE]")
                other.quit()
            client.quit()
        with logged_in(next(names)) as client:
            client.ok(b"DELE 1")
            client.quit()
        with logged_in(next(names)) as client:
            client.ok(b"DELE 1")
        with logged_in(next(names)) as client:
            client.send(b"XYZZY\r\n" * 20)  # at once: it may have closed before a second system call
            with suppress(ConnectionResetError):  # it closes before it has read all of them
                client.rest()
        with logged_in(next(names)) as client:
            reset(client)
        with RawPOP3(server.pop3_port) as client:
            client.ok(b"USER alice")
            assert client.command(b"PASS wrong").startswith(b"-ERR [AUTH]")
            reset(client)
        with RawPOP3(server.pop3_port):
            pass
        with RawPOP3(server.pop3s_port, tls=server.site.client_tls()) as client:
            name = next(names)
            client.login(name, f"sesame of {name}").quit()
        with socket.create_connection(("127.0.0.1", server.pop3s_port)) as plain:
            plain.sendall(b"QUIT\r\n")
            while plain.recv(100):
                pass
        with RawLMTP(server.ports["lmtp"]) as sender:
            sender.hello().deliver(b"Subject: hi\r\n\r\nhello\r\n", "dora", "nobody", "erik")
            sender.ok(b"QUIT")


EXPECTED: dict[str, dict[tuple[str, ...], float]] = {
    "mailserver_connections_open": {},
    "mailserver_connections_total": {("pop3",): 24, ("pop3s",): 6, ("lmtp",): 3},
    "mailserver_sessions_total": {
        ("pop3", "quit"): 6,
        ("pop3", "client_close"): 3,
        ("pop3", "refusal"): 3,
        ("pop3", "connection_lost"): 3,
        ("pop3s", "quit"): 3,
        ("lmtp", "quit"): 3,
    },
    "mailserver_connections_without_login_total": {
        ("pop3", "quit"): 3,
        ("pop3", "connection_lost"): 3,
        ("pop3", "client_close"): 3,
        ("pop3s", "tls_error"): 3,
    },
    "mailserver_logins_total": {
        ("pop3", "USER", "granted"): 15,
        ("pop3", "USER", "in_use"): 3,
        ("pop3", "USER", "refused"): 3,
        ("pop3s", "USER", "granted"): 3,
    },
    "mailserver_messages_retrieved_total": {("pop3",): 6},
    "mailserver_messages_deleted_total": {("pop3",): 3},
    "mailserver_messages_not_deleted_total": {("pop3",): 3},
    "mailserver_messages_delivered_total": {("lmtp",): 3},
    "mailserver_recipients_total": {("lmtp", "delivered"): 3, ("lmtp", "unknown"): 3, ("lmtp", "over_quota"): 3},
    "mailserver_session_seconds_count": {("pop3",): 15, ("pop3s",): 3, ("lmtp",): 3},
    "mailserver_authorization_seconds_count": {("pop3",): 15, ("pop3s",): 3},
    "mailserver_login_seconds_count": {("pop3",): 21, ("pop3s",): 3},
    "mailserver_update_seconds_count": {("pop3",): 6, ("pop3s",): 3},
    "mailserver_maildrop_open_seconds_count": {(): 21},
    "mailserver_delivery_seconds_count": {("lmtp",): 3},
}
LABELS = {
    "mailserver_sessions_total": ("listener", "ended"),
    "mailserver_connections_without_login_total": ("listener", "ended"),
    "mailserver_logins_total": ("listener", "mechanism", "result"),
    "mailserver_recipients_total": ("listener", "outcome"),
    "mailserver_maildrop_open_seconds_count": (),
}


def counted(metrics: Metrics) -> dict[str, Any]:
    return {name: metrics.of(name, *LABELS.get(name, ("listener",))) for name in EXPECTED}


def test_the_counters_are_what_was_done(server: Paged) -> None:
    before = counted(server.metrics())
    assert not any(before.values())
    load(server)
    eventually(lambda: counted(server.metrics()) == EXPECTED, lambda: counted(server.metrics()))
    metrics = server.metrics()
    octets = [each for each in server.events if each.get("event") in ("pop3.session", "lmtp.session")]
    assert metrics.sum("mailserver_sent_bytes_total") >= sum(each["octets_out"] for each in octets)
    assert metrics.sum("mailserver_database_seconds_count") > 0
    assert metrics.sum("mailserver_users", worker=min(workers_of(server))) == len(USERS) + len(BROKEN) + 3
    assert "sesame" not in repr(metrics.samples)
    assert not {"alice", USERS[0], "127.0.0.1"} & {value for each in metrics.samples for value in each.labels.values()}


def workers_of(server: Paged) -> set[str]:
    count = server.settings["workers"]
    return {"0"} if count == 1 else {str(number) for number in range(1, count + 1)}


def test_every_process_is_there_and_every_metric_has_its_worker(server: Paged) -> None:
    metrics = server.metrics()
    assert {key[0]: value for key, value in metrics.of("mailserver_worker_up", "worker").items()} == dict.fromkeys(
        workers_of(server), 1
    )
    assert all("worker" in each.labels for each in metrics.samples if each.name != "mailserver_build_info")
    known = {family.name(short).removesuffix("_total") for short, family in {**FAMILIES, **OF_SERVER}.items()}
    assert {family.name for family in metrics.families} <= known


def test_prometheus_own_lint_has_nothing_to_say(server: Paged) -> None:
    promtool = unpacked("usr/bin/promtool", "prometheus")
    connection = Local(server.site.folder / "http")
    connection.request("GET", "/metrics")
    text = connection.getresponse().read()
    found = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (found.returncode, found.stdout + found.stderr) == (0, b"")


def reloaded(server: Server, **changes: Any) -> None:
    """Let the server take these changes of its settings, while it runs."""
    server.file.write_text(toml({**server.settings, **changes}))
    told = run("reload", "--json", "--socket", f"{server.site.folder}/control")
    assert json.loads(told.stdout)["changed"] == list(changes), told


def test_no_counter_goes_back_at_a_reload_and_all_go_on(site: Site, server: Paged) -> None:
    before = server.metrics()
    with RawPOP3(server.pop3_port).login("dora", "sesame of dora") as client:
        reloaded(server, hostname="other.example.org")
        during = server.metrics()
        assert during.sum("mailserver_connections_open") == 1
        client.quit()
    with RawPOP3(server.pop3_port).login(USERS[0], f"sesame of {USERS[0]}") as client:
        assert b"other.example.org" in client.greeting
        told = run("kick", USERS[0], "--socket", f"{site.folder}/control")
        assert told.returncode == 0
    kicked = {"listener": "pop3", "ended": "operator"}
    eventually(lambda: server.metrics().sum("mailserver_sessions_total", **kicked) == 1, server.log)
    after = server.metrics()
    assert during.back_since(before) == []
    assert after.back_since(during) == []
    for name in ("mailserver_logins_total", "mailserver_connections_total"):
        assert after.sum(name) - before.sum(name) == 2


def test_a_server_whose_disk_fails_is_not_ready_until_it_opens_a_maildrop(site: Site, server: Paged) -> None:
    if server.settings["workers"] > 1:
        return  # another worker would be asked
    local = Local(site.folder / "http")

    def log_in(name: str) -> bytes:
        with RawPOP3(server.pop3_port) as client:
            client.ok(b"USER " + name.encode())
            return client.command(f"PASS sesame of {name}".encode())

    for name in [BROKEN[0], *BROKEN]:
        assert get(local, "/readyz")[0] == 200
        assert log_in(name).startswith(b"-ERR [SYS/TEMP]")
    assert get(local, "/readyz") == (503, b"maildrops cannot be opened\n")
    assert log_in("dora").startswith(b"+OK")
    assert get(local, "/readyz")[0] == 200


def test_a_worker_that_dies_begins_anew_and_no_other_goes_back(server: Paged) -> None:
    if server.settings["workers"] == 1:
        return
    for _ in range(5):
        RawPOP3(server.pop3_port).close()
    eventually(lambda: server.metrics().sum("mailserver_connections_total", listener="pop3") >= 5, server.log)
    before = server.metrics()
    busiest, most = max(before.of("mailserver_connections_total", "worker").items(), key=itemgetter(1))
    pid = next(each["pid"] for each in server.told("worker.serving") if str(each["number"]) == busiest[0])
    os.kill(pid, signal.SIGKILL)
    server.wait_for("worker.serving", len(workers_of(server)) + 1)
    eventually(
        lambda: (
            not server.metrics().of("mailserver_worker_up", worker="0")
            and len(server.metrics().of("mailserver_worker_up", "worker")) == len(workers_of(server))
        ),
        server.log,
    )
    after = server.metrics()
    for worker in workers_of(server):
        old, new = (each.sum("mailserver_connections_total", worker=worker) for each in (before, after))
        assert new == (0 if worker == busiest[0] else old)
        began = [each.sum("process_start_time_seconds", worker=worker) for each in (before, after)]
        assert (began[0] < began[1]) == (worker == busiest[0])
    assert most > 0


def test_the_pages_say_when_the_server_drains(site: Site, server: Paged) -> None:
    local = Local(site.folder / "http")
    with (
        RawPOP3(server.pop3_port).login("dora", "sesame of dora"),
        RawPOP3(server.pop3_port).login("alice", "sesame of alice") as client,
    ):
        client.send(b"RETR 1\r\n")  # and reads nothing
        server.process.terminate()
        eventually(lambda: said(local, "/readyz") == (503, b"the server is stopping\n"), server.log)
        eventually(lambda: said(local, "/healthz") == (200, b"alive\n"), server.log)
        if server.settings["workers"] == 1:  # else the idle session's process may be gone
            assert server.metrics().of("mailserver_sessions_total", "ended", ended="server_stop") == {
                ("server_stop",): 1
            }
    server.wait()


def web(token_file: str) -> Web:
    problems = Problems()
    return Web({}, token_file, Certificates(Tls(), problems), problems)


def test_without_its_library_the_page_of_the_metrics_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "mailserver.service.exposition", raising=False)
    with capturedLogs() as events:
        answer = metrics_page(Gathering())(Asked())
    assert isinstance(answer, Answer)
    assert (answer.code, answer.body) == (501, b"metrics need more: pip install twisted-mailserver[metrics]\n")
    (told,) = [each for each in events if each.get("event") == "metrics.absent"]
    assert "[metrics]" in told["reason"]


def test_root_serves_no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(
        ConfigError, match="user: pages are not served by root: name the owner of the maildrops with --user"
    ):
        web("").start(Clock())


def test_a_token_is_read_at_the_start_and_again_at_a_reload_and_the_old_one_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    path = tmp_path / "token"
    made = web(str(path))
    path.touch(mode=0o600)
    assert failure(made.start(Clock())) is Unusable
    path.write_text(TOKEN)
    assert failure(made.reload()) is None
    site: Any = made.factory("http")
    path.write_text("short")
    assert failure(made.reload()) is Unusable
    assert site._token() == TOKEN.encode()
    path.write_text(TOKEN[::-1])
    assert failure(made.reload()) is None
    assert site._token() == TOKEN[::-1].encode()


def failure(done: Deferred[None]) -> type[BaseException] | None:
    """The kind of error of a Deferred that has fired."""
    found: list[Any] = []
    done.addCallbacks(found.append, lambda failed: found.append(failed.type))
    return found[0]
