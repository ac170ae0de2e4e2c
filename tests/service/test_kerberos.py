"""Kerberos as an operator turns it on: real processes in a realm of the tests' own, and what they say when it cannot be."""

import os
import pwd
import re
import shutil
import signal
import socket

import pytest
from twisted.logger import globalLogPublisher

from mailserver.config.problems import Problems
from mailserver.config.reading import decode
from mailserver.errors import ConfigError
from mailserver.service.kerberos import make_kerberos
from tests import gss
from tests.protocol import der
from tests.rawpop3 import RawPOP3
from tests.realm import Initiator, ap_req, password_of
from tests.servers import START_SECONDS, TWIST, TWISTD, Server, Site
from tests.service.test_workers import halt

PROGRAMS = pytest.mark.parametrize("program", [TWIST, TWISTD], ids=["twist", "twistd"])
PLAIN_PORT = "tcp:0:interface=127.0.0.1"
MESSAGE = b"Subject: hello\r\n\r\nworld\r\n"
HELLO = b"\0\0\0\x13KRB5_SENDAUTH_V1.0\0\0\0\0\x09KPOPV1.0\0"
LOGIN = b"USER alice\r\nPASS krb_ticket\r\nRETR 1\r\nQUIT\r\n"
REPLAY = 34


@pytest.fixture
def site():
    with Site() as made:
        made.account("alice", messages=[MESSAGE])
        yield made


def kerberos(realm, **settings):
    """The settings of a server with KPOP."""
    return {"listen": {"kpop": [PLAIN_PORT]}, "kerberos": {"keytab": str(realm.keytab), **settings}}


def received(connection):
    data = b""
    while more := connection.recv(1 << 16):
        data += more
    return data


def log_in(server, realm, proxy=b""):
    """What the server says to libkrb5's own exchange and a session for alice."""
    with Initiator(realm) as client, socket.create_connection(("127.0.0.1", server.ports["kpop"])) as connection:
        connection.sendall(proxy)
        client.sendauth(connection)
        connection.sendall(LOGIN)
        return received(connection)


def capabilities(server):
    with RawPOP3(server.pop3_port) as client:
        return client.fetch(b"CAPA")


def say(server, request):
    """What the server says to an AP-REQ, and then to a QUIT."""
    with socket.create_connection(("127.0.0.1", server.ports["kpop"]), START_SECONDS) as connection:
        connection.sendall(HELLO + len(request).to_bytes(4, "big") + request + b"QUIT\r\n")
        return received(connection)


@PROGRAMS
def test_a_keytab_and_a_port_are_all_that_kpop_needs(site, realm, program):
    with Server(site, program=program, **kerberos(realm)) as server:
        assert MESSAGE in log_in(server, realm)
        server.reload()
        server._wait(lambda: "are read again" in server.log(), START_SECONDS, "the reload")
        assert MESSAGE in log_in(server, realm)
        assert server.stop() == -signal.SIGTERM


def test_a_keytab_announces_gssapi_before_all_others(site, realm):
    gss.library()
    with Server(site, kerberos={"keytab": str(realm.keytab)}) as server:
        assert b"\r\nSASL GSSAPI " in capabilities(server)


def test_flags_alone_will_do(site, realm):
    flags = ("--kpop", PLAIN_PORT, "--keytab", str(realm.keytab))
    with Server(site, *flags) as server:
        server._wait(lambda: "kpop" in server.ports, START_SECONDS, "KPOP")
        assert MESSAGE in log_in(server, realm)


def test_kpop_stands_alone_without_checkers_and_behind_a_proxy(site, realm):
    settings = {
        "listen": {"pop3": [], "pop3s": [], "kpop": [f"haproxy:{PLAIN_PORT}"]},
        "auth": {"checkers": []},
        "store": {"url": f"maildir:{site.folder}/mail/{{user}}/Maildir"},
        "limits": {"proxies": ["127.0.0.0/8"]},
        "kerberos": {"keytab": str(realm.keytab)},
    }
    with Server(site, **settings) as server:
        assert MESSAGE in log_in(server, realm, b"PROXY TCP4 127.9.9.9 127.0.0.1 1 1109\r\n")
        assert server.wait_for("pop3.session")["peer"] == "127.9.9.9"


def test_rules_deny_and_tls_are_as_the_settings_say(site, realm):
    settings = kerberos(realm, map=["alice@KPOP.TEST -> root"], deny=[], require_tls=True)
    with Server(site, **settings) as server:
        said = log_in(server, realm)
        assert b"-ERR" in said.splitlines()[1]
        assert b"TLS" in said.splitlines()[1]
    with Server(site, **kerberos(realm, map=["alice@KPOP.TEST -> bob"])) as server:
        assert b"-ERR [AUTH]" in log_in(server, realm)
        told = server.wait_for("pop3.login_failed")
        assert (told["principal"], told["hint"]) == ("alice@KPOP.TEST", "it may open 'bob'")


def test_workers_share_the_replay_cache(site, realm):
    request = ap_req(realm, mutual=False)
    with Server(site, workers=2, **kerberos(realm)) as server:
        first, second = (int(pid) for pid in re.findall(r"serves \(pid (\d+)\)", server.log()))
        try:
            halt(second)
            assert b"+OK" in say(server, request)
            halt(first)
            os.kill(second, signal.SIGCONT)
            answer = say(server, request)
        finally:
            os.kill(first, signal.SIGCONT)
            os.kill(second, signal.SIGCONT)
        assert der.error(answer[5:])["code"] == REPLAY
        assert server.wait_for("kerberos.refused")["code"] == REPLAY


def test_passwords_are_checked_by_the_kdc_where_a_checker_says_so(site, realm):
    with Server(site, auth={"checkers": [f"kerberos-password:{realm.keytab}", f"passwd-file:{site.users}"]}) as server:
        site.hide("alice", password_of("alice"))
        with RawPOP3(server.pop3_port) as client:
            assert client.login("alice", password_of("alice")).fetch(b"RETR 1") == MESSAGE


def refusal(site, **settings):
    """What a server says that cannot serve."""
    server = Server(site, **settings)
    server.launch()
    assert server.wait() == os.EX_CONFIG
    assert "Traceback" not in server.log()
    return server.log()


@pytest.fixture
def no_kerberos(tmp_path, monkeypatch):
    """A machine without libkrb5: the loader finds something else by that name, and looks no further."""
    (tmp_path / "libkrb5.so.3").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))


@pytest.mark.usefixtures("no_kerberos")
def test_without_libkrb5_all_else_is_served(site):
    with Server(site) as server, RawPOP3(server.pop3_port) as client:
        alice = site.accounts[0]
        assert client.login(alice.name, alice.password).fetch(b"RETR 1") == MESSAGE


@pytest.mark.usefixtures("no_kerberos")
@pytest.mark.parametrize("workers", [1, 2])
def test_without_libkrb5_a_keytab_is_an_error_with_its_remedy(site, workers):
    said = refusal(site, workers=workers, listen={"kpop": [PLAIN_PORT]}, kerberos={"keytab": "/nowhere"})
    assert "apt-get install libkrb5-3" in said


@pytest.fixture
def no_gssapi(tmp_path, monkeypatch):
    """A machine without the extra [gssapi]."""
    (tmp_path / "gssapi.py").write_text("raise ImportError('there is none')\n")
    path = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))


@pytest.mark.usefixtures("no_gssapi")
def test_without_its_extra_gssapi_is_left_out_and_the_log_says_so(site, realm):
    with Server(site, **kerberos(realm)) as server:
        assert "pip install 'twisted-mailserver[gssapi]'" in server.wait_for("kerberos.gssapi.absent")["reason"]
        assert b"GSSAPI" not in capabilities(server)
        assert MESSAGE in log_in(server, realm)


@pytest.mark.usefixtures("no_gssapi")
def test_without_its_extra_gssapi_by_name_is_an_error(site, realm):
    said = refusal(site, auth={"mechanisms": ["gssapi", "PLAIN"]}, **kerberos(realm))
    assert "auth.mechanisms: SASL GSSAPI needs the extra [gssapi]" in said


def test_a_keytab_that_is_not_there_or_not_ours_is_an_error_with_its_remedy(site, realm):
    assert 'on the KDC run  kadmin -q "ktadd -k /nowhere ' in refusal(site, kerberos={"keytab": "/nowhere"})
    said = refusal(site, kerberos={"keytab": str(realm.keytab), "host": "elsewhere.test"})
    assert "has no key of pop/elsewhere.test" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_the_serving_user_cannot_use_is_told_as_his(site, realm, monkeypatch):
    nobody = pwd.getpwnam("nobody")
    keytab, cache = site.folder / "pop.keytab", site.folder / "cache"
    shutil.copy(realm.keytab, keytab)
    cache.mkdir()
    config = shutil.copy(realm.config, site.folder)
    for path in (site.folder, *site.folder.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    monkeypatch.setenv("KRB5_CONFIG", str(config))
    settings = {"user": "nobody", "listen": {"kpop": [PLAIN_PORT]}, "kerberos": {"keytab": str(keytab)}}

    os.chown(cache, 0, 0)
    cache.chmod(0o700)
    monkeypatch.setenv("KRB5RCACHEDIR", str(cache))
    said = refusal(site, **settings)
    assert f"the user nobody cannot write to the replay cache {cache}/" in said
    assert "set KRB5RCACHEDIR" in said

    os.chown(cache, nobody.pw_uid, nobody.pw_gid)
    with Server(site, **settings) as server:
        assert MESSAGE in log_in(server, realm)

    os.chown(keytab, 0, 0)
    assert f"the user nobody cannot read the keytab {keytab}" in refusal(site, **settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kerberos": {"keytab": "k", "host": "no host"}}, 'kerberos.host: "no host" is not a host name'),
        ({"kerberos": {"keytab": "k", "map": ["alice"]}}, 'kerberos.map: "alice" is not a rule'),
    ],
)
def test_settings_that_kerberos_cannot_read_are_named(settings, said):
    problems = Problems()
    make_kerberos(decode({"listen": {"pop3": ["tcp:0"]}, "auth": {"checkers": ["unix"]}, **settings}), problems)
    with pytest.raises(ConfigError, match=re.escape(said)):
        problems.check()


def test_gssapi_is_made_only_where_it_can_be_offered():
    told = []
    globalLogPublisher.addObserver(told.append)
    try:
        for tables in (
            {"listen": {"kpop": ["tcp:0"]}},
            {"listen": {"pop3": ["tcp:0"]}, "auth": {"mechanisms": ["PLAIN"]}},
        ):
            assert make_kerberos(decode({**tables, "kerberos": {"keytab": "k"}}), Problems()).gssapi is None
    finally:
        globalLogPublisher.removeObserver(told.append)
    assert told == []
    assert make_kerberos(decode({"listen": {"pop3": ["tcp:0"]}, "auth": {"checkers": ["unix"]}}), Problems()) is None
