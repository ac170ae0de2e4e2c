"""The service: as real processes under twist and twistd, and embedded in a reactor."""

import os
import pwd
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from mailserver.config.reading import decode
from mailserver.errors import ConfigError
from mailserver.interfaces import IPart
from mailserver.service.mail import MailService
from mailserver.service.privileges import become
from mailserver.service.server import Server as Serving
from tests.rawpop3 import RawPOP3
from tests.servers import TWIST, TWISTD, Server, Site
from tests.waiting import eventually

PROGRAMS = pytest.mark.parametrize("program", [TWIST, TWISTD], ids=["twist", "twistd"])
PLAIN_PORT = "tcp:0:interface=127.0.0.1"
MESSAGE = b"Subject: hello\r\n\r\n.dot\r\nworld\r\n"


@pytest.fixture
def site():
    with Site() as made:
        made.alice = made.account("alice", "wonderland", messages=[MESSAGE])
        yield made


@PROGRAMS
def test_a_message_is_fetched_over_every_listener_and_sigterm_ends_it(site, program):
    with Server(site, program=program) as server:
        for port, tls in ((server.pop3_port, None), (server.pop3s_port, site.client_tls())):
            with RawPOP3(port, tls=tls) as client:
                assert client.login("alice", "wonderland").fetch(b"RETR 1") == MESSAGE
                client.quit()
        assert server.stop() == -signal.SIGTERM


def test_twisted_s_own_checkers_work(site):
    (site.folder / "passwords").write_text("bob:builder\n")
    site.account("bob", messages=[MESSAGE])
    checkers = ["memory:alice:wonderland", f"file:{site.folder}/passwords"]
    store = {"url": f"maildir:{site.folder}/mail/{{user}}/Maildir"}
    with Server(site, auth={"checkers": checkers}, store=store) as server, RawPOP3(server.pop3_port) as client:
        assert client.login("bob", "builder").ok(b"STAT").startswith(b"+OK 1 ")


def test_a_finished_session_is_one_event_of_the_log(site):
    with Server(site) as server, RawPOP3(server.pop3_port) as client:
        client.login("alice", "wonderland").fetch(b"RETR 1")
        client.quit()
        server.stop()
    (session,) = [event for event in server.events if "octets_in" in event]
    assert (session["user"], session["retrieved"], session["deleted"]) == ("alice", 1, 0)
    assert "of 'alice' from 127.0.0.1 (pop3, no TLS) ended by QUIT: 1 retrieved, 0 deleted, " in session["text"]


def test_sighup_reads_users_and_certificates_again(site):
    with Server(site) as server:
        before = ssl.get_server_certificate(("127.0.0.1", server.pop3s_port))
        site.renew()
        site.account("bob", "builder")
        server.reload()
        server.wait_for("tls.loaded")
        assert ssl.get_server_certificate(("127.0.0.1", server.pop3s_port)) != before
        with RawPOP3(server.pop3_port) as client:
            client.login("bob", "builder")


def test_sigterm_ends_idle_sessions_and_lets_a_transfer_end(site):
    site.alice.deliver(b"Subject: long\n\n" + b"x" * 70 + b"\n" * 4_000_000)
    with Server(site) as server, RawPOP3(server.pop3_port) as idle, RawPOP3(server.pop3_port) as busy:
        busy.login("alice", "wonderland").ok(b"RETR 2")
        server.process.send_signal(signal.SIGTERM)
        assert idle.rest().startswith(b"-ERR")
        assert b"\r\n.\r\n-ERR " in busy.rest()
        assert server.wait() == -signal.SIGTERM


def test_sigterm_does_not_wait_for_an_idle_client_of_tls(site):
    with Server(site) as server, RawPOP3(server.pop3s_port, tls=site.client_tls()) as idle:
        idle.login("alice", "wonderland")
        server.stop()
        assert server.told("service.cut") == []
        assert idle.rest().startswith(b"-ERR")


def test_without_tls_and_with_the_default_for_passwords_the_log_warns(site):
    tables = {"listen": {"pop3s": []}, "tls": {"certificate": "", "key": ""}, "auth": {"cleartext": "tls"}}
    with Server(site, **tables) as server:
        assert server.wait_for("service.cleartext")


def test_a_proxy_that_is_believed_names_the_client(site):
    listen = {"pop3": [f"haproxy:{PLAIN_PORT}"]}
    with Server(site, listen=listen, limits={"proxies": ["127.0.0.0/8"]}) as server:
        with socket.create_connection(("127.0.0.1", server.pop3_port)) as client, client.makefile("rb") as lines:
            client.sendall(b"PROXY TCP4 127.9.9.9 127.0.0.1 1 110\r\n")
            assert lines.readline().startswith(b"+OK")
            client.sendall(b"USER alice\r\nPASS wonderland\r\nQUIT\r\n")
            assert lines.readlines()[-1].startswith(b"+OK")
        server.stop()
        assert any(event.get("peer") == "127.9.9.9" for event in server.events)


SYSTEMD = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="pop3")
os.execv(sys.argv[2], sys.argv[2:])
"""


@PROGRAMS
def test_a_socket_that_systemd_passes_is_served(site, program):
    with socket.create_server(("127.0.0.1", 0)) as passed:
        program = [sys.executable, "-c", SYSTEMD, str(passed.fileno()), *program]
        listen = {"pop3": ["systemd:domain=INET:name=pop3"], "pop3s": []}
        with Server(site, program=program, passed=[passed.fileno()], listen=listen) as server:
            with RawPOP3(passed.getsockname()[1]) as client:
                assert client.login("alice", "wonderland").fetch(b"RETR 1") == MESSAGE
            assert server.pop3_port == passed.getsockname()[1]


WRONG = {
    "settings": (
        {"store": {"seen": "nevr"}, "workers": "many"},
        ["store.seen must be one of", "workers must be a whole"],
    ),
    "kind": ({"auth": {"checkers": ["passwd-fil:x"]}}, ['no kind of checker is called "passwd-fil"; did you mean']),
    "users": ({"auth": {"checkers": ["passwd-file:/nowhere"]}}, ["cannot read the passwd-file /nowhere"]),
    "tls": ({"tls": {"certificate": "/nowhere", "key": "/nowhere"}}, ["tls: /nowhere: no such file"]),
    "store": ({"store": {"url": "maildri:/tmp"}}, ["store.url: ", "did you mean maildir:?"]),
    "endpoint": ({"listen": {"pop3": [PLAIN_PORT, "tcp:x"], "pop3s": ["udp:1"]}}, ['"tcp:x" is not', '"udp:1" is not']),
    "systemd": ({"listen": {"pop3": ["systemd:domain=INET:index=0"]}}, ["systemd passed no such socket: "]),
    "port": ({"listen": {"pop3": ["tcp:65536"]}}, ['"tcp:65536" is not an endpoint']),
    "interface": ({"listen": {"pop3": ["tcp:0:interface=no such"]}}, ['cannot listen on "tcp:0:interface=no such": ']),
    "user": ({"user": "nobody-of-this-name"}, ['there is no user "nobody-of-this-name"']),
    "late": ({"workers": 2, "auth": {"checkers": ["passwd-file:/nowhere"]}}, ["cannot read the passwd-file /nowhere"]),
}


@PROGRAMS
@pytest.mark.parametrize(("settings", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_served_is_told_and_ends_with_78(site, program, settings, said):
    server = Server(site, program=program, **settings)
    server.launch()
    assert server.wait() == os.EX_CONFIG
    errors = [event["text"] for event in server.events if event["text"].startswith("mailserver: ")]
    for text in said:
        assert any(text in error for error in errors), server.log()
    assert "Traceback" not in server.log()


@PROGRAMS
def test_a_port_in_use_ends_with_78_and_nothing_left_listening(site, program):
    path = site.folder / "pop3.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        server = Server(site, program=program, listen={"pop3": [f"unix:{path}", endpoint], "pop3s": []})
        server.launch()
        assert server.wait() == os.EX_CONFIG
    assert f'cannot listen on "{endpoint}": it is in use' in server.log()
    assert not path.exists()


def test_twistd_in_the_background_tells_of_a_start_that_failed_and_does_not_hang(site):
    twistd = [*TWISTD[:4], "--pidfile=pid", "--logfile=log", "mailserver", "--pop3=tcp:x", "--auth=memory:alice:x"]
    path = os.pathsep.join(filter(None, sys.path))
    ended = subprocess.run(
        twistd, cwd=site.folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, timeout=120, check=False
    )
    assert ended.returncode == 1
    assert b"Please look at log" in ended.stderr
    assert '"tcp:x" is not an endpoint' in (site.folder / "log").read_text()
    eventually(
        lambda: not (site.folder / "pid").exists(), lambda: "the pidfile stays"
    )  # it goes after the shell was told


def test_twistd_in_the_background_tells_of_settings_that_cannot_be_read_while_somebody_hears_it(site):
    twistd = [*TWISTD[:4], "--pidfile=pid", "--logfile=log", "mailserver", "--workers=many", "--pop3=tcp:x"]
    path = os.pathsep.join(filter(None, sys.path))
    ended = subprocess.run(
        twistd, cwd=site.folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, timeout=120, check=False
    )
    assert ended.returncode == os.EX_CONFIG
    assert b"workers must be a whole number" in ended.stderr
    assert not (site.folder / "pid").exists()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def nobody(site):
    """A user who owns the site, but nothing of root's."""
    entry = pwd.getpwnam("nobody")
    for path in (site.folder, *site.folder.rglob("*")):
        os.chown(path, entry.pw_uid, entry.pw_gid)
    return entry


@needs_root
@PROGRAMS
def test_started_by_root_it_serves_as_the_user_it_is_told(site, nobody, program):
    with Server(site, user="nobody", program=program) as server, RawPOP3(server.pop3_port) as client:
        assert client.login("alice", "wonderland").fetch(b"RETR 1") == MESSAGE
        status = Path(f"/proc/{server.pid}/status").read_text()
        assert f"Uid:\t{nobody.pw_uid}\t{nobody.pw_uid}\t{nobody.pw_uid}" in status
        assert f"Gid:\t{nobody.pw_gid}\t{nobody.pw_gid}\t{nobody.pw_gid}" in status


@needs_root
def test_a_key_that_the_serving_user_cannot_read_is_told_with_the_remedy(site, nobody):
    os.chown(site.key, 0, 0)
    server = Server(site, user="nobody")
    server.launch()
    assert server.wait() == os.EX_CONFIG
    assert f"{site.key}: user {nobody.pw_uid} may not read it" in server.log()
    assert "setfacl" in server.log()


def test_a_user_that_nobody_knows_or_that_we_already_are():
    become("")
    become(pwd.getpwuid(os.geteuid()).pw_name)
    with pytest.raises(ConfigError, match="adduser --system"):
        become("nobody-of-this-name")


def test_root_gives_up_groups_before_the_group_and_the_user_last(monkeypatch):
    nobody = pwd.getpwnam("nobody")
    calls = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in ("initgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda *given, name=name: calls.append((name, *given)))
    become("nobody")
    assert calls == [("initgroups", "nobody", nobody.pw_gid), ("setgid", nobody.pw_gid), ("setuid", nobody.pw_uid)]


def test_only_root_becomes_another_user(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(ConfigError, match="only root can become root"):
        become("root")


def config(**tables):
    listen = {"pop3": [PLAIN_PORT]}
    auth = {"checkers": ["memory:alice:wonderland"], "cleartext": "always"}
    return decode({"listen": listen, "auth": auth, "store": {"url": "memory:"}, **tables})


@implementer(IPart)
class SlowToStart:
    """A checker that reads something over a slow line."""

    reloads = 0

    def __init__(self):
        self.started = Deferred()

    def start(self, reactor):
        return self.started

    def reload(self):
        self.reloads += 1
        return succeed(None)

    def stop(self):
        return succeed(None)


class EmbeddedTests(TestCase):
    async def test_it_listens_on_all_endpoints_before_it_says_so(self):
        service = MailService(config(listen={"pop3": [PLAIN_PORT, PLAIN_PORT]}), reactor)
        service.startService()
        self.addCleanup(service.stopService)
        ports = await service.serving
        for port in ports:
            with socket.create_connection(("127.0.0.1", port.getHost().port)):
                pass
        assert len(ports) == 2

    async def test_twistd_may_bind_before_it_starts(self):
        service = MailService(config(), reactor)
        service.privilegedStartService()
        service.startService()
        self.addCleanup(service.stopService)
        assert len(await service.serving) == 1

    async def test_a_mechanism_that_nobody_knows_is_told(self):
        auth = {"checkers": ["memory:alice:wonderland"], "mechanisms": ["PLIAN"]}
        service = MailService(config(auth=auth), reactor)
        service.startService()
        with pytest.raises(ConfigError, match="PLIAN"):
            await service.serving
        await service.stopService()

    async def test_homes_that_nobody_knows_are_told(self):
        service = MailService(config(store={}), reactor)
        service.startService()
        with pytest.raises(ConfigError, match="no checker knows the"):
            await service.serving

    async def test_a_checker_with_arguments_that_do_not_fit_is_told_without_them(self):
        service = MailService(config(auth={"checkers": ["memory:odd-secret"]}), reactor)
        service.startService()
        with pytest.raises(ConfigError) as caught:
            await service.serving
        assert "odd-secret" not in str(caught.value)

    async def test_no_connection_is_accepted_while_the_last_sessions_end(self):
        service = MailService(config(), reactor)
        service.startService()
        (port,) = await service.serving
        accepting = []
        stop = Serving.stop
        self.patch(Serving, "stop", lambda server: accepting.append(bool(port.connected)) or stop(server))
        await service.stopService()
        assert accepting == [False]

    async def test_a_stop_during_the_start_waits_for_the_worker_that_was_begun(self):
        service = MailService(config(workers=2, auth={"checkers": ["memory:alice:wonderland"]}), reactor)
        service.startService()
        workers = service._server
        while not workers._workers:
            await deferLater(reactor, 0)
        (worker,) = workers._workers
        await service.stopService()
        assert not workers._workers
        assert worker.transport.pid is None
        with pytest.raises(CancelledError):
            await service.serving

    async def test_a_reload_that_is_asked_for_during_the_start_is_done_at_its_end(self):
        service = MailService(config(), reactor)
        service.privilegedStartService()
        slow = SlowToStart()
        service._made.parts.add(slow, "auth.checkers")
        service.startService()
        self.addCleanup(service.stopService)
        service.reload()
        assert slow.reloads == 0
        slow.started.callback(None)
        await service.serving
        assert slow.reloads == 1

    async def test_a_service_that_does_not_serve_yet_has_nothing_to_reload(self):
        MailService(config(), reactor).reload()
